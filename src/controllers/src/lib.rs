//! The controllers: level-triggered reconcilers on shared informers and keyed work queues, one file or folder each.
//!
//! ```text
//!   Informers (one cache a kind, shared) ──► handlers: which keys does this change concern? ──► WorkQueue
//!                                                   reconcile(key): read the caches, write the difference ◄──┘
//! ```
//!
//! Invariants: a reconcile reads only its key, never what woke it; it writes nothing when nothing differs; time comes from
//! the context's clock; nothing runs without a change or a date as reason.

mod batch;
mod claim;
pub mod cloud_node;
mod context;
mod cron_job;
pub mod csr;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoints;
mod error;
mod expectations;
mod finalizers;
mod gc;
mod hash;
mod history;
mod job;
mod namespace;
mod node;
mod pod_gc;
mod pods;
mod protection;
mod replicas;
mod resource_claim;
mod service_account;
mod stateful_set;
mod status;
#[cfg(test)]
mod testing;
mod token_secret;

pub use context::{Config, Context, Kinds};
pub use error::Error;

use std::time::Duration;

use api::k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::ReplicationController};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs every controller until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let mut all = JoinSet::new();
    all.spawn(service_account::run(ctx.clone(), stop.clone()));
    all.spawn(token_secret::run(ctx.clone(), stop.clone()));
    all.spawn(namespace::run(ctx.clone(), stop.clone()));
    all.spawn(endpoints::run(ctx.clone(), stop.clone()));
    all.spawn(gc::run(ctx.clone(), stop.clone()));
    all.spawn(node::run(ctx.clone(), stop.clone()));
    all.spawn(node::eviction::run(ctx.clone(), stop.clone()));
    if ctx.config.cloud_nodes {
        all.spawn(cloud_node::run(ctx.clone(), stop.clone()));
    }
    all.spawn(pod_gc::run(ctx.clone(), stop.clone()));
    all.spawn(protection::run(ctx.clone(), stop.clone()));
    all.spawn(job::run(ctx.clone(), stop.clone()));
    all.spawn(daemon_set::run(ctx.clone(), stop.clone()));
    all.spawn(stateful_set::run(ctx.clone(), stop.clone()));
    all.spawn(deployment::run(ctx.clone(), stop.clone()));
    all.spawn(replicas::run::<ReplicaSet>(ctx.clone(), stop.clone()));
    all.spawn(replicas::run::<ReplicationController>(ctx.clone(), stop.clone()));
    // kinds that an API may not serve
    for (group, plural) in [
        ("batch", "cronjobs"),
        ("policy", "poddisruptionbudgets"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("resource.k8s.io", "resourceclaims"),
    ] {
        if ctx.config.registry.borrow().resource(group, "v1", plural).is_none() {
            continue;
        }
        match plural {
            "cronjobs" => drop(all.spawn(cron_job::run(ctx.clone(), stop.clone()))),
            "certificatesigningrequests" => drop(all.spawn(csr::run(ctx.clone(), stop.clone()))),
            "resourceclaims" => drop(all.spawn(resource_claim::run(ctx.clone(), stop.clone()))),
            _ => drop(all.spawn(disruption::run(ctx.clone(), stop.clone()))),
        }
    }
    while let Some(ended) = all.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller ended");
        }
    }
}

/// A span of the context's clock as a delay of the queue.
fn after(left: jiff::SignedDuration) -> Duration {
    Duration::try_from(left).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::Resource;
    use api::k8s_openapi::api::core::v1::Namespace;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use crate::testing::{Bench, settle};

    #[tokio::test(start_paused = true)]
    async fn all_end_at_once_when_told_to() {
        let bench = Bench::new();
        for early in [true, false] {
            let stop = CancellationToken::new();
            let running = tokio::spawn(super::run(bench.ctx.clone(), stop.clone()));
            if !early {
                bench.fake.seed(
                    Namespace::gvr(),
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
                );
                settle().await;
            }
            stop.cancel();
            assert!(tokio::time::timeout(Duration::from_millis(100), running).await.is_ok());
        }
    }
}
