//! A whole kubelet over a fake runtime, with a disk that the test fills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Resource;
use api::k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use serde_json::json;

use super::signals::{Amount, Signals};
use crate::node::machine::FileSystem;
use crate::tests::{Node1, condition, one};

fn disk(free_percent: u64) -> FileSystem {
    let free = free_percent << 20;
    FileSystem { capacity_bytes: 100 << 20, free_bytes: free, available_bytes: free, inodes: 0, inodes_free: 0 }
}

fn node_with(free: &Arc<Mutex<u64>>) -> Node1 {
    let free = free.clone();
    Node1::with(Arc::new(move |_| {
        let memory = Amount { available: 1 << 30, capacity: 1 << 30 };
        let disk = disk(*free.lock());
        Signals { memory, node: disk, images: disk }
    }))
}

fn node_conditions(n: &Node1) -> BTreeMap<String, String> {
    let tree = n.api.tree(&Node::gvr(), "", "node1");
    let all = tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |v: &api::Value| v.as_str().unwrap_or_default().to_owned();
    all.iter().map(|c| (text(&c["type"]), text(&c["status"]))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_relieved_and_over_in_time() {
    let free = Arc::new(Mutex::new(50));
    let n = node_with(&free);
    let mut important = one(json!({}));
    important["priority"] = json!(1000);
    n.pod("important", important);
    n.pod("plain", one(json!({})));
    n.phase("plain", "Running").await;
    n.phase("important", "Running").await;
    assert_eq!(node_conditions(&n)["DiskPressure"], "False");
    n.runtime.state.lock().images.insert("unused".into());
    *free.lock() = 5;
    let gone = n.phase("plain", "Failed").await;
    assert_eq!(gone["status"]["reason"], "Evicted");
    let message = gone["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: 10240Ki"));
    assert_eq!(condition(&gone, "DisruptionTarget"), "True");
    *free.lock() = 50;
    n.eventually("told", || node_conditions(&n)["DiskPressure"] == "True").await;
    assert_eq!(n.tree("important")["status"]["phase"], "Running");
    assert!(!n.runtime.state.lock().images.contains("unused"), "images that nobody uses go first");
    n.pod("late", one(json!({})));
    assert_eq!(
        n.phase("late", "Failed").await["status"]["message"],
        "Pod was rejected: The node had condition: [DiskPressure]. "
    );
    tokio::time::sleep(Duration::from_secs(310)).await;
    assert_eq!(node_conditions(&n)["DiskPressure"], "False");
    n.pod("later", one(json!({})));
    n.phase("later", "Running").await;
}
