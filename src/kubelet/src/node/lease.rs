//! The node's heartbeat: its Lease in `kube-node-lease`, renewed every ten seconds. Upstream's `component-helpers` lease
//! controller.

use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use api::{Object, Status};
use client::Api;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

const NAMESPACE: &str = "kube-node-lease";
const SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);

pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        let mut held: Option<Arc<Object>> = None;
        let mut wait = Duration::from_millis(200);
        loop {
            match ctx.reach.learn(renew(&ctx, held.take()).await) {
                Ok(o) => {
                    held = Some(o);
                    wait = Duration::from_millis(200);
                    tokio::time::sleep(RENEW).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the node lease was not renewed");
                    // whether the server is back is found here
                    let most = if ctx.reach.is_away() { 1 } else { 7 };
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(most));
                }
            }
        }
    })
    .await;
}

/// Without `held`, the lease is looked up, and made where it is missing.
async fn renew(ctx: &Context, held: Option<Arc<Object>>) -> Result<Arc<Object>, Status> {
    let api = Api::<Lease>::new(ctx.client.clone());
    let name = &ctx.config.node_name;
    let held = match held {
        Some(o) => o,
        None => match api.get(NAMESPACE, name).await {
            Ok(o) => o,
            Err(e) if e.is_not_found() => return create(ctx, &api).await,
            Err(e) => return Err(e),
        },
    };
    let mut lease = held.view::<Lease>().map_err(Status::internal)?.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(ctx.clock.now()));
    spec.holder_identity = Some(name.clone());
    spec.lease_duration_seconds = Some(SECONDS);
    api.update(&lease).await
}

async fn create(ctx: &Context, api: &Api<Lease>) -> Result<Arc<Object>, Status> {
    let name = &ctx.config.node_name;
    let node = Api::<Node>::new(ctx.client.clone()).get("", name).await.ok();
    let owner = node.map(|n| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.clone(),
        uid: n.uid().into(),
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.into()),
            owner_references: owner.map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(SECONDS),
            renew_time: Some(MicroTime(ctx.clock.now())),
            ..LeaseSpec::default()
        }),
    };
    api.create(&lease).await
}
