//! One leader among several processes, by a Lease: upstream's `leaderelection` with `LeaseLock`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Status, Value};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Client, Clock, Target, WriteOptions};

/// Who competes for what. The durations are upstream's for its own components.
#[derive(Debug, Clone)]
pub struct Election {
    pub namespace: String,
    pub name: String,
    /// Unique among those who compete.
    pub identity: String,
    /// Others may take over when the leader has not renewed for so long.
    pub lease: Duration,
    /// The leader gives up when it could not renew for so long.
    pub renew_deadline: Duration,
    pub retry: Duration,
}

impl Election {
    pub fn new(namespace: &str, name: &str, identity: &str) -> Election {
        Election {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

struct Candidate {
    client: Arc<dyn Client>,
    clock: Arc<dyn Clock>,
    election: Election,
    /// The lease as last seen, and when: others' clocks are not trusted.
    seen: Option<(Value, Instant)>,
}

/// Waits to become the leader and then runs `lead`, whose token is cancelled when leadership is lost or at `stop`. Returns
/// when `lead` has; at `stop` the lease is given up so that another need not wait for it.
///
/// Guarantees one leader at a time as far as clocks run at like speeds; not more.
pub async fn elect<F, Fut>(
    client: Arc<dyn Client>,
    clock: Arc<dyn Clock>,
    election: Election,
    stop: CancellationToken,
    lead: F,
) where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut candidate = Candidate { client, clock, election, seen: None };
    let retry = candidate.election.retry;
    loop {
        match stop.run_until_cancelled(candidate.acquire()).await {
            None => return,
            Some(Ok(true)) => break,
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::debug!(%error, "no lease"),
        }
        let jitter = retry.mul_f64(1.0 + rand::random::<f64>() * 0.2);
        if stop.run_until_cancelled(tokio::time::sleep(jitter)).await.is_none() {
            return;
        }
    }
    tracing::info!(lease = candidate.election.name, identity = candidate.election.identity, "leading");
    let leading = stop.child_token();
    let work = lead(leading.clone());
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => {}
        () = candidate.keep() => {
            tracing::error!(lease = candidate.election.name, "leadership lost");
            leading.cancel();
            work.await;
            return;
        }
    }
    let _ = candidate.release().await;
}

impl Candidate {
    fn target(&self) -> Target {
        Target::one(Gvr::new("coordination.k8s.io", "v1", "leases"), &self.election.namespace, &self.election.name)
    }

    fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }

    /// Takes or renews the lease, if it is free or ours.
    async fn acquire(&mut self) -> Result<bool, Status> {
        let (target, options) = (self.target(), WriteOptions::default());
        let spec = |acquired: Value, transitions: i64, now: &str| {
            json!({"holderIdentity": self.election.identity, "leaseDurationSeconds": self.election.lease.as_secs(),
                "acquireTime": acquired, "renewTime": now, "leaseTransitions": transitions})
        };
        let now = self.now();
        let mut tree = match self.client.get(&target).await {
            Ok(lease) => lease.tree(),
            Err(e) if e.is_not_found() => {
                let tree = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"namespace": self.election.namespace, "name": self.election.name},
                    "spec": spec(json!(now), 0, &now)});
                let within = Target { name: String::new(), ..target };
                return match self.client.create(&within, tree, &options).await {
                    Ok(_) => Ok(true),
                    Err(e) if e.is_already_exists() => Ok(false),
                    Err(e) => Err(e),
                };
            }
            Err(e) => return Err(e),
        };
        let old = tree["spec"].clone();
        if self.seen.as_ref().is_none_or(|(spec, _)| *spec != old) {
            self.seen = Some((old.clone(), Instant::now()));
        }
        let holder = old["holderIdentity"].as_str().unwrap_or("");
        let ours = holder == self.election.identity;
        let duration = Duration::from_secs(old["leaseDurationSeconds"].as_u64().unwrap_or(0));
        let expired =
            self.seen.as_ref().is_none_or(|(_, at)| at.elapsed() > duration) || self.long_dead(&old, duration);
        if !ours && !holder.is_empty() && !expired {
            return Ok(false);
        }
        let transitions = old["leaseTransitions"].as_i64().unwrap_or(0);
        tree["spec"] = if ours {
            spec(old["acquireTime"].clone(), transitions, &now)
        } else {
            spec(json!(now), transitions + 1, &now)
        };
        match self.client.update(&target, tree, &options).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_conflict() && !ours => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Renewed so long ago that no difference of clocks explains it.
    fn long_dead(&self, spec: &Value, duration: Duration) -> bool {
        let renewed = spec["renewTime"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
        let slack = SignedDuration::try_from(duration * 4).unwrap_or(SignedDuration::MAX);
        renewed.is_some_and(|t| self.clock.now().duration_since(t) > slack)
    }

    /// Renews until that fails for too long.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.election.renew_deadline {
            tokio::time::sleep(self.election.retry).await;
            match tokio::time::timeout_at(renewed + self.election.renew_deadline, self.acquire()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.election.name, %error, "cannot renew the lease"),
            }
        }
    }

    async fn release(&self) -> Result<(), Status> {
        let target = self.target();
        let mut tree = self.client.get(&target).await?.tree();
        if tree["spec"]["holderIdentity"] == self.election.identity {
            tree["spec"]["holderIdentity"] = json!("");
            tree["spec"]["leaseDurationSeconds"] = json!(1);
            self.client.update(&target, tree, &WriteOptions::default()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::fake::{FakeClient, Verb};
    use parking_lot::Mutex;

    struct Run {
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn run(fake: &FakeClient, who: &'static str, log: &Arc<Mutex<Vec<String>>>) -> Run {
        let (stop, log) = (CancellationToken::new(), log.clone());
        let election = Election::new("kube-system", "lock", who);
        let task = elect(fake.arc(), Arc::new(SystemClock), election, stop.clone(), move |lost| async move {
            log.lock().push(format!("{who} leads"));
            lost.cancelled().await;
            log.lock().push(format!("{who} ends"));
        });
        Run { stop, task: tokio::spawn(task) }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_another_follows() {
        let (fake, log) = (FakeClient::new(), Arc::new(Mutex::new(Vec::new())));
        let a = run(&fake, "a", &log);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let b = run(&fake, "b", &log);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(*log.lock(), ["a leads"]);
        a.stop.cancel();
        a.task.await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(*log.lock(), ["a leads", "a ends", "b leads"]);
        // who cannot renew gives up before another may lead
        fake.react(|verb, _| (verb == Verb::Update).then(|| Status::internal("down")));
        tokio::time::sleep(Duration::from_secs(14)).await;
        assert_eq!(log.lock().last().unwrap(), "b ends");
        b.task.await.unwrap();
    }
}
