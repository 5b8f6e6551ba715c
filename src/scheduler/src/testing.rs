//! Pods and nodes for tests.

use std::sync::Arc;

use api::{Draft, Value};
use serde_json::json;

use crate::node::{NodeInfo, PodInfo};

fn merged(mut tree: Value, change: &Value) -> Value {
    fn merge(tree: &mut Value, change: &Value) {
        match change {
            Value::Object(members) => {
                if !tree.is_object() {
                    *tree = json!({});
                }
                members.iter().for_each(|(k, v)| merge(&mut tree[k.as_str()], v));
            }
            other => *tree = other.clone(),
        }
    }
    merge(&mut tree, change);
    tree
}

pub fn pod_tree(name: &str, change: Value) -> Value {
    let uid = format!("uid-{name}");
    let base = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": uid},
        "spec": {"containers": [{"name": "c"}], "schedulerName": "default-scheduler"}});
    merged(base, &change)
}

pub fn pod(name: &str, change: Value) -> Arc<PodInfo> {
    let object = Draft::encode(&pod_tree(name, change)).unwrap().at(1);
    Arc::new(PodInfo::new(Arc::new(object)).unwrap())
}

pub fn node_tree(name: &str, change: Value) -> Value {
    let base = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/hostname": name}},
        "spec": {}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    merged(base, &change)
}

pub fn node(name: &str, change: Value) -> NodeInfo {
    NodeInfo::new(Arc::new(Draft::encode(&node_tree(name, change)).unwrap().at(1))).unwrap()
}
