//! From client-side to server-side apply: the annotation that `kubectl apply` keeps. Only the manager `kubectl` asks for this.

use serde_json::Value;

use super::node::Node;
use super::set::Set;
use super::walk;

pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// `TotalAnnotationSizeLimitB`
const ANNOTATIONS_MAX: usize = 256 * 1024;

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"].get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that client-side apply wrote and that still are what it wrote: they may be taken without force.
pub(super) fn allowed(root: Node, live: &Value, api_version: &str) -> Option<Set> {
    let applied: Value = serde_json::from_str(last_applied(live)?).ok()?;
    if applied["apiVersion"] != api_version || !walk::problems(root, &applied, false).is_empty() {
        return None;
    }
    let changes = walk::compare(root, &applied, live);
    let fields = walk::fields(root, &applied);
    Some(fields.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

/// Keeps an annotation that is there in step with what is applied now.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(metadata) = config["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.into(), format!("{config}\n").into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(ANNOTATION);
    }
}
