//! Secrets with a service account's token: upstream's `tokens_controller.go`. Admission fills one when it is written; here are the
//! rest of its life, and, where the cluster wants it, one for every account as Kubernetes made them before 1.24.

use std::collections::HashSet;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use api::{Object, Resource, Value};
use client::{
    Controller, DeleteOptions, Index, Informer, ListOptions, ObjectKey, Patch, Requeue, Selector, Target, WorkQueue,
    WriteOptions,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

struct Tokens {
    ctx: Context,
    accounts: Informer,
    /// Those of an account, by `namespace/account`.
    secrets: Index,
    /// Secrets that went and that their accounts may name.
    gone: Mutex<HashSet<(ObjectKey, String)>>,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    // of all secrets only these
    let selector = Selector::of::<Secret>().fields(format!("type={TYPE}"));
    let secrets = Informer::start(ctx.client.clone(), selector, stop.clone());
    let this = Arc::new(Tokens {
        accounts: ctx.informers.of::<ServiceAccount>(),
        secrets: secrets.index(|secret| account(secret).map(|key| key.to_string().into()).into_iter().collect()),
        gone: Mutex::default(),
        ctx,
    });
    let q = queue.clone();
    this.accounts.on_change(move |c| q.add(ObjectKey::of(c.object())));
    let (q, me) = (queue.clone(), this.clone());
    secrets.on_change(move |c| {
        if let Some(key) = account(c.object()) {
            if c.new.is_none() {
                me.gone.lock().insert((key.clone(), c.object().name().to_owned()));
            }
            q.add(key);
        }
    });
    this.accounts.synced().await;
    secrets.synced().await;
    let controller = Controller { name: "serviceaccount-token-controller", workers: 2, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move {
                match this.sync(&key).await {
                    Err(e) if e.is_gone() => Ok(None),
                    done => done,
                }
            }
        })
        .await;
}

/// The account that a token secret is for.
fn account(secret: &Object) -> Option<ObjectKey> {
    let tree = secret.tree();
    Some(ObjectKey::new(secret.namespace(), annotation(&tree, ACCOUNT)?))
}

fn annotation<'a>(tree: &'a Value, key: &str) -> Option<&'a str> {
    tree["metadata"]["annotations"][key].as_str().filter(|v| !v.is_empty())
}

impl Tokens {
    async fn sync(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let secrets = self.secrets.get(&key.to_string());
        let Some(account) = self.account(key, &secrets).await? else {
            self.gone.lock().retain(|(of, _)| of != key);
            for secret in secrets {
                self.delete(&secret).await?;
            }
            return Ok(None);
        };
        let mut good = Vec::new();
        for secret in secrets {
            let tree = secret.tree();
            match annotation(&tree, UID) {
                Some(uid) if uid != account.uid() => self.delete(&secret).await?,
                _ if tree["data"].get("token").is_none() => self.fill(&secret, account.uid()).await?,
                _ => good.push(secret),
            }
        }
        self.forget(key, &account).await?;
        if self.ctx.config.token_secrets && !account.meta().is_deleting() {
            self.refer(&account, &good).await?;
        }
        Ok(None)
    }

    /// The cache may be behind: what would be deleted for it is asked about.
    async fn account(&self, key: &ObjectKey, secrets: &[Arc<Object>]) -> Result<Option<Arc<Object>>, Error> {
        let known = self.accounts.get(&key.namespace, &key.name);
        let fits = |secret: &Arc<Object>| {
            let (tree, uid) = (secret.tree(), known.as_ref().map(|a| a.uid()));
            uid.is_some() && annotation(&tree, UID).is_none_or(|of| Some(of) == uid)
        };
        if secrets.iter().all(fits) {
            return Ok(known);
        }
        match self.ctx.client.get(&Target::one(ServiceAccount::gvr(), &key.namespace, &key.name)).await {
            Err(e) if e.is_not_found() => Ok(None),
            live => Ok(Some(live?)),
        }
    }

