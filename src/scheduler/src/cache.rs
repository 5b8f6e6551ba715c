//! What the scheduler believes of the cluster: nodes, the pods on them, and pods it has placed but not yet seen bound.
//! Upstream's `backend/cache`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{DecodeError, Object};

use crate::node::{NodeInfo, PodInfo};
use crate::preempt::Nominations;
use crate::term::Namespaces;

#[derive(Default)]
pub struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Where each pod is; a node may still be unknown here.
    places: HashMap<Box<str>, Place>,
    /// Labels by namespace name.
    pub namespaces: Namespaces,
    /// Pods that wait for others to leave.
    pub nominations: Nominations,
}

struct Place {
    node: String,
    pod: Arc<PodInfo>,
    /// Placed by the scheduler, not yet seen bound.
    assumed: bool,
}

impl Cache {
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> + Clone {
        self.nodes.values()
    }
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    pub fn put_node(&mut self, object: Arc<Object>) -> Result<(), DecodeError> {
        let mut info = NodeInfo::new(object)?;
        let name = info.name().to_owned();
        match self.nodes.remove(&name) {
            Some(old) => {
                info.pods = old.pods;
                info.requested = old.requested;
                info.scored = old.scored;
                info.with_terms = old.with_terms;
            }
            None => self.places.values().filter(|p| p.node == name).for_each(|p| info.add(p.pod.clone())),
        }
        self.nodes.insert(name, info);
        Ok(())
    }
    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// A pod that the API says is on `node`.
    pub fn put_pod(&mut self, object: Arc<Object>, node: &str) -> Result<(), DecodeError> {
        let pod = Arc::new(PodInfo::new(object)?);
        self.place(pod, node, false);
        Ok(())
    }
    /// A pod that is about to be bound to `node`.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.place(pod, node, true);
    }
    /// Binding failed: as if never assumed. Nothing happens if it has been seen bound.
    pub fn forget(&mut self, uid: &str) {
        if self.places.get(uid).is_some_and(|p| p.assumed) {
            self.remove_pod(uid);
        }
    }
    /// Placed, but not yet seen bound.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.places.get(uid).is_some_and(|p| p.assumed)
    }
    fn place(&mut self, pod: Arc<PodInfo>, node: &str, assumed: bool) {
        self.remove_pod(pod.object.uid());
        if let Some(info) = self.nodes.get_mut(node) {
            info.add(pod.clone());
        }
        self.places.insert(pod.object.uid().into(), Place { node: node.to_owned(), pod, assumed });
    }
    /// Returns whether the pod was there.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(place) = self.places.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&place.node) {
            info.remove(uid);
        }
        true
    }
}
