//! Facts about pods that several controllers ask for: upstream's `pkg/api/v1/pod` and `controller_utils.go`.

use api::k8s_openapi::api::core::v1::{Pod, PodCondition};
use api::{Object, Value};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

pub fn is_terminated(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// `IsPodActive`
pub fn is_active(pod: &Pod) -> bool {
    !is_terminated(pod) && !is_deleting(pod)
}

pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// When the pod became ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|c| c.status == "True")?;
    ready.last_transition_time.as_ref().map(|t| t.0)
}

/// `IsPodAvailable`: ready for so long. `Err`: it will be, after that time, if it stays ready.
pub fn available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Result<bool, SignedDuration> {
    if !is_ready(pod) || min_ready_seconds <= 0 {
        return Ok(is_ready(pod));
    }
    let Some(since) = ready_since(pod) else { return Ok(false) };
    let left = SignedDuration::from_secs(min_ready_seconds.into()) - now.duration_since(since);
    if left.is_positive() { Err(left) } else { Ok(true) }
}

pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.map_or(0, |all| all.iter().map(|c| c.restart_count).sum())
}

/// `GetPodFromTemplate`: the tree of a pod that `owner` controls.
pub fn from_template(template: &Value, owner: Value, prefix: &str, namespace: &str) -> Value {
    let mut metadata = json!({"generateName": prefix, "namespace": namespace, "ownerReferences": [owner]});
    for key in ["labels", "annotations", "finalizers"] {
        let of_template = &template["metadata"][key];
        if !of_template.is_null() {
            metadata[key] = of_template.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The prefix of generated pod names: `<owner>-`, unless that were too long.
pub fn prefix(owner: &str) -> String {
    let prefix = format!("{owner}-");
    if api::names::dns_subdomain(&prefix, true).is_empty() { prefix } else { owner.to_owned() }
}

/// `metav1.NewControllerRef`
pub fn controller_ref<K: api::Resource>(owner: &Object) -> Value {
    let api_version = if K::GROUP.is_empty() { K::VERSION.into() } else { format!("{}/{}", K::GROUP, K::VERSION) };
    json!({"apiVersion": api_version, "kind": K::KIND, "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true})
}

/// The key of the owner that controls `object`, if that is a `K`.
pub fn controller_key<K: api::Resource>(object: &Object) -> Option<client::ObjectKey> {
    let owner = object.meta().controller().filter(|o| &*o.kind == K::KIND)?;
    let group = owner.api_version.split_once('/').map_or("", |(g, _)| g);
    let namespace = if K::NAMESPACED { object.namespace() } else { "" };
    (group == K::GROUP).then(|| client::ObjectKey::new(namespace, &owner.name))
}
