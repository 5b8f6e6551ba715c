//! What a pod's volumes ask of nodes: upstream's `volumebinding`, without provisioning by the scheduler itself.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim, Pod};
use api::k8s_openapi::api::storage::v1::StorageClass;
use api::{DecodeError, Object};
use client::{Informer, Informers};

use crate::event::Plugins;
use crate::filter::{Rejection, term_matches};
use crate::node::{NodeInfo, PodInfo};

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The caches that volumes are looked up in.
#[derive(Clone)]
pub struct Storage {
    pub claims: Informer,
    pub volumes: Informer,
    pub classes: Informer,
}

impl Storage {
    pub fn new(informers: &Informers) -> Storage {
        Storage {
            claims: informers.of::<PersistentVolumeClaim>(),
            volumes: informers.of::<PersistentVolume>(),
            classes: informers.of::<StorageClass>(),
        }
    }
}

/// What is known of the pod's claims before nodes are looked at.
#[derive(Default)]
pub struct Volumes {
    /// Where bound volumes can be reached from.
    reach: Vec<NodeSelector>,
    /// Claims that wait for a node to be chosen: `WaitForFirstConsumer`.
    pub waiting: Vec<Arc<Object>>,
}

fn refused(reason: String) -> Rejection {
    Rejection { by: Plugins::VOLUMES, reasons: vec![reason.into()], unresolvable: true }
}

impl Volumes {
    /// Errs if no node could help.
    pub fn of(pod: &PodInfo, storage: &Storage) -> Result<Volumes, Rejection> {
        let mut volumes = Volumes::default();
        for name in claims(pod.pod()) {
            let Some(object) = storage.claims.get(pod.object.namespace(), &name) else {
                return Err(refused(format!("persistentvolumeclaim {name:?} not found")));
            };
            if object.meta().is_deleting() {
                return Err(refused(format!("persistentvolumeclaim {name:?} is being deleted")));
            }
            volumes.add(&object, storage).map_err(|e| refused(e.to_string()))?.map_or(Ok(()), Err)?;
        }
        Ok(volumes)
    }

    fn add(&mut self, object: &Arc<Object>, storage: &Storage) -> Result<Option<Rejection>, DecodeError> {
        let claim = object.view::<PersistentVolumeClaim>()?;
        let spec = claim.spec.as_ref();
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
        let volume = spec.and_then(|s| s.volume_name.as_deref()).filter(|v| !v.is_empty());
        if let Some(volume) = volume {
            let Some(pv) = storage.volumes.get("", volume) else {
                let text = format!(
                    "persistentvolumeclaim {:?} bound to non-existent persistentvolume {volume:?}",
                    object.name()
                );
                return Ok(Some(refused(text)));
            };
            let affinity = pv.view::<PersistentVolume>()?.spec.as_ref().and_then(|s| s.node_affinity.as_ref());
            self.reach.extend(affinity.and_then(|a| a.required.clone()));
            if phase == "Bound" {
                return Ok(None);
            }
        }
        let class = spec.and_then(|s| s.storage_class_name.as_deref()).and_then(|c| storage.classes.get("", c));
        let waits = class.is_some_and(|c| {
            c.view::<StorageClass>().is_ok_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
        });
        if !waits {
            return Ok(Some(refused("pod has unbound immediate PersistentVolumeClaims".into())));
        }
        self.waiting.push(object.clone());
        Ok(None)
    }

    pub fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let reaches = |s: &NodeSelector| s.node_selector_terms.iter().any(|t| term_matches(t, node));
        if self.reach.iter().all(reaches) && self.waiting.iter().all(|c| selected(c).is_none_or(|n| n == node.name())) {
            return Ok(());
        }
        Err(refused("node(s) had volume node affinity conflict".into()))
    }
}

/// The node that was chosen for a claim before.
pub fn selected(claim: &Object) -> Option<&str> {
    let claim = claim.view::<PersistentVolumeClaim>().ok()?;
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE).map(String::as_str)
}

/// The annotation that tells the provisioner where the volume is wanted.
pub fn selection(node: &str) -> api::Value {
    serde_json::json!({"metadata": {"annotations": {SELECTED_NODE: node}}})
}

/// The names of the claims: those the pod names, and those made for its ephemeral volumes.
fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let pod_name = pod.metadata.name.as_deref().unwrap_or("");
    volumes
        .filter_map(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{pod_name}-{}", v.name)),
            (None, None) => None,
        })
        .collect()
}
