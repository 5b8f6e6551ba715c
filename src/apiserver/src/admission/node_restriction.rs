//! A kubelet writes only what is its own: its Node, its pods, tokens for its pods. Upstream's `noderestriction`.

use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;

use super::tree::{is_mirror, items, text};
use super::{Operation, Plugin, Write};
use crate::authz::node_name;
use crate::{Attributes, Lookup, Verb};

pub struct NodeRestriction {
    lookup: Arc<dyn Lookup>,
}

impl NodeRestriction {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        NodeRestriction { lookup }
    }

    fn bound_here(&self, write: &Write<'_>, node: &str, verb: &str) -> Result<(), Status> {
        let a = write.attributes;
        let pod = self.lookup.get("pods", &a.namespace, &a.name);
        let Some(pod) = pod.as_ref().or(write.old) else {
            return Err(Status::not_found("", "pods", &a.name));
        };
        if text(&pod.tree(), "/spec/nodeName") == node {
            return Ok(());
        }
        Err(write.refuse(format!("node {node:?} can only {verb} pods with spec.nodeName set to itself")))
    }

    fn pod(&self, write: &Write<'_>, node: &str) -> Result<(), Status> {
        match (write.attributes.subresource.as_str(), write.operation()) {
            ("", Operation::Create) => {
                if !is_mirror(write.object) {
                    let why = format!(
                        "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                    );
                    return Err(write.refuse(why));
                }
                if text(write.object, "/spec/nodeName") != node {
                    let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
                    return Err(write.refuse(why));
                }
                match items(write.object, "/metadata/ownerReferences") {
                    [] => Ok(()),
                    [o] if o["apiVersion"] == "v1" && o["kind"] == "Node" && o["name"] == node => Ok(()),
                    _ => Err(write
                        .refuse(format!("node {node:?} can only create pods with an owner reference set to itself"))),
                }
            }
            ("", Operation::Delete) => self.bound_here(write, node, "delete"),
            ("status", Operation::Update) => {
                self.bound_here(write, node, "update status for")?;
                let labels = |v: &Value| v.pointer("/metadata/labels").cloned();
                if write.old.is_some_and(|o| labels(&o.tree()) != labels(write.object)) {
                    return Err(write.refuse(format!("node {node:?} cannot update labels through pod status")));
                }
                Ok(())
            }
            ("eviction", _) => self.bound_here(write, node, "evict"),
            (sub, operation) => {
                Err(write.refuse(format!("unexpected operation {operation:?} on pods/{sub} by node {node:?}")))
            }
        }
    }

    fn node(&self, write: &Write<'_>, node: &str) -> Result<(), Status> {
        let a = write.attributes;
        let name = if a.name.is_empty() { text(write.object, "/metadata/name") } else { &a.name };
        if name != node {
            return Err(write.refuse(format!("node {node:?} is not allowed to modify node {name:?}")));
        }
        match write.old.filter(|_| write.operation() == Operation::Update).map(|o| o.tree()) {
            Some(old) => {
                if old.pointer("/spec/taints") != write.object.pointer("/spec/taints") && a.subresource.is_empty() {
                    return Err(write.refuse(format!("node {node:?} is not allowed to modify taints")));
                }
                let changed = changed_labels(&old, write.object);
                self.labels(write, node, &changed)
            }
            None => Ok(()),
        }
    }

    /// A kubelet must not give itself the labels by which an administrator keeps workloads apart.
    fn labels(&self, write: &Write<'_>, node: &str, changed: &[String]) -> Result<(), Status> {
        let isolated = |key: &&String| key.starts_with("node-restriction.kubernetes.io/");
        let bad: Vec<&str> = changed.iter().filter(isolated).map(String::as_str).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let bad = bad.join(", ");
        Err(write.refuse(format!("node {node:?} is not allowed to modify labels: {bad}")))
    }

    fn token(&self, write: &Write<'_>, node: &str) -> Result<(), Status> {
        let reference = &write.object["spec"]["boundObjectRef"];
        if reference["kind"] != "Pod" || reference["apiVersion"] != "v1" || text(reference, "/name").is_empty() {
            return Err(write.refuse("node requested token not bound to a pod"));
        }
        let (namespace, name) = (&write.attributes.namespace, text(reference, "/name"));
        let Some(pod) = self.lookup.get("pods", namespace, name) else {
            return Err(Status::not_found("", "pod", name));
        };
        if text(reference, "/uid") != pod.uid() {
            let (asked, is) = (text(reference, "/uid"), pod.uid());
            return Err(write.refuse(format!(
                "the UID in the bound object reference ({asked}) does not match the UID in record. \
                 The object might have been deleted and then recreated ({is})"
            )));
        }
        if text(&pod.tree(), "/spec/nodeName") != node {
            return Err(write.refuse("node requested token bound to a pod scheduled on a different node"));
        }
        Ok(())
    }
}

