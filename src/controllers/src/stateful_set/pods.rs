//! The pods and claims of a StatefulSet: each has its name, its number and its storage. Upstream's `stateful_set_utils.go`.

use api::k8s_openapi::api::apps::v1::StatefulSet;
use api::k8s_openapi::api::core::v1::Pod;
use api::{Object, Value};
use serde_json::json;

use crate::{history, pods};

pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number in `<set>-<number>`.
pub fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

pub fn claim_name(template: &str, set: &str, ordinal: i32) -> String {
    format!("{template}-{set}-{ordinal}")
}

/// The claims of one pod, with the claim templates' names.
pub fn claims(set: &Object, tree: &Value, ordinal: i32) -> Vec<Value> {
    let templates = tree["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
    let made = templates.into_iter().map(|mut claim| {
        let name = claim_name(claim["metadata"]["name"].as_str().unwrap_or(""), set.name(), ordinal);
        let labels = tree["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
        for (k, v) in labels {
            claim["metadata"]["labels"][k] = v;
        }
        claim["metadata"]["name"] = json!(name);
        claim["metadata"]["namespace"] = json!(set.namespace());
        (claim["apiVersion"], claim["kind"]) = (json!("v1"), json!("PersistentVolumeClaim"));
        if let Some(c) = claim.as_object_mut() {
            c.remove("status");
        }
        claim
    });
    made.collect()
}

/// The pod with that number, of the template that `revision` keeps.
pub fn pod(set: &Object, tree: &Value, revision: &Object, ordinal: i32) -> Value {
    let name = format!("{}-{ordinal}", set.name());
    let owner = pods::controller_ref::<StatefulSet>(set);
    let mut pod = pods::from_template(&history::template(revision), owner, "", set.namespace());
    let metadata = &mut pod["metadata"];
    metadata.as_object_mut().map(|m| m.remove("generateName"));
    metadata["name"] = json!(name);
    metadata["labels"][POD_NAME] = json!(name);
    metadata["labels"][POD_INDEX] = json!(ordinal.to_string());
    metadata["labels"][history::HASH_LABEL] = json!(revision.name());
    pod["spec"]["hostname"] = json!(name);
    if let Some(service) = tree["spec"]["serviceName"].as_str().filter(|s| !s.is_empty()) {
        pod["spec"]["subdomain"] = json!(service);
    }
    let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for template in tree["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let template = template["metadata"]["name"].as_str().unwrap_or("");
        volumes.retain(|v| v["name"] != template);
        let claim = claim_name(template, set.name(), ordinal);
        volumes.push(json!({"name": template, "persistentVolumeClaim": {"claimName": claim}}));
    }
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.retain(|_, v| !v.is_null());
    }
    pod
}

/// The name of the revision a pod was made of.
pub fn revision(pod: &Object) -> &str {
    pod.meta().labels.get(history::HASH_LABEL).map_or("", |h| h)
}

/// Running and ready.
pub fn is_healthy(pod: &Object) -> bool {
    pod.view::<Pod>().is_ok_and(|p| pods::phase(p) == "Running" && pods::is_ready(p) && !pods::is_deleting(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_names() {
        for (pod, want) in [
            ("web-0", Some(0)),
            ("web-12", Some(12)),
            ("web-x", None),
            ("web--1", None),
            ("webs-1", None),
            ("web", None),
        ] {
            assert_eq!(ordinal("web", pod), want, "{pod}");
        }
    }
}
