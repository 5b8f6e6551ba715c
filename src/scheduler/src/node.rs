//! Nodes with the pods on them, as filters and scores see them: upstream's `framework.NodeInfo`.

use std::collections::HashMap;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, NodeSpec, Pod, PodSpec, Taint};
use api::{DecodeError, Object};

use crate::resources::{self, Resources};
use crate::term::Terms;

/// A pod with what is asked of it again and again, computed once.
#[derive(Debug)]
pub struct PodInfo {
    pub object: Arc<Object>,
    pub requests: Resources,
    pub scored: (i64, i64),
    pub host_ports: Vec<HostPort>,
    pub terms: Terms,
}

static NO_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

impl PodInfo {
    pub fn new(object: Arc<Object>) -> Result<PodInfo, DecodeError> {
        let pod = object.view::<Pod>()?;
        let (requests, scored, host_ports) =
            (resources::requests(pod), resources::scored_requests(pod), host_ports(pod));
        Ok(PodInfo { terms: Terms::of(pod), requests, scored, host_ports, object })
    }
    pub fn pod(&self) -> &Pod {
        self.object.view::<Pod>().expect("decoded when the info was made")
    }
    pub fn spec(&self) -> &PodSpec {
        self.pod().spec.as_ref().unwrap_or(&NO_SPEC)
    }
    pub fn priority(&self) -> i32 {
        self.spec().priority.unwrap_or(0)
    }
    pub fn is_deleting(&self) -> bool {
        self.object.meta().is_deleting()
    }
    /// The uid of what made it.
    pub fn controller(&self) -> Option<&str> {
        self.object.meta().controller().map(|c| &*c.uid)
    }
    /// Its controller, where it is a sibling to spread from: one that is being deleted is not.
    fn sibling_of(&self) -> Option<&str> {
        self.controller().filter(|_| !self.is_deleting())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// `HostPortInfo.CheckConflict`: the wildcard address meets every other.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            Some(HostPort {
                port: p.host_port.filter(|n| *n > 0)?,
                ip: p.host_ip.clone().unwrap_or_default(),
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            })
        })
        .collect()
}

#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub object: Arc<Object>,
    pub pods: Vec<Arc<PodInfo>>,
    pub requested: Resources,
    pub scored: (i64, i64),
    pub allocatable: Resources,
    /// Bytes by image name.
    pub images: Arc<HashMap<String, i64>>,
    /// How many of the pods have affinity terms.
    pub with_terms: usize,
    /// How many of the pods, those that are being deleted left out, a controller has made.
    siblings: HashMap<Box<str>, usize>,
}

static NO_NODE_SPEC: std::sync::LazyLock<NodeSpec> = std::sync::LazyLock::new(NodeSpec::default);

impl NodeInfo {
    pub fn new(object: Arc<Object>) -> Result<NodeInfo, DecodeError> {
        let node = object.view::<Node>()?;
        let mut images = HashMap::new();
        for image in node.status.iter().flat_map(|s| s.images.iter().flatten()) {
            for name in image.names.iter().flatten() {
                images.insert(name.clone(), image.size_bytes.unwrap_or(0));
            }
        }
        Ok(NodeInfo {
            allocatable: resources::allocatable(node),
            images: Arc::new(images),
            pods: Vec::new(),
            requested: Resources::default(),
            scored: (0, 0),
            with_terms: 0,
            siblings: HashMap::new(),
            object,
        })
    }
    pub fn node(&self) -> &Node {
        self.object.view::<Node>().expect("decoded when the info was made")
    }
    pub fn name(&self) -> &str {
        self.object.name()
    }
    pub fn spec(&self) -> &NodeSpec {
        self.node().spec.as_ref().unwrap_or(&NO_NODE_SPEC)
    }
    pub fn taints(&self) -> &[Taint] {
        self.spec().taints.as_deref().unwrap_or(&[])
    }
    pub fn label(&self, key: &str) -> Option<&str> {
        self.object.meta().labels.get(key).map(|v| &**v)
    }
    /// A label with the key as the node has it.
    pub fn label_entry(&self, key: &str) -> Option<(&str, &str)> {
        self.object.meta().labels.get_key_value(key).map(|(k, v)| (&**k, &**v))
    }
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scored = (self.scored.0 + pod.scored.0, self.scored.1 + pod.scored.1);
        self.with_terms += usize::from(!pod.terms.is_empty());
        if let Some(controller) = pod.sibling_of() {
            *self.siblings.entry(controller.into()).or_default() += 1;
        }
        self.pods.push(pod);
    }
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| p.object.uid() == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests);
        self.scored = (self.scored.0 - pod.scored.0, self.scored.1 - pod.scored.1);
        self.with_terms -= usize::from(!pod.terms.is_empty());
        if let Some(controller) = pod.sibling_of()
            && let Some(n) = self.siblings.get_mut(controller)
        {
            *n -= 1;
            if *n == 0 {
                self.siblings.remove(controller);
            }
        }
        Some(pod)
    }
    /// How many pods of this controller are here to stay.
    pub fn siblings(&self, controller: &str) -> usize {
        self.siblings.get(controller).copied().unwrap_or(0)
    }
}
