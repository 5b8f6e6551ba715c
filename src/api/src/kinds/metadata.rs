//! `ValidateObjectMeta` and `ValidateObjectMetaUpdate`: what holds for the metadata of every kind.

use serde_json::Value;

use super::tree::{entries, is_zero, items, some, text};
use crate::field::{Error, Path};
use crate::{Kind, names};

/// `TotalAnnotationSizeLimitB`
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// `ValidateLabels`
pub(crate) fn labels<'a>(errors: &mut Vec<Error>, path: &Path, labels: impl Iterator<Item = (&'a str, &'a Value)>) {
    for (key, value) in labels {
        label_name(errors, path, key);
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::label_value(value).into_iter().map(|e| Error::invalid(path, value, e)));
    }
}

/// `ValidateLabelName`
pub(crate) fn label_name(errors: &mut Vec<Error>, path: &Path, key: &str) {
    errors.extend(names::qualified_name(key).into_iter().map(|e| Error::invalid(path, key, e)));
}

/// `ValidateAnnotations`
pub(crate) fn annotations(errors: &mut Vec<Error>, path: &Path, owner: &Value) {
    let mut total = 0;
    for (key, value) in entries(owner, "annotations") {
        // the prefix may be written in capitals, for old annotations' sake
        let wrong = if key.bytes().any(|c| c.is_ascii_uppercase()) {
            names::qualified_name(&key.to_lowercase())
        } else {
            names::qualified_name(key)
        };
        errors.extend(wrong.into_iter().map(|e| Error::invalid(path, key, e)));
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_MAX));
    }
}

/// `IsDomainPrefixedPath`: `acme.io/foo`
pub(crate) fn domain_prefixed_path(errors: &mut Vec<Error>, path: &Path, value: &str) {
    const FORMAT: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if value.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    let Some((domain, rest)) = value.split_once('/').filter(|(d, r)| !d.is_empty() && !r.is_empty()) else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.push(Error::invalid(path, value, detail));
    };
    errors.extend(names::dns_subdomain(domain, false).into_iter().map(|e| Error::invalid(path, domain, e)));
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        errors.push(Error::invalid(path, rest, names::regex_error("Invalid path", FORMAT, &[])));
    }
}

/// `ValidateCSIDriverName`
pub(crate) fn driver_name(errors: &mut Vec<Error>, path: &Path, driver: &str) {
    if driver.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    if driver.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    let wrong = names::dns_subdomain(&driver.to_lowercase(), false);
    errors.extend(wrong.into_iter().map(|e| Error::invalid(path, driver, e)));
}

/// `ValidateTemplateObjectMeta`: a template has labels and annotations, nothing else.
pub(crate) fn template(errors: &mut Vec<Error>, path: &Path, template: &Value) {
    let metadata = &template["metadata"];
    let path = path.child("metadata");
    annotations(errors, &path.child("annotations"), metadata);
    labels(errors, &path.child("labels"), entries(metadata, "labels"));
    for (key, _) in metadata.as_object().into_iter().flatten().filter(|(_, v)| !is_zero(v)) {
        if !matches!(key.as_str(), "labels" | "annotations") {
            errors.push(Error::forbidden(&path.child(key), "cannot be set"));
        }
    }
}

fn name(errors: &mut Vec<Error>, kind: &Kind, path: &Path, metadata: &Value) {
    let generate = text(metadata, "generateName");
    if !generate.is_empty() {
        let wrong = kind.strategy.validate_name(generate, true);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("generateName"), generate, e)));
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let wrong = kind.strategy.validate_name(name, false);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("name"), name, e)));
    }
}

fn namespace(errors: &mut Vec<Error>, kind: &Kind, path: &Path, metadata: &Value) {
    let namespace = text(metadata, "namespace");
    let path = &path.child("namespace");
    match (kind.namespaced(), namespace) {
        (true, "") => errors.push(Error::required(path, "")),
        (true, n) => errors.extend(names::dns_label(n, false).into_iter().map(|e| Error::invalid(path, n, e))),
        (false, "") => {}
        (false, _) => errors.push(Error::forbidden(path, "not allowed on this type")),
    }
}

fn owners(errors: &mut Vec<Error>, path: &Path, metadata: &Value) {
    let list = path.child("ownerReferences");
    let mut controller: Option<&Value> = None;
    for owner in items(metadata, "ownerReferences") {
        let version = text(owner, "apiVersion");
        if version.rsplit_once('/').map_or(version, |(_, v)| v).is_empty() {
            errors.push(Error::invalid(&list.child("apiVersion"), version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                errors.push(Error::invalid(&list.child(field), "", "must not be empty"));
            }
        }
        if (version, text(owner, "kind")) == ("v1", "Event") {
            errors.push(Error::invalid(&list, owner.clone(), "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    format_args!("{}/{}", text(first, "kind"), text(first, "name")),
                    format_args!("{}/{}", text(owner, "kind"), text(owner, "name"))
                );
                errors.push(Error::invalid(&list, metadata["ownerReferences"].clone(), detail));
            }
            controller = Some(owner);
        }
    }
}

fn finalizers(errors: &mut Vec<Error>, path: &Path, metadata: &Value) {
    let path = &path.child("finalizers");
    let all: Vec<&str> = items(metadata, "finalizers").iter().filter_map(Value::as_str).collect();
    for f in &all {
        errors.extend(names::qualified_name(f).into_iter().map(|e| Error::invalid(path, *f, e)));
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(path, metadata["finalizers"].clone(), detail));
    }
}

