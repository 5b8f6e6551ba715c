//! `pods/binding`: gives a pod its node. Upstream's `BindingREST`.

use api::field::{Error, Path};
use api::{Status, Value};
use async_trait::async_trait;
use jiff::{Timestamp, Unit};
use serde_json::json;

use super::{success, text};
use crate::special::{Post, PostRequest};

pub struct Bind;

#[async_trait]
impl Post for Bind {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let binding = &r.body;
        let named = text(binding, "/metadata/name");
        let name = if r.attributes.name.is_empty() { named } else { &r.attributes.name };
        if named != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        if let Some(error) = invalid(binding) {
            return Err(Status::invalid("", "Binding", name, &[error]));
        }
        let now = now();
        let change = |pod: &mut Value| {
            assign(pod, binding, &now).map_err(|why| Status::conflict("", "pods/binding", name, &why))
        };
        r.engine.modify(r.attributes, ("", "v1", "pods"), name, r.dry_run, change).await?;
        Ok(success())
    }
}

/// RFC 3339 in whole seconds, as `metav1.Time` is.
pub fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc))
        .unwrap_or(now)
        .to_string()
}

/// `ValidatePodBinding`
fn invalid(binding: &Value) -> Option<Error> {
    let target = Path::root("target");
    match (text(binding, "/target/kind"), text(binding, "/target/name")) {
        ("" | "Node", "") => Some(Error::required(&target.child("name"), "")),
        ("" | "Node", _) => None,
        (kind, _) => Some(Error::not_supported(&target.child("kind"), kind, &["Node", "<empty>"])),
    }
}

/// `setPodNodeAndMetadata`; an error is why it cannot be.
fn assign(pod: &mut Value, binding: &Value, now: &str) -> Result<(), String> {
    let name = text(pod, "/metadata/name").to_owned();
    let uid = text(binding, "/metadata/uid");
    if !uid.is_empty() && uid != text(pod, "/metadata/uid") {
        let is = text(pod, "/metadata/uid");
        return Err(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}"));
    }
    let version = text(binding, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(pod, "/metadata/resourceVersion") {
        let is = text(pod, "/metadata/resourceVersion");
        return Err(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {is}"
        ));
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null()) {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|g| !g.is_empty()) {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    // a stored pod has these
    if !pod["metadata"].is_object()
        || !pod["spec"].is_object()
        || !(pod["status"].is_object() || pod["status"].is_null())
    {
        return Err(format!("pod {name} is not readable"));
    }
    pod["spec"]["nodeName"] = json!(text(binding, "/target/name"));
    for key in ["annotations", "labels"] {
        for (k, v) in binding["metadata"][key].as_object().into_iter().flatten() {
            if !pod["metadata"][key].is_object() {
                pod["metadata"][key] = json!({});
            }
            pod["metadata"][key][k.as_str()] = v.clone();
        }
    }
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else { return Ok(()) };
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(c) if c["status"] == "True" => {}
        Some(c) => *c = scheduled,
        None => conditions.push(scheduled),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(pod: &mut Value, binding: Value) -> Result<(), String> {
        assign(pod, &binding, "2026-01-01T00:00:00Z")
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        let binding =
            json!({"metadata": {"name": "p", "uid": "u", "annotations": {"a": "b"}}, "target": {"name": "n1"}});
        bind(&mut pod, binding.clone()).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        assert_eq!(
            pod["status"]["conditions"],
            json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        );
        assert_eq!(bind(&mut pod, binding).unwrap_err(), r#"pod p is already assigned to node "n1""#);
    }

    #[test]
    fn what_cannot_be_bound() {
        let to = |meta: Value| json!({"metadata": meta, "target": {"name": "n1"}});
        for (pod, binding, why) in [
            (json!({"metadata": {"name": "p", "deletionTimestamp": "t"}}), to(json!({})), "is being deleted"),
            (
                json!({"metadata": {"name": "p"}, "spec": {"schedulingGates": [{"name": "g"}]}}),
                to(json!({})),
                "schedulingGates",
            ),
            (json!({"metadata": {"name": "p", "uid": "u"}}), to(json!({"uid": "other"})), "Precondition failed: UID"),
        ] {
            let got = bind(&mut pod.clone(), binding).unwrap_err();
            assert!(got.contains(why), "{got}");
        }
        assert!(invalid(&json!({"target": {"kind": "Node", "name": "n"}})).is_none());
        assert_eq!(invalid(&json!({"target": {}})).unwrap().to_string(), "target.name: Required value");
        assert!(invalid(&json!({"target": {"kind": "Pod", "name": "n"}})).is_some());
    }
}
