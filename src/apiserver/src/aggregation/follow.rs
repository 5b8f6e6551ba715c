//! From APIServices to the table of remotes, and word to a remote of what its availability hangs on.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Object;
use store::{Event, EventKind, Watcher};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::availability::{self, Verdict, keep_checked};
use super::connect::Connector;
use super::remote::is_remote;
use super::{Aggregation, RESOURCE, Remote};
use crate::Engine;

const SERVICES: &str = "services";
const SLICES: &str = "discovery.k8s.io/endpointslices";

/// A remote with the task that checks it.
struct Checked {
    remote: Arc<Remote>,
    task: AbortHandle,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follow {
    engine: Arc<Engine>,
    aggregation: Arc<Aggregation>,
    connector: Arc<Connector>,
    remotes: BTreeMap<String, Checked>,
    /// Of services and endpoint slices, while there are remotes.
    dependents: Option<(Watcher, Watcher)>,
}

/// Until `stop`.
pub(super) async fn run(
    engine: Arc<Engine>,
    aggregation: Arc<Aggregation>,
    connector: Arc<Connector>,
    stop: CancellationToken,
) {
    let mut follow = Follow { engine, aggregation, connector, remotes: BTreeMap::new(), dependents: None };
    let work = async {
        // anew when it was slower than compaction
        while !matches!(follow.once().await, Err(store::Error::Closed)) {}
    };
    stop.run_until_cancelled(work).await;
}

/// The next events of a watcher that may not be there.
async fn next(watcher: Option<&mut Watcher>) -> Result<Vec<Event>, store::Error> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

impl Follow {
    async fn once(&mut self) -> Result<(), store::Error> {
        let store = self.engine.store().clone();
        let now = store.snapshot(RESOURCE);
        self.remotes.retain(|name, _| now.iter().any(|o| o.name() == name));
        for object in now.iter() {
            self.note(object).await;
        }
        let mut watcher = store.watch(RESOURCE, now.revision())?;
        loop {
            self.publish()?;
            let (services, slices) = match &mut self.dependents {
                Some((services, slices)) => (Some(services), Some(slices)),
                None => (None, None),
            };
            tokio::select! {
                events = watcher.next() => for event in events? {
                    match event.kind {
                        EventKind::Put => self.note(&event.object).await,
                        EventKind::Delete => drop(self.remotes.remove(event.object.name())),
                    }
                },
                events = next(services) => self.touch(events?, |o| Some(o.name())),
                events = next(slices) => self.touch(events?, |o| {
                    let label = o.meta().labels.iter().find(|(k, _)| &***k == "kubernetes.io/service-name");
                    label.map(|(_, v)| &**v)
                }),
            }
        }
    }

    async fn note(&mut self, object: &Arc<Object>) {
        let (name, tree) = (object.name(), object.tree());
        if !is_remote(&tree) {
            if self.remotes.remove(name).is_some() || tree["status"]["conditions"].as_array().is_none_or(Vec::is_empty)
            {
                availability::write(&self.engine, name, &Verdict::local()).await;
            }
            return;
        }
        if let Some(known) = self.remotes.get(name).filter(|c| c.remote.spec == tree["spec"]) {
            let before = known.remote.is_available();
            known.remote.learn(&tree);
            if known.remote.is_available() != before {
                self.aggregation.changed();
            }
            return;
        }
        let remote = Arc::new(Remote::new(object, &tree, &self.connector));
        let task =
            tokio::spawn(keep_checked(self.engine.clone(), self.aggregation.clone(), remote.clone())).abort_handle();
        self.remotes.insert(name.to_owned(), Checked { remote, task });
    }

    /// The table as requests see it; and what must be watched for it.
    fn publish(&mut self) -> Result<(), store::Error> {
        let same = {
            let table = self.aggregation.all();
            table.len() == self.remotes.len()
                && self.remotes.values().all(|c| table.values().any(|r| Arc::ptr_eq(r, &c.remote)))
        };
        if same {
            return Ok(());
        }
        let key = |r: &Remote| (r.group.clone(), r.version.clone());
        self.aggregation.set(self.remotes.values().map(|c| (key(&c.remote), c.remote.clone())).collect());
        if self.remotes.is_empty() {
            self.dependents = None;
        } else if self.dependents.is_none() {
            let store = self.engine.store();
            let at = store.revision();
            self.dependents = Some((store.watch(SERVICES, at)?, store.watch(SLICES, at)?));
            // what changed before is looked at anew
            self.remotes.values().for_each(|c| c.remote.touched.notify_one());
        }
        Ok(())
    }

    fn touch(&self, events: Vec<Event>, service: impl Fn(&Object) -> Option<&str>) {
        for event in &events {
            let Some(name) = service(&event.object) else { continue };
            let namespace = event.object.namespace();
            let hanging = |c: &&Checked| c.remote.service == name && c.remote.namespace == namespace;
            self.remotes.values().filter(hanging).for_each(|c| c.remote.touched.notify_one());
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.aggregation.set(BTreeMap::new());
    }
}
