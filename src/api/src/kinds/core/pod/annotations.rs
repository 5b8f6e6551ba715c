//! Annotations of pods that mean something: `ValidatePodSpecificAnnotations`.

use serde_json::Value;

use super::volumes::local_descending;
use crate::field::{Error, Path};
use crate::kinds::tree::{entries, items, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Whether it is the kubelet's image of a pod from a file.
pub(super) fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Of a pod or a template; `path` is that of the annotations. A cost that was wrong in `old` may stay.
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, owner: &Value, old: Option<&Value>) {
    let (metadata, spec) = (&owner["metadata"], &owner["spec"]);
    if let Some(value) = metadata["annotations"].get(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), value.clone(), detail));
    }
    let cost = |owner: &Value| text(&owner["metadata"]["annotations"], COST).to_owned();
    if !is_cost(&cost(owner)) && old.is_none_or(|old| is_cost(&cost(old))) {
        errors.push(Error::invalid(&path.key(COST), cost(owner), "must be a 32bit integer"));
    }
    for (key, value) in entries(metadata, "annotations") {
        let value = value.as_str().unwrap_or_default();
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(errors, &path.child(key), value);
        }
    }
    for (key, value) in entries(metadata, "annotations") {
        let (Some(container), value) = (key.strip_prefix(APPARMOR), value.as_str().unwrap_or_default()) else {
            continue;
        };
        let mut all = ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|l| items(spec, l));
        if !all.any(|c| text(c, "name") == container) {
            errors.push(Error::invalid(&path.key(key), container, "container not found"));
        }
        if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
            errors.push(Error::invalid(&path.key(key), value, format!("invalid AppArmor profile name: {value:?}")));
        }
    }
}

/// `GetDeletionCostFromPodAnnotations`
fn is_cost(text: &str) -> bool {
    // `+5` and `05` are refused: they may be meant otherwise
    let ambiguous = text.starts_with('+') || text.len() > 1 && text.starts_with('0');
    text.is_empty() || !ambiguous && text.parse::<i32>().is_ok()
}

/// `ValidateSeccompProfile`
fn seccomp(errors: &mut Vec<Error>, path: &Path, profile: &str) {
    if let Some(file) = profile.strip_prefix("localhost/") {
        local_descending(errors, path, file);
    } else if !matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        errors.push(Error::invalid(path, profile, "must be a valid seccomp profile"));
    }
}

/// `ValidatePodSpecificAnnotationUpdates`
pub(super) fn validate_update(errors: &mut Vec<Error>, new: &Value, old: &Value) {
    let (now, was) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    let metadata = Path::root("metadata");
    let path = metadata.child("annotations");
    for (key, _) in entries(&old["metadata"], "annotations").filter(|(k, v)| now.get(k) != Some(*v)) {
        if key.starts_with(APPARMOR) {
            errors.push(Error::forbidden(&path.key(key), "may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&path.key(key), "may not remove or update mirror pod annotation"));
        }
    }
    for (key, _) in entries(&new["metadata"], "annotations").filter(|(k, _)| was.get(k).is_none()) {
        if key.starts_with(APPARMOR) {
            errors.push(Error::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
    validate(errors, &path, new, Some(old));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(annotations: Value) -> Value {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}})
    }

    #[test]
    fn annotations_are_checked_in_upstreams_words() {
        for (annotations, want) in [
            (json!({COST: "-5", "container.apparmor.security.beta.kubernetes.io/c": "localhost/x"}), ""),
            (
                json!({MIRROR: "x"}),
                r#"a[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set"#,
            ),
            (
                json!({COST: "+5"}),
                r#"a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+5": must be a 32bit integer"#,
            ),
            (
                json!({SECCOMP_POD: "x"}),
                r#"a.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile"#,
            ),
            (
                json!({"container.apparmor.security.beta.kubernetes.io/d": "y"}),
                r#"a[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "d": container not found; a[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "y": invalid AppArmor profile name: "y""#,
            ),
        ] {
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("a"), &pod(annotations), None);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
    }

    #[test]
    fn some_stay_as_they_are() {
        let update = |new: Value, old: Value| {
            let mut errors = Vec::new();
            validate_update(&mut errors, &pod(new), &pod(old));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let key = "container.apparmor.security.beta.kubernetes.io/c";
        assert_eq!(update(json!({COST: "x"}), json!({COST: "y"})), "");
        assert_eq!(
            update(json!({}), json!({MIRROR: "m"})),
            "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"
        );
        assert_eq!(
            update(json!({key: "runtime/default"}), json!({key: "unconfined"})),
            format!("metadata.annotations[{key}]: Forbidden: may not remove or update AppArmor annotations")
        );
        assert_eq!(
            update(json!({key: "runtime/default"}), json!({})),
            format!("metadata.annotations[{key}]: Forbidden: may not add AppArmor annotations")
        );
    }
}
