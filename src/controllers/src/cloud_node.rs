//! The cloud provider of those who have none: nodes that wait for one get their addresses, a provider id, and go. Upstream's
//! `cloud-node-controller` with k3s' stub provider.
//!
//! A kubelet with `--cloud-provider=external` comes with the taint `node.cloudprovider.kubernetes.io/uninitialized`, and says in
//! annotations what it knows of itself: what a provider would have from its cloud.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::Node;
use api::{Resource, Value};
use client::{Controller, Informer, ObjectKey, Patch, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error};

pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Lists, by commas.
const INTERNAL: &str = "skiff.sh/internal-ip";
const EXTERNAL: &str = "skiff.sh/external-ip";
const HOSTNAME: &str = "skiff.sh/hostname";

struct CloudNode {
    ctx: Context,
    nodes: Informer,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let this = Arc::new(CloudNode { nodes: ctx.informers.of::<Node>(), ctx });
    let q = queue.clone();
    this.nodes.on_change(move |c| {
        if let Some(node) = &c.new {
            q.add(ObjectKey::of(node));
        }
    });
    this.nodes.synced().await;
    Controller { name: "cloud-node", workers: 2, queue }
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key.name).await }
        })
        .await;
}

/// `status.addresses` as the node's annotations have them; `None` for a node that says nothing.
fn addresses(node: &Value) -> Option<Value> {
    let said = |key: &str| node["metadata"]["annotations"][key].as_str();
    let list = |key: &str, kind: &str| -> Vec<Value> {
        let ips = said(key).unwrap_or_default().split(',').filter(|ip| !ip.is_empty());
        ips.map(|ip| json!({"type": kind, "address": ip})).collect()
    };
    let mut all = list(INTERNAL, "InternalIP");
    if all.is_empty() {
        return None;
    }
    all.extend(list(EXTERNAL, "ExternalIP"));
    let name = said(HOSTNAME).or(node["metadata"]["name"].as_str())?;
    all.push(json!({"type": "Hostname", "address": name}));
    Some(all.into())
}

/// `spec` without the taint, with a provider id; `None`: nothing is to be done.
fn initialized(node: &Value) -> Option<Value> {
    let taints = node["spec"]["taints"].as_array()?;
    let rest: Vec<&Value> = taints.iter().filter(|t| t["key"] != UNINITIALIZED).collect();
    if rest.len() == taints.len() {
        return None;
    }
    let name = node["metadata"]["name"].as_str()?;
    let id = node["spec"]["providerID"].as_str().filter(|id| !id.is_empty());
    let id = id.map_or_else(|| format!("skiff://{name}"), str::to_owned);
    Some(json!({"taints": rest, "providerID": id}))
}

impl CloudNode {
    async fn sync(&self, name: &str) -> Result<Requeue, Error> {
        let Some(object) = self.nodes.get("", name) else { return Ok(None) };
        let (tree, target) = (object.tree(), Target::one(Node::gvr(), "", name));
        let options = WriteOptions::default();
        if let Some(wanted) = addresses(&tree).filter(|a| *a != tree["status"]["addresses"]) {
            let patch = json!({"status": {"addresses": wanted}});
            self.ctx.client.patch(&target.clone().sub("status"), Patch::Merge(patch), &options).await?;
        }
        if initialized(&tree).is_none() {
            return Ok(None);
        }
        // others write taints too: the newest, and only onto what was read
        let fresh = self.ctx.client.get(&target).await?.tree();
        if let Some(spec) = initialized(&fresh) {
            let version = &fresh["metadata"]["resourceVersion"];
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec});
            self.ctx.client.patch(&target, Patch::Merge(patch), &options).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};

    fn node(annotations: Value, taints: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": annotations},
            "spec": {"taints": taints}, "status": {"addresses": [{"type": "Hostname", "address": "n1"}]}})
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_node_is_initialized_and_keeps_its_other_taints() {
        let bench = Bench::new();
        let other = json!({"key": "a", "effect": "NoSchedule"});
        let waiting = json!({"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"});
        let said = json!({INTERNAL: "192.0.2.1,fd00::1", EXTERNAL: "203.0.113.1", HOSTNAME: "n1"});
        bench.fake.seed(Node::gvr(), node(said, json!([other, waiting])));
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(bench.ctx.clone(), stop.clone()));
        settle().await;
        let tree = bench.ctx.client.get(&Target::one(Node::gvr(), "", "n1")).await.unwrap().tree();
        assert_eq!(tree["spec"]["taints"], json!([other]));
        assert_eq!(tree["spec"]["providerID"], "skiff://n1");
        assert_eq!(
            tree["status"]["addresses"],
            json!([
                {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "fd00::1"},
                {"type": "ExternalIP", "address": "203.0.113.1"}, {"type": "Hostname", "address": "n1"}
            ])
        );
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn a_node_that_says_nothing_is_left_alone() {
        assert_eq!(addresses(&node(json!({}), json!([]))), None);
        assert_eq!(initialized(&node(json!({}), json!([{"key": "a", "effect": "NoExecute"}]))), None);
    }
}
