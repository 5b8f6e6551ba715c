//! What a kubelet may do: its own node, and what the pods bound to it refer to. Upstream's `plugin/pkg/auth/authorizer/node`.
//!
//! The graph holds, per node, the objects that its pods name. Whatever is not subdivided by node is granted by the rules of
//! the ClusterRole `system:node`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use api::Object;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use super::rbac::{Rbac, RoleRef};
use super::rule::nullable;
use crate::{Attributes, Authorizer, Decision, Lookup, User, Verb};

const LEASES: &str = "kube-node-lease";
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const ATTACHMENTS: &str = "storage.k8s.io/volumeattachments";

/// The name of the node whose kubelet this is: `NodeIdentity`.
pub fn node_name(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:").filter(|n| !n.is_empty())?;
    user.groups.iter().any(|g| g == "system:nodes").then_some(name)
}

/// Something that pods name: resource, namespace, name.
type Reference = (&'static str, Box<str>, Box<str>);

/// Where a pod runs, which state of it was read, what it names.
type Known = (Box<str>, Stamp, Vec<Reference>);

#[derive(Default)]
struct Graph {
    pods: HashMap<(Box<str>, Box<str>), Known>,
    /// By node: how many of its pods name a thing.
    nodes: HashMap<Box<str>, HashMap<Reference, u32>>,
}

/// References change only with these.
type Stamp = (Box<str>, i64);

pub struct Nodes {
    graph: RwLock<Graph>,
    rbac: Arc<Rbac>,
    /// Where pods are looked up that the graph may not have yet: a kubelet hears of its pod as early as we do.
    lookup: OnceLock<Arc<dyn Lookup>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Placed {
    spec: Placement,
}
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Placement {
    #[serde(deserialize_with = "nullable")]
    node_name: Box<str>,
}

impl Nodes {
    pub fn new(rbac: Arc<Rbac>) -> Nodes {
        Nodes { graph: RwLock::default(), rbac, lookup: OnceLock::new() }
    }

    /// From now on a refusal looks at `lookup`'s pods first.
    pub(super) fn look_at(&self, lookup: Arc<dyn Lookup>) {
        // the first stays
        let _ = self.lookup.set(lookup);
    }

    /// Takes in a pod's newest state.
    pub fn put(&self, pod: &Object) {
        let key = (Box::from(pod.namespace()), Box::from(pod.name()));
        let stamp: Stamp = (pod.uid().into(), pod.meta().generation);
        if self.graph.read().pods.get(&key).is_some_and(|(_, have, _)| *have == stamp) {
            return;
        }
        let node = serde_json::from_slice::<Placed>(pod.json()).unwrap_or_default().spec.node_name;
        self.remove(pod.namespace(), pod.name());
        if node.is_empty() {
            return;
        }
        let mut references = Vec::new();
        let tree = pod.tree();
        collect(&tree["spec"], pod.namespace(), pod.name(), &mut references);
        references.sort();
        references.dedup();
        let mut g = self.graph.write();
        let counts = g.nodes.entry(node.clone()).or_default();
        for r in &references {
            *counts.entry(r.clone()).or_default() += 1;
        }
        g.pods.insert(key, (node, stamp, references));
    }

    pub fn remove(&self, namespace: &str, name: &str) {
        let mut g = self.graph.write();
        let Some((node, _, references)) = g.pods.remove(&(namespace.into(), name.into())) else { return };
        let Some(counts) = g.nodes.get_mut(&node) else { return };
        for r in references {
            if let Some(n) = counts.get_mut(&r) {
                *n -= 1;
                if *n == 0 {
                    counts.remove(&r);
                }
            }
        }
        if counts.is_empty() {
            g.nodes.remove(&node);
        }
    }

    /// Namespaces and names of the pods that are there.
    pub(super) fn keys(&self) -> Vec<(Box<str>, Box<str>)> {
        self.graph.read().pods.keys().cloned().collect()
    }

    fn named(&self, node: &str, resource: &'static str, namespace: &str, name: &str) -> bool {
        let g = self.graph.read();
        g.nodes.get(node).is_some_and(|n| n.contains_key(&(resource, namespace.into(), name.into())))
    }

    fn related(&self, node: &str, resource: &'static str, a: &Attributes) -> Decision {
        if a.name.is_empty() {
            return Decision::Deny("No Object name found".into());
        }
        if self.named(node, resource, &a.namespace, &a.name) {
            return Decision::Allow;
        }
        if let Some(lookup) = self.lookup.get() {
            lookup.list("pods", &a.namespace).iter().for_each(|pod| self.put(pod));
            if self.named(node, resource, &a.namespace, &a.name) {
                return Decision::Allow;
            }
        }
        Decision::Deny(format!("no relationship found between node '{node}' and this object"))
    }

    /// Whether a claim of the node's pods is bound to a volume that `is` says yes to: the graph's edge claim → volume is read
    /// from the claims themselves.
    fn bound_volume(&self, node: &str, is: impl Fn(&str, &Value) -> bool) -> bool {
        let Some(lookup) = self.lookup.get() else { return false };
        let claims: Vec<Reference> = {
            let g = self.graph.read();
            let named = g.nodes.get(node).into_iter().flat_map(HashMap::keys);
            named.filter(|(resource, ..)| *resource == CLAIMS).cloned().collect()
        };
        claims.iter().any(|(_, namespace, name)| {
            let volume = lookup.get(CLAIMS, namespace, name).map(|c| c.tree()["spec"]["volumeName"].take());
            let Some(volume) = volume.as_ref().and_then(Value::as_str).filter(|v| !v.is_empty()) else { return false };
            let tree = lookup.get(VOLUMES, "", volume).map(|v| v.tree()).unwrap_or_default();
            // a volume that is claimed by another has let the claim down
            let claim = &tree["spec"]["claimRef"];
            let ours = claim["name"] == **name && claim["namespace"] == **namespace;
            ours && is(volume, &tree["spec"])
        })
    }

    /// A volume of the node's pods, or a secret that such a volume names.
    fn by_volume(&self, node: &str, a: &Attributes) -> Decision {
        let found = match a.resource.as_str() {
            VOLUMES => self.bound_volume(node, |volume, _| volume == a.name),
            _ => self
                .bound_volume(node, |_, spec| volume_secrets(spec).contains(&(a.namespace.as_str(), a.name.as_str()))),
        };
        if found {
            return Decision::Allow;
        }
        Decision::Deny(format!("no relationship found between node '{node}' and this object"))
    }

    /// An attachment to the node.
    fn attachment(&self, node: &str, a: &Attributes) -> Decision {
        let attachment = self.lookup.get().and_then(|l| l.get(ATTACHMENTS, "", &a.name));
        match attachment.is_some_and(|o| o.tree()["spec"]["nodeName"] == node) {
            true => Decision::Allow,
            false => Decision::Deny(format!("no relationship found between node '{node}' and this object")),
        }
    }

    /// The rules of `system:node`.
    fn statically(&self, a: &Attributes) -> Decision {
        let role = RoleRef { kind: "ClusterRole".into(), name: "system:node".into() };
        let allowed = self.rbac.rules_of(&role, "").is_some_and(|rules| rules.iter().any(|r| r.allows(a)));
        if allowed { Decision::Allow } else { Decision::NoOpinion }
    }
}

impl Authorizer for Nodes {
    fn authorize(&self, a: &Attributes) -> Decision {
        let Some(node) = node_name(&a.user) else { return Decision::NoOpinion };
        let read = matches!(a.verb, Verb::Get | Verb::List | Verb::Watch);
        let deny = |why: &str| Decision::Deny(why.to_owned());
        match (a.group.as_str(), a.resource.as_str(), a.subresource.as_str()) {
            ("", resource @ ("secrets" | "configmaps"), sub) => {
                if !read || !sub.is_empty() {
                    return deny("can only read resources of this type");
                }
                let named = self.related(node, if resource == "secrets" { "secrets" } else { "configmaps" }, a);
                match named {
                    Decision::Deny(_) if resource == "secrets" && !a.name.is_empty() => self.by_volume(node, a),
                    named => named,
                }
            }
            ("", VOLUMES, sub) => match (sub, a.verb) {
                ("", Verb::Get) if !a.name.is_empty() => self.by_volume(node, a),
                _ => deny("can only get individual resources of this type"),
            },
            ("storage.k8s.io", "volumeattachments", sub) => match (sub, a.verb) {
                ("", Verb::Get) if !a.name.is_empty() => self.attachment(node, a),
                _ => deny("can only get individual resources of this type"),
            },
            ("resource.k8s.io", "resourceclaims", sub) => match (sub, a.verb) {
                ("", Verb::Get) => self.related(node, "resourceclaims", a),
                _ => deny("can only get individual resources of this type"),
            },
            ("", "persistentvolumeclaims", sub) => match (sub, a.verb) {
                ("", Verb::Get) | ("status", Verb::Update | Verb::Patch) => {
                    self.related(node, "persistentvolumeclaims", a)
                }
                _ => deny("can only get individual resources of this type"),
            },
            ("", "serviceaccounts", "token") => match a.verb {
                Verb::Create => self.related(node, "serviceaccounts", a),
                _ => deny("can only create tokens for individual service accounts"),
            },
            ("", "serviceaccounts", "") if a.verb == Verb::Get => self.related(node, "serviceaccounts", a),
            ("coordination.k8s.io", "leases", sub) => {
                if !sub.is_empty() {
                    deny("subresources cannot be accessed")
                } else if a.namespace != LEASES {
                    deny("can only access leases in the \"kube-node-lease\" system namespace")
                } else if matches!(a.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
                    deny("can only get, create, update, patch, or delete a node lease")
                } else if a.verb != Verb::Create && a.name != node {
                    deny("can only access node lease with the same name as the requesting node")
                } else {
                    Decision::Allow
                }
            }
            ("storage.k8s.io", "csinodes", "") => match a.verb {
                Verb::List | Verb::Watch | Verb::DeleteCollection => {
                    deny("can only get, create, update, patch, or delete a CSINode")
                }
                Verb::Create => Decision::Allow,
                _ if a.name == node => Decision::Allow,
                _ => deny("can only access CSINode with the same name as the requesting node"),
            },
            _ => self.statically(a),
        }
    }
}

/// Namespaces and names of the secrets in a volume's spec that a node needs: `VisitPVSecretNames`.
fn volume_secrets(spec: &Value) -> Vec<(&str, &str)> {
    let claim = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let sources = spec.as_object().into_iter().flatten().map(|(_, source)| source);
    let found = sources.flat_map(|source| {
        let keys = ["secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];
        let of_ref = keys.into_iter().map(|k| &source[k]).filter_map(move |r| {
            Some((r["namespace"].as_str().filter(|n| !n.is_empty()).unwrap_or(claim), r["name"].as_str()?))
        });
        // Azure's shares name theirs otherwise
        let azure = source["secretName"].as_str().map(|n| (source["secretNamespace"].as_str().unwrap_or(claim), n));
        of_ref.chain(azure)
    });
    found.collect()
}

/// Finds what a pod's spec names, wherever it stands: `VisitPodSecretNames`, `VisitPodConfigmapNames`.
fn collect(v: &Value, namespace: &str, pod: &str, out: &mut Vec<Reference>) {
    let mut add = |resource, name: &Value| {
        if let Some(n) = name.as_str().filter(|n| !n.is_empty()) {
            out.push((resource, namespace.into(), n.into()));
        }
    };
    match v {
        Value::Array(items) => items.iter().for_each(|i| collect(i, namespace, pod, out)),
        Value::Object(members) => {
            for (key, v) in members {
                match key.as_str() {
                    "secretKeyRef" | "secretRef" | "nodePublishSecretRef" => add("secrets", &v["name"]),
                    "secret" => {
                        add("secrets", &v["secretName"]);
                        add("secrets", &v["name"]);
                    }
                    "imagePullSecrets" => v.as_array().into_iter().flatten().for_each(|s| add("secrets", &s["name"])),
                    "configMapKeyRef" | "configMapRef" | "configMap" => add("configmaps", &v["name"]),
                    "persistentVolumeClaim" => add("persistentvolumeclaims", &v["claimName"]),
                    "resourceClaimName" => add("resourceclaims", v),
                    "serviceAccountName" => add("serviceaccounts", v),
                    "ephemeral" if members.contains_key("name") => {
                        let claim = format!("{pod}-{}", members["name"].as_str().unwrap_or_default());
                        add("persistentvolumeclaims", &Value::String(claim));
                    }
                    _ => {}
                }
            }
            members.values().for_each(|i| collect(i, namespace, pod, out));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use api::Draft;
    use serde_json::json;

    use super::super::rbac::tests::ask;
    use super::*;

    fn kubelet(node: &str) -> Arc<User> {
        let groups = vec!["system:nodes".into(), "system:authenticated".into()];
        Arc::new(User { name: format!("system:node:{node}"), groups, ..User::default() })
    }
    fn pod(node: &str) -> Object {
        let tree = json!({"metadata": {"name": "p", "namespace": "ns", "uid": node},
            "spec": {"nodeName": node, "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
                "volumes": [{"name": "a", "secret": {"secretName": "vol"}},
                    {"name": "b", "projected": {"sources": [{"configMap": {"name": "root-ca"}}]}},
                    {"name": "c", "ephemeral": {"volumeClaimTemplate": {}}}],
                "containers": [{"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
                    "envFrom": [{"configMapRef": {"name": "all"}}]}]}});
        Draft::encode(&tree).unwrap().at(1)
    }

    #[test]
    fn a_node_reads_what_its_pods_name() {
        let nodes = Nodes::new(Arc::default());
        nodes.put(&pod("n1"));
        let may = |node: &str, verb, resource: &str, name: &str| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let mut a = ask(&kubelet(node), verb, resource, "ns");
            (a.name, a.subresource) = (name.into(), subresource.into());
            nodes.authorize(&a) == Decision::Allow
        };
        for secret in ["pull", "vol", "env"] {
            assert!(may("n1", Verb::Get, "secrets", secret), "{secret}");
            assert!(!may("n2", Verb::Get, "secrets", secret), "{secret}");
        }
        assert!(may("n1", Verb::Watch, "configmaps", "root-ca") && may("n1", Verb::Get, "configmaps", "all"));
        assert!(may("n1", Verb::Get, "persistentvolumeclaims", "p-c"));
        assert!(may("n1", Verb::Create, "serviceaccounts/token", "sa"));
        assert!(!may("n1", Verb::Create, "serviceaccounts/token", "other"));
        assert!(!may("n1", Verb::Get, "secrets", "other") && !may("n1", Verb::List, "secrets", ""));
        assert!(!may("n1", Verb::Update, "secrets", "env"));

        nodes.put(&pod("n2"));
        assert!(may("n2", Verb::Get, "secrets", "env") && !may("n1", Verb::Get, "secrets", "env"), "the pod moved");
        nodes.remove("ns", "p");
        assert!(!may("n2", Verb::Get, "secrets", "env"));
    }

    #[test]
    fn a_pod_that_the_graph_has_not_heard_of_is_looked_up() {
        let (nodes, cluster) = (Nodes::new(Arc::default()), Arc::new(crate::lookup::fake::Cluster::default()));
        nodes.look_at(cluster.clone());
        let mut a = ask(&kubelet("n1"), Verb::Get, "secrets", "ns");
        a.name = "env".into();
        assert_ne!(nodes.authorize(&a), Decision::Allow);
        cluster.put("pods", pod("n1").tree());
        assert_eq!(nodes.authorize(&a), Decision::Allow);
    }

    #[test]
    fn volumes_are_read_by_way_of_claims() {
        let (nodes, cluster) = (Nodes::new(Arc::default()), Arc::new(crate::lookup::fake::Cluster::default()));
        nodes.look_at(cluster.clone());
        let tree = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"nodeName": "n1",
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}});
        nodes.put(&Draft::encode(&tree).unwrap().at(1));
        cluster.put(CLAIMS, json!({"metadata": {"name": "data", "namespace": "ns"}, "spec": {"volumeName": "pv"}}));
        let volume = |claim: &str| {
            json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "ns", "name": claim},
                "csi": {"nodePublishSecretRef": {"namespace": "csi", "name": "key"}}}})
        };
        cluster.put(VOLUMES, volume("data"));
        for (name, node) in [("a1", "n1"), ("a2", "n2")] {
            cluster.put(ATTACHMENTS, json!({"metadata": {"name": name}, "spec": {"nodeName": node}}));
        }
        let may = |node: &str, group: &str, resource: &str, namespace: &str, name: &str| {
            let mut a = ask(&kubelet(node), Verb::Get, resource, namespace);
            (a.group, a.name) = (group.into(), name.into());
            nodes.authorize(&a) == Decision::Allow
        };
        assert!(may("n1", "", VOLUMES, "", "pv") && !may("n2", "", VOLUMES, "", "pv"));
        assert!(may("n1", "", "secrets", "csi", "key") && !may("n2", "", "secrets", "csi", "key"));
        assert!(!may("n1", "", "secrets", "ns", "key") && !may("n1", "", VOLUMES, "", "other"));
        assert!(may("n1", "storage.k8s.io", "volumeattachments", "", "a1"));
        assert!(!may("n1", "storage.k8s.io", "volumeattachments", "", "a2"));
        assert!(may("n1", "resource.k8s.io", "resourceclaims", "ns", "gpu"));
        assert!(!may("n2", "resource.k8s.io", "resourceclaims", "ns", "gpu"));
        cluster.put(VOLUMES, volume("another"));
        assert!(!may("n1", "", VOLUMES, "", "pv"), "it is another's volume");
    }

    #[test]
    fn a_lease_is_its_own() {
        let nodes = Nodes::new(Arc::default());
        for (namespace, name, verb, allowed) in [
            (LEASES, "n1", Verb::Update, true),
            (LEASES, "n2", Verb::Update, false),
            (LEASES, "", Verb::Create, true),
            ("default", "n1", Verb::Update, false),
            (LEASES, "", Verb::List, false),
        ] {
            let mut a = ask(&kubelet("n1"), verb, "leases", namespace);
            (a.name, a.group) = (name.into(), "coordination.k8s.io".into());
            assert_eq!(nodes.authorize(&a) == Decision::Allow, allowed, "{namespace} {name} {verb:?}");
        }
    }
}
