//! From bytes to a checked tree: JSON and YAML, duplicate fields, strict validation.
//!
//! ```text
//!   bytes ── json() | yaml() ──► Decoded{tree, duplicates} ── object() ──► the tree as Go would have decoded it, warnings
//! ```

mod json;
mod yaml;

use std::str::FromStr;

use serde_json::Value;

use crate::schema::Schema;
use crate::{Reason, Status, field};

pub use json::json;
pub use yaml::{yaml, yaml_documents};

/// How deep a document may nest. The same for JSON (serde_json's own limit) and YAML.
const MAX_DEPTH: usize = 127;

/// `fieldValidation=`: what happens to unknown and duplicate fields. They are dropped in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    /// Upstream's default where the request does not say.
    #[default]
    Warn,
    Strict,
}

impl FromStr for FieldValidation {
    type Err = field::Error;
    /// An empty text is the default.
    fn from_str(text: &str) -> Result<FieldValidation, field::Error> {
        match text {
            "Ignore" => Ok(FieldValidation::Ignore),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            other => {
                let path = field::Path::root("fieldValidation");
                Err(field::Error::not_supported(&path, other, &["Ignore", "Strict", "Warn"]))
            }
        }
    }
}

/// A document as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Of a field that occurs twice, the last.
    pub tree: Value,
    /// Strict decoding errors, as `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

/// The `apiVersion`, split into group and version, and the `kind` of a tree; empty where they are missing.
pub fn gvk(tree: &Value) -> (&str, &str, &str) {
    let text = |key: &str| tree.get(key).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    (group, version, text("kind"))
}

/// A body that is no document at all. `kind` is the kind that was expected.
pub fn unrecognized(kind: &str, error: &str, body: &[u8]) -> Status {
    let head = &body[..body.len().min(30)];
    let more = if body.len() > 30 { " ..." } else { "" };
    let summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", head.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    let text = format!("the object provided is unrecognized (must be of type {kind}): {error} ({summary})");
    Status::bad_request(text)
}

/// `transformDecodeError`: the `BadRequest` for a tree that does not fit its kind.
pub fn unfit(kind: &str, version: &str, error: &str) -> Status {
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
}

/// Checks and normalises a tree in place ([`Schema::check`]). Unknown and duplicate fields come back as warnings, or with
/// `Strict` are an error.
pub fn object<'a>(
    tree: &mut Value,
    schema: impl Into<Schema<'a>>,
    (kind, version): (&str, &str),
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let unknown = schema.into().check(tree).map_err(|e| unfit(kind, version, &e))?;
    let problems = [duplicates, unknown].concat();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems),
        FieldValidation::Strict if problems.is_empty() => Ok(problems),
        FieldValidation::Strict => Err(unfit(kind, version, &strict(&problems))),
    }
}

/// The same for the result of a patch, whose errors upstream reports about the field `patch`. `patch` is its text.
pub fn patched<'a>(
    tree: &mut Value,
    schema: impl Into<Schema<'a>>,
    patch: &str,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let refuse = |error: &str| {
        let errors = [field::Error::invalid(&field::Path::root("patch"), patch, error)];
        let mut status = Status::invalid("", "", "", &errors);
        status.reason = Reason::Invalid;
        status
    };
    let unknown = schema.into().check(tree).map_err(|e| refuse(&e))?;
    let problems = [duplicates, unknown].concat();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems),
        FieldValidation::Strict if problems.is_empty() => Ok(problems),
        FieldValidation::Strict => Err(refuse(&strict(&problems))),
    }
}

fn strict(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    #[test]
    fn strict_warn_and_ignore() {
        let schema = schema::find("io.k8s.api.apps.v1.Deployment").unwrap();
        let body = br#"{"kind":"Deployment","spec":{"replicas":1,"foo":2,"replicas":3}}"#;
        let run = |validation| {
            let mut d = json(body, validation != FieldValidation::Ignore).unwrap();
            let r = object(&mut d.tree, schema, ("Deployment", "v1"), d.duplicates, validation);
            (r, d.tree)
        };
        let (warnings, tree) = run(FieldValidation::Warn);
        assert_eq!(warnings.unwrap(), [r#"duplicate field "spec.replicas""#, r#"unknown field "spec.foo""#]);
        assert_eq!(tree, json!({"kind": "Deployment", "spec": {"replicas": 3}}));
        assert_eq!(run(FieldValidation::Ignore).0.unwrap(), Vec::<String>::new());
        let e = run(FieldValidation::Strict).0.unwrap_err();
        assert_eq!(e.code, 400);
        assert_eq!(
            e.message,
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: duplicate field "spec.replicas", unknown field "spec.foo""#
        );
        assert_eq!(
            "x".parse::<FieldValidation>().unwrap_err().to_string(),
            r#"fieldValidation: Unsupported value: "x": supported values: "Ignore", "Strict", "Warn""#
        );
    }

    #[test]
    fn floats_stay_what_they_are() {
        for text in ["0.20740000000000003", "1.7976931348623157e308", "5e-324", "8.041828471023245e-90", "0.1"] {
            let tree = json(text.as_bytes(), true).unwrap().tree;
            assert_eq!(tree.as_f64(), text.parse().ok(), "{text}");
            assert_eq!(json(tree.to_string().as_bytes(), true).unwrap().tree, tree, "{text}");
        }
    }

    #[test]
    fn bodies_that_are_none() {
        assert_eq!(
            unrecognized("Pod", "bad", b"xx").message,
            "the object provided is unrecognized (must be of type Pod): bad (7878)"
        );
        assert_eq!(gvk(&json!({"apiVersion": "apps/v1", "kind": "X"})), ("apps", "v1", "X"));
        assert_eq!(gvk(&json!({"apiVersion": "v1"})), ("", "v1", ""));
    }
}
