//! The APIServices of what this server serves itself: upstream's `autoregister` and `crdregistration` controllers.
//!
//! One for each group and version, labelled as managed, made again when it is deleted and gone with its last kind. One that
//! names a service is another's, whatever its label: who has put another server there has meant it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Gvr, Object, Value};
use client::{Client, DeleteOptions, Target, WriteOptions};
use futures::future::join_all;
use serde_json::json;
use store::EventKind;
use tokio_util::sync::CancellationToken;

use super::{GROUP, RESOURCE, modify, priority};
use crate::{Engine, resource_metrics};

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Writes at once.
const AT_ONCE: usize = 16;

/// What a local APIService is: its label and its spec.
type Wanted = BTreeMap<String, (&'static str, Value)>;

/// As it is; without a label it is not ours.
struct Found {
    managed: bool,
    remote: bool,
    spec: Value,
}

fn found(object: &Object) -> Found {
    let mut tree = object.tree();
    let managed = object.meta().labels.iter().any(|(k, _)| &**k == LABEL);
    Found { managed, remote: super::remote::is_remote(&tree), spec: tree["spec"].take() }
}

/// What there should be.
fn wanted(engine: &Engine, metrics: bool) -> Wanted {
    let routes = engine.routes();
    let kinds = routes.registry.kinds().iter();
    let served = kinds.flat_map(|k| k.served.iter().map(|(g, v)| (g.as_str(), v.as_str(), k.definition.is_some())));
    let virtuals = engine.specials().virtuals().map(|v| (v.group, v.version, false));
    let mut all = Wanted::new();
    let metrics = metrics.then_some((resource_metrics::GROUP, resource_metrics::VERSION, false));
    for (group, version, custom) in served.chain(virtuals).chain(metrics).filter(|(g, ..)| *g != GROUP) {
        all.entry(format!("{version}.{group}")).or_insert_with(|| {
            let (group_priority, version_priority) = priority::of(group, version);
            let spec = json!({
                "group": group, "version": version, "groupPriorityMinimum": group_priority,
                "versionPriority": version_priority,
            });
            (if custom { "true" } else { "onstart" }, spec)
        });
    }
    all
}

/// Until `stop`.
pub(super) async fn run(engine: Arc<Engine>, client: Arc<dyn Client>, metrics: bool, stop: CancellationToken) {
    let mut kinds = engine.kinds();
    let work = async {
        loop {
            let now = engine.store().snapshot(RESOURCE);
            let mut there: BTreeMap<String, Found> = now.iter().map(|o| (o.name().to_owned(), found(o))).collect();
            let Ok(mut watcher) = engine.store().watch(RESOURCE, now.revision()) else { return };
            drop(now);
            loop {
                kinds.borrow_and_update();
                settle(&engine, &*client, wanted(&engine, metrics), &there).await;
                tokio::select! {
                    changed = kinds.changed() => if changed.is_err() {
                        return;
                    },
                    events = watcher.next() => match events {
                        Ok(events) => for event in events {
                            let name = event.object.name().to_owned();
                            match event.kind {
                                EventKind::Put => drop(there.insert(name, found(&event.object))),
                                EventKind::Delete => drop(there.remove(&name)),
                            }
                        },
                        Err(store::Error::Closed) => return,
                        // slower than compaction: begin anew
                        Err(_) => break,
                    },
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// What is to be done with an APIService.
enum Change {
    Create(&'static str, Value),
    Update(Value),
    Delete,
}

/// Writes the difference.
async fn settle(engine: &Engine, client: &dyn Client, wanted: Wanted, there: &BTreeMap<String, Found>) {
    let mut changes: Vec<(String, Change)> = Vec::new();
    for (name, _) in there.iter().filter(|(name, f)| f.managed && !f.remote && !wanted.contains_key(*name)) {
        changes.push((name.clone(), Change::Delete));
    }
    for (name, (label, spec)) in wanted {
        match there.get(&name) {
            None => changes.push((name, Change::Create(label, spec))),
            Some(f) if f.managed && !f.remote && f.spec != spec => changes.push((name, Change::Update(spec))),
            Some(_) => {}
        }
    }
    for some in changes.chunks(AT_ONCE) {
        join_all(some.iter().map(|(name, change)| write(engine, client, name, change))).await;
    }
}

async fn write(engine: &Engine, client: &dyn Client, name: &str, change: &Change) {
    let all = Gvr::new(GROUP, "v1", "apiservices");
    let done = match change {
        Change::Delete => client.delete(&Target::one(all, "", name), &DeleteOptions::default()).await.map(drop),
        Change::Update(spec) => {
            modify(engine, name, |tree| {
                tree["spec"] = spec.clone();
                Ok(())
            })
            .await
        }
        Change::Create(label, spec) => {
            let tree = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name, "labels": {LABEL: label}}, "spec": spec,
            });
            client.create(&Target::all(all), tree, &WriteOptions::default()).await.map(drop)
        }
    };
    match done {
        Err(e) if !e.is_not_found() && !e.is_already_exists() && !e.is_conflict() => {
            tracing::warn!(api_service = name, error = %e, "a local APIService was not kept");
        }
        _ => {}
    }
}