fn changed_labels(old: &Value, new: &Value) -> Vec<String> {
    let labels = |v: &Value| v.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    let (old, new) = (labels(old), labels(new));
    let keys = old.keys().chain(new.keys().filter(|k| !old.contains_key(*k)));
    keys.filter(|k| old.get(*k) != new.get(*k)).cloned().collect()
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    fn handles(&self, a: &Attributes) -> bool {
        node_name(&a.user).is_some() && !matches!(a.verb, Verb::Get | Verb::List | Verb::Watch)
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let a = write.attributes;
        let Some(node) = node_name(&a.user) else { return Ok(()) };
        match (a.group.as_str(), a.resource.as_str(), a.subresource.as_str()) {
            ("", "pods", _) => self.pod(write, node),
            ("", "nodes", _) => self.node(write, node),
            ("", "serviceaccounts", "token") => self.token(write, node),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{attributes, run};
    use api::Object;

    use super::*;
    use crate::User;
    use crate::lookup::fake::Cluster;

    #[tokio::test]
    async fn a_kubelet_keeps_to_its_own() {
        let cluster = Arc::new(Cluster::default());
        let pod = |name: &str, node: &str| json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"nodeName": node}});
        let mine = cluster.put("pods", pod("mine", "n1"));
        let theirs = cluster.put("pods", pod("theirs", "n2"));
        let plugin = NodeRestriction::new(cluster);
        let groups = vec!["system:nodes".to_owned()];
        let user = Arc::new(User { name: "system:node:n1".into(), groups, ..User::default() });
        let may = async |what: &str, name: &str, object: Value, old: Option<&Arc<Object>>| {
            let (resource, sub) = what.split_once('/').unwrap_or((what, ""));
            let a = Attributes { name: name.into(), subresource: sub.into(), ..attributes(resource, "ns", &user) };
            run(&plugin, &a, object, old).await.map(drop).map_err(|e| e.message)
        };
        assert!(may("pods/status", "mine", pod("mine", "n1"), Some(&mine)).await.is_ok());
        assert_eq!(
            may("pods/status", "theirs", pod("theirs", "n2"), Some(&theirs)).await.unwrap_err(),
            r#"pods "theirs" is forbidden: node "n1" can only update status for pods with spec.nodeName set to itself"#
        );
        assert!(may("pods", "mine", Value::Null, Some(&mine)).await.is_ok());
        assert!(may("pods", "theirs", Value::Null, Some(&theirs)).await.is_err());
        assert!(may("pods", "", pod("new", "n1"), None).await.is_err(), "only mirror pods");
        let mut mirror = pod("new", "n1");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert!(may("pods", "", mirror, None).await.is_ok());

        let node = |name: &str| json!({"metadata": {"name": name}});
        assert!(may("nodes", "", node("n1"), None).await.is_ok());
        assert_eq!(
            may("nodes", "", node("n2"), None).await.unwrap_err(),
            r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#
        );
        for (name, uid, ok) in [("mine", "mine", true), ("mine", "old", false), ("theirs", "theirs", false)] {
            let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
            let request = json!({"spec": {"boundObjectRef": bound}});
            assert_eq!(may("serviceaccounts/token", "sa", request, None).await.is_ok(), ok, "{name} {uid}");
        }
    }
}