fn common(kind: &Kind, metadata: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = &Path::root("metadata");
    namespace(&mut errors, kind, path, metadata);
    if metadata["generation"].as_i64().is_some_and(|g| g < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(Error::invalid(&path.child("generation"), metadata["generation"].clone(), detail));
    }
    labels(&mut errors, &path.child("labels"), entries(metadata, "labels"));
    annotations(&mut errors, &path.child("annotations"), metadata);
    owners(&mut errors, path, metadata);
    finalizers(&mut errors, path, metadata);
    errors
}

/// Checks the metadata of an object about to be created, its name given or generated.
pub fn validate_metadata(kind: &Kind, object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    name(&mut errors, kind, &Path::root("metadata"), &object["metadata"]);
    errors.extend(common(kind, &object["metadata"]));
    // `validateKubeFinalizerName`; of custom resources it is a warning, of what extends the API nothing
    let strict = kind.definition.is_none()
        && !["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&&*kind.group);
    let root = Path::root("metadata");
    let path = root.child("finalizers");
    let named = items(&object["metadata"], "finalizers").iter().filter_map(Value::as_str).enumerate();
    for (i, f) in named.filter(|(_, f)| strict && !f.contains('/')) {
        if !matches!(f, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path.index(i), f, detail));
        }
    }
    errors
}

/// Checks the metadata of an update: what may not change, and the syntax of what may.
pub fn validate_metadata_update(kind: &Kind, new: &Value, old: &Value) -> Vec<Error> {
    let (new, old) = (&new["metadata"], &old["metadata"]);
    let mut errors = common(kind, new);
    let path = &Path::root("metadata");
    let deleting = some(old, "deletionTimestamp").is_some();
    if deleting {
        let before = items(old, "finalizers");
        let added: Vec<String> =
            items(new, "finalizers").iter().filter(|f| !before.contains(f)).map(Value::to_string).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), &detail));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, was) = (some(new, field), some(old, field));
        if now != was && !(now.and_then(Value::as_str) == Some("") && was.is_none()) {
            let value = now.cloned().unwrap_or(Value::Null);
            errors.push(Error::invalid(&path.child(field), value, "field is immutable"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> std::sync::Arc<Kind> {
        crate::kinds::registry().resource("", "v1", "pods").expect("pods").clone()
    }

    #[test]
    fn finalizers_of_what_extends_the_api_need_no_domain() {
        let registry = crate::kinds::registry();
        for (group, plural, wrong) in [
            ("", "configmaps", 1),
            ("apps", "deployments", 1),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations", 0),
            ("apiextensions.k8s.io", "customresourcedefinitions", 0),
            ("apiregistration.k8s.io", "apiservices", 0),
        ] {
            let kind = registry.resource(group, "v1", plural).expect("built in");
            let object = json!({"metadata": {"finalizers": ["mine"]}});
            let all = validate_metadata(kind, &object);
            assert_eq!(all.iter().filter(|e| e.message.contains("fully qualified")).count(), wrong, "{plural}");
        }
    }

    #[test]
    fn a_template_has_labels_and_annotations_only() {
        let mut errors = Vec::new();
        let metadata = json!({"labels": {"a": "b"}, "annotations": {"a": "b"}, "creationTimestamp": null, "name": "",
            "generation": 1, "managedFields": [{}]});
        template(&mut errors, &Path::root("spec"), &json!({ "metadata": metadata }));
        let said: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let want = ["generation", "managedFields"].map(|k| format!("spec.metadata.{k}: Forbidden: cannot be set"));
        assert_eq!(said, want);
    }

    #[test]
    fn metadata_is_checked_in_upstreams_words() {
        let good = json!({"name": "a", "namespace": "b", "labels": {"x.io/a": "B"}, "annotations": {"k": "any thing"},
            "finalizers": ["x.io/f"]});
        for (change, want) in [
            (json!({}), ""),
            (json!({"name": ""}), "metadata.name: Required value: name or generateName is required"),
            (json!({"namespace": ""}), "metadata.namespace: Required value"),
            (json!({"name": "A"}), r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain"#),
            (json!({"labels": {"a": "-"}}), r#"metadata.labels: Invalid value: "-": a valid label must be"#),
            (json!({"annotations": {"a b": ""}}), r#"metadata.annotations: Invalid value: "a b": name part must"#),
            (
                json!({"annotations": {"a": "x".repeat(ANNOTATIONS_MAX)}}),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}),
                r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#,
            ),
            (json!({"finalizers": ["kubernetes", "a.io/b"]}), ""),
            (
                json!({"finalizers": ["a.io/b", "mine"]}),
                r#"metadata.finalizers[1]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully"#,
            ),
        ] {
            let mut m = good.clone();
            m.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let errors = validate_metadata(&pods(), &json!({"metadata": m}));
            match errors.as_slice() {
                [] => assert_eq!(want, "", "{m}"),
                [e] => assert!(e.to_string().starts_with(want) && !want.is_empty(), "{e}"),
                many => panic!("{many:?}"),
            }
        }
    }

    #[test]
    fn an_update_keeps_identity() {
        let old = json!({"metadata": {"name": "a", "namespace": "b", "uid": "1"}});
        let mut new = old.clone();
        assert!(validate_metadata_update(&pods(), &new, &old).is_empty());
        new["metadata"]["uid"] = json!("2");
        let errors = validate_metadata_update(&pods(), &new, &old);
        assert_eq!(errors[0].to_string(), r#"metadata.uid: Invalid value: "2": field is immutable"#);
    }
}