    async fn delete(&self, secret: &Object) -> Result<(), Error> {
        let options = DeleteOptions::of(secret);
        let target = Target::one(Secret::gvr(), secret.namespace(), secret.name());
        match self.ctx.client.delete(&target, &options).await {
            Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// One that was there before its account: any write has admission fill it.
    async fn fill(&self, secret: &Object, uid: &str) -> Result<(), Error> {
        let patch = json!({"metadata": {"uid": secret.uid(), "annotations": {UID: uid}}});
        let target = Target::one(Secret::gvr(), secret.namespace(), secret.name());
        self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await?;
        Ok(())
    }

    /// Takes secrets that went out of the account's list.
    async fn forget(&self, key: &ObjectKey, account: &Object) -> Result<(), Error> {
        let mut gone = HashSet::new();
        self.gone.lock().retain(|(of, name)| of != key || !gone.insert(name.clone()));
        let mut named = references(account);
        let before = named.len();
        named.retain(|r| r["name"].as_str().is_none_or(|name| !gone.contains(name)));
        if named.len() == before {
            return Ok(());
        }
        let done = self.set_references(account, named).await;
        if done.is_err() {
            self.gone.lock().extend(gone.into_iter().map(|name| (key.clone(), name)));
        }
        done
    }

    /// Every account names a token's secret: one is made for an account without.
    async fn refer(&self, account: &Object, good: &[Arc<Object>]) -> Result<(), Error> {
        let mut named = references(account);
        if good.iter().any(|s| named.iter().any(|r| r["name"] == s.name())) {
            return Ok(());
        }
        if let Some(secret) = good.first() {
            named.push(json!({"name": secret.name()}));
            return self.set_references(account, named).await;
        }
        let metadata = json!({"generateName": format!("{}-token-", account.name()), "namespace": account.namespace(),
            "annotations": {ACCOUNT: account.name(), UID: account.uid()}});
        let tree = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": TYPE});
        let target = Target::within(Secret::gvr(), account.namespace());
        let options = ListOptions { fields: format!("type={TYPE}"), ..ListOptions::default() };
        let own = |secret: &Arc<Object>| self::account(secret) == Some(ObjectKey::of(account));
        // the cache may be behind; the event of one that is made comes back here, for it to be filled and named
        if !self.ctx.client.list(&target, &options).await?.items.iter().any(own) {
            self.ctx.client.create(&target, tree, &WriteOptions::default()).await?;
        }
        Ok(())
    }

    async fn set_references(&self, account: &Object, named: Vec<Value>) -> Result<(), Error> {
        let patch = json!({"metadata": {"resourceVersion": account.revision().to_string()}, "secrets": named});
        let target = Target::one(ServiceAccount::gvr(), account.namespace(), account.name());
        self.ctx.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await?;
        Ok(())
    }
}

fn references(account: &Object) -> Vec<Value> {
    account.tree()["secrets"].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};
    use client::fake::Verb;
    use std::sync::atomic::Ordering;

    fn secret(name: &str, uid: &str) -> Value {
        let filled = if uid.is_empty() { json!({}) } else { json!({"token": "dA=="}) };
        json!({"metadata": {"name": name, "namespace": "n", "annotations": {ACCOUNT: "bot", UID: uid}}, "type": TYPE, "data": filled})
    }
    fn bot(bench: &Bench, secrets: Value) -> String {
        let tree = json!({"metadata": {"name": "bot", "namespace": "n"}, "secrets": secrets});
        bench.fake.seed(ServiceAccount::gvr(), tree).uid().to_owned()
    }
    fn there(bench: &Bench, name: &str) -> bool {
        !bench.fake.tree(&Secret::gvr(), "n", name).is_null()
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_go_with_their_account() {
        let bench = Bench::new();
        let uid = bot(&bench, json!([{"name": "mine"}, {"name": "other"}]));
        bench.fake.seed(Secret::gvr(), secret("mine", &uid));
        bench.fake.seed(Secret::gvr(), secret("earlier", "another uid"));
        let mut plain = secret("plain", "another uid");
        plain["type"] = json!("Opaque");
        bench.fake.seed(Secret::gvr(), plain);
        bench.start(run);
        settle().await;
        assert!(there(&bench, "mine") && there(&bench, "plain") && !there(&bench, "earlier"));
        // nothing is made where nobody asked for it
        let secrets = || bench.fake.tree(&ServiceAccount::gvr(), "n", "bot")["secrets"].clone();
        assert_eq!(secrets(), json!([{"name": "mine"}, {"name": "other"}]));
        bench.fake.remove(&Secret::gvr(), "n", "mine");
        settle().await;
        assert_eq!(secrets(), json!([{"name": "other"}]));
        bench.fake.seed(Secret::gvr(), secret("again", &uid));
        bench.fake.remove(&ServiceAccount::gvr(), "n", "bot");
        settle().await;
        assert!(there(&bench, "plain") && !there(&bench, "again"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_may_be_known_before_its_account_is() {
        let bench = Bench::new();
        bot(&bench, json!([]));
        bench.start(run);
        settle().await;
        // the watch of accounts is behind: what a lookup says counts
        let behind = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let cut = behind.clone();
        bench.fake.react(move |verb, target| {
            let accounts = target.resource.resource == "serviceaccounts";
            let refused = accounts && matches!(verb, Verb::Watch | Verb::List) && cut.load(Ordering::Relaxed);
            refused.then(|| api::Status::new(api::Reason::ServiceUnavailable, "later"))
        });
        bench.fake.break_watches(api::Status::new(api::Reason::ServiceUnavailable, "later"));
        bench.fake.remove(&ServiceAccount::gvr(), "n", "bot");
        let uid = bot(&bench, json!([]));
        bench.fake.seed(Secret::gvr(), secret("new", &uid));
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(there(&bench, "new"));
        behind.store(false, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(there(&bench, "new"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_there_first_is_touched() {
        let bench = Bench::new();
        let uid = bot(&bench, json!([]));
        bench.fake.seed(Secret::gvr(), secret("early", ""));
        bench.start(run);
        settle().await;
        let early = bench.fake.tree(&Secret::gvr(), "n", "early");
        assert_eq!(early["metadata"]["annotations"][UID], uid.as_str());
    }

    #[tokio::test(start_paused = true)]
    async fn every_account_gets_one_where_that_is_wanted() {
        let bench = Bench::with(|config| config.token_secrets = true);
        bot(&bench, json!([{"name": "pull"}]));
        bench.start(run);
        settle().await;
        let all = bench.fake.objects(&Secret::gvr());
        let [made] = all.as_slice() else { panic!("{} secrets", all.len()) };
        assert!(made.name().starts_with("bot-token-"));
        // what admission does
        bench.fake.edit(&Secret::gvr(), "n", made.name(), |s| s["data"] = json!({"token": "dA=="}));
        settle().await;
        let secrets = bench.fake.tree(&ServiceAccount::gvr(), "n", "bot")["secrets"].clone();
        assert_eq!(secrets, json!([{"name": "pull"}, {"name": made.name()}]));
        assert_eq!(bench.fake.objects(&Secret::gvr()).len(), 1);
    }
}
