//! Admission that the cluster's users configure: webhooks and policies, and the two plugins that run them.
//!
//! The table of what is configured is made anew when a configuration is written, before that write is answered, and follows
//! the store for what others write. Without any configuration a write pays for one look at a flag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use api::{Object, Status};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use store::Store;
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use super::policy::{self, Policy};
use super::scene::Scene;
use super::webhook::{self, Hook};
use super::{Operation, Plugin, Write};
use crate::engine::Engine;
use crate::webhook::WebhookClient;
use crate::{Attributes, Authorizer, Lookup, Verb};

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING_WEBHOOKS: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING_WEBHOOKS: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";
const MUTATING_POLICIES: &str = "admissionregistration.k8s.io/mutatingadmissionpolicies";
const MUTATING_BINDINGS: &str = "admissionregistration.k8s.io/mutatingadmissionpolicybindings";
const VALIDATING_POLICIES: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const VALIDATING_BINDINGS: &str = "admissionregistration.k8s.io/validatingadmissionpolicybindings";
const ALL: [&str; 6] = [
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    MUTATING_POLICIES,
    MUTATING_BINDINGS,
    VALIDATING_POLICIES,
    VALIDATING_BINDINGS,
];

tokio::task_local! {
    /// What is written here is not the users' to judge.
    static EXEMPT: ();
}

/// Writes that webhooks and policies do not see: those of a server that starts, which must not need a pod for it.
pub(crate) async fn exempt<T>(work: impl Future<Output = T>) -> T {
    EXEMPT.scope((), work).await
}

/// `flag`: there is something to run.
fn runs(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Acquire) && EXEMPT.try_with(|()| ()).is_err()
}

/// What is configured, in the order of the configurations' names.
#[derive(Default)]
struct Table {
    mutating: Half,
    validating: Half,
}

#[derive(Default)]
struct Half {
    policies: Vec<Policy>,
    hooks: Vec<Hook>,
}

impl Half {
    fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.hooks.is_empty()
    }
}

/// What webhooks and policies run with.
pub struct Extensions {
    pub client: WebhookClient,
    pub lookup: Arc<dyn Lookup>,
    pub authorizer: Arc<dyn Authorizer>,
    pub counts: Counts,
    engine: OnceLock<Weak<Engine>>,
    table: RwLock<Arc<Table>>,
    /// There is something to run.
    mutates: AtomicBool,
    validates: AtomicBool,
    /// Held while the table is made, so that an older one never replaces a newer.
    making: Mutex<policy::Known>,
}

impl Extensions {
    pub fn new(client: WebhookClient, lookup: Arc<dyn Lookup>, authorizer: Arc<dyn Authorizer>) -> Arc<Extensions> {
        let this = Extensions {
            client,
            lookup,
            authorizer,
            counts: Counts::default(),
            engine: OnceLock::new(),
            table: RwLock::default(),
            mutates: AtomicBool::new(false),
            validates: AtomicBool::new(false),
            making: Mutex::default(),
        };
        this.refresh();
        Arc::new(this)
    }

    /// Makes the table what the store has.
    pub fn refresh(&self) {
        let mut known = self.making.lock();
        let hooks = |resource: &str| {
            let mut all: Vec<Arc<Object>> = self.lookup.list(resource, "");
            all.sort_by(|a, b| a.name().cmp(b.name()));
            all.iter().flat_map(|o| Hook::parse(o)).collect()
        };
        let bindings = |resource: &str| {
            let mut all: BTreeMap<String, Vec<Arc<Object>>> = BTreeMap::new();
            for o in self.lookup.list(resource, "") {
                let policy = o.tree()["spec"]["policyName"].as_str().unwrap_or_default().to_owned();
                all.entry(policy).or_default().push(o);
            }
            all
        };
        let mut half = |hooks_of: &str, policies: &str, bindings_of: &str| Half {
            hooks: hooks(hooks_of),
            policies: policy::bound(&mut known, policies, self.lookup.list(policies, ""), bindings(bindings_of)),
        };
        let table = Table {
            mutating: half(MUTATING_WEBHOOKS, MUTATING_POLICIES, MUTATING_BINDINGS),
            validating: half(VALIDATING_WEBHOOKS, VALIDATING_POLICIES, VALIDATING_BINDINGS),
        };
        let (mutates, validates) = (!table.mutating.is_empty(), !table.validating.is_empty());
        *self.table.write() = Arc::new(table);
        self.mutates.store(mutates, Ordering::Release);
        self.validates.store(validates, Ordering::Release);
    }

