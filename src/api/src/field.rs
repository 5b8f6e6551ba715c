//! Validation errors with the path of the field: upstream's `util/validation/field`, with its texts.

use std::fmt;

use serde_json::Value;

use crate::Cause;

/// The path of a field: `spec.containers[0].image`. Cheap to extend, rendered only for an error.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// The whole object, without a name: upstream's nil path.
    Nil,
    Child(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub const fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Child(name) }
    }
    /// The path of the object itself; its children are `spec`, `status`, ….
    pub const fn nil() -> Path<'static> {
        Path { parent: None, step: Step::Nil }
    }
    /// `self.name`
    pub fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Child(name) }
    }
    /// `self[i]`
    pub fn index(&self, i: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(i) }
    }
    /// `self[key]`
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|p| !matches!(p.step, Step::Nil));
        if let Some(p) = parent {
            p.fmt(f)?;
        }
        match self.step {
            Step::Nil => f.write_str("<nil>"),
            Step::Child(name) if parent.is_some() => write!(f, ".{name}"),
            Step::Child(name) => f.write_str(name),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(k) => write!(f, "[{k}]"),
        }
    }
}

/// One field error. Its `Display` is upstream's `Error.Error()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// `metav1.CauseType`: `FieldValueInvalid`, …
    pub reason: &'static str,
    pub field: String,
    /// Everything behind `<field>: `.
    pub message: String,
}

/// As upstream prints a bad value: strings quoted, the rest as JSON.
fn shown(v: &Value) -> String {
    match v {
        Value::String(s) => format!("{s:?}"),
        Value::Null => "null".into(),
        other => other.to_string(),
    }
}

impl Error {
    fn new(reason: &'static str, path: &Path, message: String) -> Error {
        Error { reason, field: path.to_string(), message }
    }
    fn detailed(reason: &'static str, path: &Path, head: String, detail: &str) -> Error {
        Error::new(reason, path, if detail.is_empty() { head } else { format!("{head}: {detail}") })
    }
    pub fn required(path: &Path, detail: &str) -> Error {
        Error::detailed("FieldValueRequired", path, "Required value".into(), detail)
    }
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> Error {
        let head = format!("Invalid value: {}", shown(&value.into()));
        Error::detailed("FieldValueInvalid", path, head, detail.as_ref())
    }
    /// `Invalid` with `OmitValueType`: what is wrong, without the value.
    pub fn wrong(path: &Path, detail: &str) -> Error {
        Error::new("FieldValueInvalid", path, format!("Invalid value: {detail}"))
    }
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Error {
        Error::new("FieldValueDuplicate", path, format!("Duplicate value: {}", shown(&value.into())))
    }
    /// `Duplicate` of what shows itself without quotes.
    pub fn duplicate_of(path: &Path, shown: &str) -> Error {
        Error::new("FieldValueDuplicate", path, format!("Duplicate value: {shown}"))
    }
    pub fn forbidden(path: &Path, detail: &str) -> Error {
        Error::detailed("FieldValueForbidden", path, "Forbidden".into(), detail)
    }
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Error {
        Error::new("FieldValueNotFound", path, format!("Not found: {}", shown(&value.into())))
    }
    pub fn too_long(path: &Path, max: usize) -> Error {
        Error::new("FieldValueTooLong", path, format!("Too long: may not be more than {max} bytes"))
    }
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Error {
        Error::new("FieldValueTooMany", path, format!("Too many: {actual}: must have at most {max} items"))
    }
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Error {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(&value.into()), list.join(", "));
        Error::new("FieldValueNotSupported", path, message)
    }
    /// `TooLongCharacters`
    pub fn too_long_characters(path: &Path, max: u64) -> Error {
        let unit = if max == 1 { "character" } else { "characters" };
        Error::new("FieldValueTooLong", path, format!("Too long: may not be more than {max} {unit}"))
    }
    /// `TypeInvalid`
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> Error {
        let head = format!("Invalid value: {}", shown(&value.into()));
        Error::detailed("FieldValueTypeInvalid", path, head, detail.as_ref())
    }
    pub fn cause(&self) -> Cause {
        Cause { reason: self.reason.into(), message: self.message.clone(), field: self.field.clone() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_upstreams() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let c = containers.index(0);
        let e = Error::invalid(&c.child("image"), "", "must not be empty");
        assert_eq!(e.to_string(), r#"spec.containers[0].image: Invalid value: "": must not be empty"#);
    }
}
