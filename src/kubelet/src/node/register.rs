//! Registers the node and keeps its status. Upstream's `kubelet_node_status.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::{Object, Resource, Status};
use client::{Api, Target, WriteOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::machine::{architecture, file_system};
use super::status;
use crate::context::Context;
use crate::network::turned;

const HEARTBEAT: Duration = Duration::from_secs(300);

/// Registers, then tells the status on change of readiness and every five minutes, until stopped.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        let mut wait = Duration::from_millis(50);
        let mut ready;
        let mut object = loop {
            ready = ctx.network.ready();
            match register(&ctx).await {
                Ok(o) => break o,
                Err(error) if client::is_unreachable(&error) => {
                    let _ = ctx.reach.learn::<()>(Err(error));
                    ctx.reach.back().await;
                }
                Err(error) => {
                    tracing::warn!(%error, node = ctx.config.node_name, "the node was not registered");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(7));
                }
            }
        };
        tracing::info!(node = ctx.config.node_name, "node registered");
        let (mut pressure, mut going) = (ctx.pressure.subscribe(), ctx.shutting_down.subscribe());
        let (deleted, touched) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell_deleted, tell_touched, name) = (deleted.clone(), touched.clone(), ctx.config.node_name.clone());
        ctx.nodes.on_change(move |c| match &c.new {
            _ if c.object().name() != name => {}
            None => tell_deleted.notify_one(),
            Some(o) => {
                if o.view::<Node>().ok().and_then(|n| n.status.as_ref()).is_some_and(status::is_others) {
                    tell_touched.notify_one();
                }
            }
        });
        loop {
            let mut heartbeat = false;
            tokio::select! {
                () = turned(&*ctx.network, ready) => {}
                () = ctx.images_changed.notified() => {}
                // the senders live in `ctx`
                _ = pressure.changed() => {}
                _ = going.changed() => {}
                // the status write finds it gone, and registers it anew
                () = deleted.notified() => heartbeat = true,
                // somebody gave the node a resource, or gave it up while it was away
                () = touched.notified() => {}
                () = tokio::time::sleep(HEARTBEAT) => heartbeat = true,
            }
            ready = ctx.network.ready();
            if let Some(newer) = ctx.nodes.get("", &ctx.config.node_name).filter(|n| n.revision() > object.revision()) {
                object = newer;
            }
            match tell(&ctx, object.clone(), heartbeat).await {
                Ok(o) => object = o,
                Err(error) if client::is_unreachable(&error) => {
                    let _ = ctx.reach.learn::<()>(Err(error));
                    ctx.reach.back().await;
                    ctx.images_changed.notify_one(); // look again
                }
                Err(error) => {
                    tracing::warn!(%error, "the node's status was not written");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    })
    .await;
}

fn labels(ctx: &Context) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (k, v) in [
        ("kubernetes.io/hostname", ctx.config.node_name.as_str()),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
    ] {
        all.insert(k.to_owned(), v.to_owned());
    }
    all.extend(ctx.config.labels.clone());
    all
}

/// Those that were asked for, and the one that says that a cloud provider has not seen the node yet.
fn taints(ctx: &Context) -> Vec<Taint> {
    let waits = ctx.config.external_cloud_provider.then(|| Taint {
        key: "node.cloudprovider.kubernetes.io/uninitialized".into(),
        value: Some("true".into()),
        effect: "NoSchedule".into(),
        time_added: None,
    });
    ctx.config.taints.iter().cloned().chain(waits).collect()
}

async fn register(ctx: &Context) -> Result<Arc<Object>, Status> {
    let api = Api::<Node>::new(ctx.client.clone());
    let node = Node {
        metadata: ObjectMeta {
            name: Some(ctx.config.node_name.clone()),
            labels: Some(labels(ctx)),
            annotations: (!ctx.config.annotations.is_empty()).then(|| ctx.config.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(taints(ctx)).filter(|t| !t.is_empty()),
            pod_cidr: ctx.config.pod_cidrs.first().cloned(),
            pod_cidrs: (!ctx.config.pod_cidrs.is_empty()).then(|| ctx.config.pod_cidrs.clone()),
            provider_id: ctx.config.provider_id.clone(),
            ..NodeSpec::default()
        }),
        status: Some(generate(ctx, None).await),
    };
    let object = match api.create(&node).await {
        Ok(o) => o,
        Err(e) if e.is_already_exists() => {
            let patch = serde_json::json!({"metadata": {"labels": node.metadata.labels, "annotations": node.metadata.annotations}});
            api.merge("", &ctx.config.node_name, patch).await?
        }
        Err(e) => return Err(e),
    };
    tell(ctx, object, true).await
}

async fn generate(ctx: &Context, old: Option<&Node>) -> api::k8s_openapi::api::core::v1::NodeStatus {
    let (images, not_ready) = match ctx.runtime.images().await {
        Ok(images) if *ctx.shutting_down.borrow() => (images, Some("node is shutting down".to_owned())),
        Ok(images) if ctx.network.ready() => (images, None),
        Ok(images) => (images, Some("container runtime network not ready".to_owned())),
        Err(e) => (Vec::new(), Some(format!("container runtime is down: {e}"))),
    };
    status::generate(&status::Inputs {
        config: &ctx.config,
        machine: &ctx.machine,
        disk: file_system(&ctx.config.root_dir),
        pressure: *ctx.pressure.borrow(),
        images: &images,
        runtime: ctx.runtime.version(),
        not_ready,
        old: old.and_then(|n| n.status.as_ref()),
        now: ctx.clock.now(),
    })
}

/// Writes the status if it differs, or if it is due.
async fn tell(ctx: &Context, object: Arc<Object>, due: bool) -> Result<Arc<Object>, Status> {
    let mut object = object;
    let mut due = due;
    for _ in 0..5 {
        let node = object.view::<Node>().map_err(Status::internal)?;
        let wanted = generate(ctx, Some(node)).await;
        let same = node.status.as_ref().is_some_and(|s| status::same(s, &wanted));
        if same && !due {
            return Ok(object);
        }
        let mut tree = object.tree();
        let typed = Node { status: Some(wanted), ..Node::default() };
        tree["status"] = typed.to_value()["status"].take();
        let target = Target::one(Node::gvr(), "", &ctx.config.node_name);
        match ctx.client.update(&target.clone().sub("status"), tree, &WriteOptions::default()).await {
            Ok(o) => return Ok(o),
            Err(e) if e.is_conflict() => object = ctx.client.get(&target).await?,
            // somebody has deleted it: register anew
            Err(e) if e.is_not_found() => return Box::pin(register(ctx)).await,
            Err(e) => return Err(e),
        }
        due = true;
    }
    Ok(object)
}