    /// Keeps the table as the store has it, until `stop`. Must be called within a runtime.
    pub fn follow(self: &Arc<Self>, store: &Arc<Store>, stop: &CancellationToken) {
        for resource in ALL {
            let (this, store, stop) = (self.clone(), store.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(this.keep(&store, resource)).await });
        }
    }

    async fn keep(&self, store: &Store, resource: &str) {
        loop {
            let from = store.snapshot(resource).revision();
            self.refresh();
            match store.watch(resource, from) {
                Ok(mut watcher) => loop {
                    match watcher.next().await {
                        Ok(events) if events.is_empty() => {}
                        Ok(_) => self.refresh(),
                        Err(store::Error::Closed) => return,
                        // slower than compaction: begin anew
                        Err(_) => break,
                    }
                },
                Err(store::Error::Closed) => return,
                Err(_) => {}
            }
        }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }
    fn scene<'a>(&self, w: &Write<'a>) -> Scene<'a> {
        Scene::of(w, self.engine.get())
    }
}

/// What configures admission is itself not the business of webhooks: `IsExemptAdmissionConfigurationResource`.
fn configures(a: &Attributes) -> bool {
    a.group == GROUP
}

/// Nor are policies about policies: `isPolicyResource`.
fn is_policy(a: &Attributes) -> bool {
    a.group == GROUP && !a.resource.ends_with("webhookconfigurations")
}

/// Makes the table anew when a write of a configuration is over.
struct Refresh(Arc<Extensions>);

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.refresh();
    }
}

/// `MutatingAdmissionPolicy`, `MutatingAdmissionWebhook`
pub struct Mutating(pub Arc<Extensions>);

/// `ValidatingAdmissionPolicy`, `ValidatingAdmissionWebhook`
pub struct Validating(pub Arc<Extensions>);

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmission"
    }
    fn handles(&self, a: &Attributes) -> bool {
        runs(&self.0.mutates) || configures(a)
    }
    fn connects(&self) -> bool {
        true
    }
    fn metrics(&self, out: &mut String) {
        self.0.counts.write(out);
    }
    fn attach(&self, engine: &Arc<Engine>) {
        let _ = self.0.engine.set(Arc::downgrade(engine));
    }
    async fn mutate(&self, w: &mut Write<'_>) -> Result<(), Status> {
        if configures(w.attributes) && w.attributes.verb != Verb::Get && !w.again.second {
            w.held.push(Box::new(Refresh(self.0.clone())));
        }
        let table = self.0.table();
        let half = &table.mutating;
        if half.is_empty() {
            return Ok(());
        }
        let s = self.0.scene(w);
        if !is_policy(w.attributes) && s.operation != Operation::Delete {
            policy::mutate(&self.0, &half.policies, &s, w).await?;
        }
        if !configures(w.attributes) {
            webhook::mutate(&self.0, &half.hooks, &s, w).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmission"
    }
    fn handles(&self, _: &Attributes) -> bool {
        runs(&self.0.validates)
    }
    fn connects(&self) -> bool {
        true
    }
    async fn validate(&self, w: &mut Write<'_>) -> Result<(), Status> {
        let table = self.0.table();
        let half = &table.validating;
        let s = self.0.scene(w);
        if !is_policy(w.attributes) {
            policy::validate(&self.0, &half.policies, &s, w).await?;
        }
        if !configures(w.attributes) {
            webhook::validate(&self.0, &half.hooks, &s, w).await?;
        }
        Ok(())
    }
}
