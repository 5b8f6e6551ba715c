//! What the engine does with `metadata`: upstream's `rest.BeforeCreate`, `rest.BeforeUpdate` and `names.SimpleNameGenerator`.

use api::{Kind, Reason, Status, Value};
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Map, json};

/// `maxGeneratedNameLength` without the random part.
const BASE_MAX: usize = 58;
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(crate) fn metadata(tree: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    let root = tree.as_object_mut().ok_or_else(|| Status::bad_request("the object is not a JSON object"))?;
    root.entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| Status::bad_request("metadata is not a JSON object"))
}

pub(crate) fn text<'a>(tree: &'a Value, key: &str) -> &'a str {
    tree.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// `metav1.Time`: RFC 3339, whole seconds.
pub(crate) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The `generateName` with five random characters behind it.
pub(crate) fn generate_name(base: &str) -> String {
    let mut end = base.len().min(BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut rng = rand::rng();
    let mut name = String::with_capacity(end + 5);
    name.push_str(&base[..end]);
    name.extend((0..5).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char));
    name
}

/// `EnsureObjectNamespaceMatchesRequestNamespace`
pub(crate) fn match_namespace(kind: &Kind, namespace: &str, tree: &mut Value) -> Result<(), Status> {
    let given = text(tree, "namespace");
    if given == namespace {
        return Ok(());
    }
    if !given.is_empty() && kind.namespaced() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    let m = metadata(tree)?;
    if kind.namespaced() {
        m.insert("namespace".into(), namespace.into());
    } else {
        m.remove("namespace");
    }
    Ok(())
}

/// `FillObjectMetaSystemFields`, and the end of what a client may not set.
pub(crate) fn fill_new(kind: &Kind, tree: &mut Value) -> Result<(), Status> {
    let m = metadata(tree)?;
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        m.remove(key);
    }
    m.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    m.insert("creationTimestamp".into(), time(now()).into());
    if kind.strategy.has_generation() {
        m.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// Takes over from `old` what an update leaves out or may not touch.
pub(crate) fn carry_over(new: &mut Value, old: &Value) -> Result<(), Status> {
    let m = metadata(new)?;
    m.remove("selfLink");
    for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if m.get(key).is_none_or(|v| v.is_null() || v == "")
            && let Some(was) = old["metadata"].get(key)
        {
            m.insert(key.into(), was.clone());
        }
    }
    match old["metadata"].get("generation") {
        Some(generation) => m.insert("generation".into(), generation.clone()),
        None => m.remove("generation"),
    };
    Ok(())
}

/// One more generation where anything outside metadata and, where it is a subresource, status differs.
pub(crate) fn bump_generation(new: &mut Value, old: &Value, has_status: bool) -> Result<(), Status> {
    let apart = |k: &str| matches!(k, "metadata" | "kind" | "apiVersion") || has_status && k == "status";
    let (Some(n), Some(o)) = (new.as_object(), old.as_object()) else { return Ok(()) };
    let mine = n.iter().filter(|(k, _)| !apart(k));
    let theirs = o.iter().filter(|(k, _)| !apart(k));
    if !mine.eq(theirs) {
        next_generation(new)?;
    }
    Ok(())
}

pub(crate) fn next_generation(tree: &mut Value) -> Result<(), Status> {
    let m = metadata(tree)?;
    let generation = m.get("generation").and_then(Value::as_i64).unwrap_or(0);
    m.insert("generation".into(), (generation + 1).into());
    Ok(())
}

/// The revision that a tree asks to be updated at; 0: any.
pub(crate) fn resource_version(kind: &Kind, tree: &Value) -> Result<u64, Status> {
    match text(tree, "resourceVersion") {
        "" => Ok(0),
        v => v.parse().map_err(|_| {
            let path = api::field::Path::root("metadata");
            let error = api::field::Error::invalid(&path.child("resourceVersion"), v, "must be a non-negative integer");
            Status::invalid(&kind.group, &kind.kind, text(tree, "name"), &[error])
        }),
    }
}

/// `checkName` of the update handlers.
pub(crate) fn check_name(tree: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let (its_name, its_namespace) = (text(tree, "name"), text(tree, "namespace"));
    if its_name.is_empty() {
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(Status::bad_request(why));
    }
    if its_name != name {
        let why = format!("the name of the object ({its_name}) does not match the name on the URL ({name})");
        return Err(Status::bad_request(why));
    }
    if !namespace.is_empty() && !its_namespace.is_empty() && its_namespace != namespace {
        let why = format!(
            "the namespace of the object ({its_namespace}) does not match the namespace on the request ({namespace})"
        );
        return Err(Status::bad_request(why));
    }
    Ok(())
}

/// A plain Go error, as upstream's handlers answer it.
pub(crate) fn plain(text: impl Into<String>) -> Status {
    Status::new(Reason::Unknown, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_to_their_length() {
        let name = generate_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9);
        assert_eq!(generate_name(&"a".repeat(100)).len(), 63);
    }

    #[test]
    fn generation_counts_changes_of_the_spec_only() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": 1});
        for (new, want) in [
            (json!({"metadata": {"generation": 3, "labels": {}}, "spec": {"a": 1}, "status": 2}), 3),
            (json!({"metadata": {"generation": 3}, "spec": {"a": 2}}), 4),
            (json!({"metadata": {"generation": 3}}), 4),
        ] {
            let mut new = new;
            bump_generation(&mut new, &old, true).unwrap();
            assert_eq!(new["metadata"]["generation"], want);
        }
    }
}
