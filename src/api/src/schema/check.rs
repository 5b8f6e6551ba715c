//! Makes a tree what Go's decoder would make of it: checked types, no unknown fields, no nulls, canonical values.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::{Shape, Type};
use crate::quantity;

/// Upstream stops counting strict errors there.
const MAX_UNKNOWN: usize = 100;

/// Where in the tree: rendered only for an error.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    /// A struct's field or a map's key.
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// `spec.containers[0].image`, as strict decoding errors have it.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, i) => write!(f, "{parent}[{i}]"),
        }
    }
}

impl Path<'_> {
    /// `spec.containers.image`, as Go's type errors have it. Keys of maps are left out as well.
    fn go(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Field(parent, name) => {
                parent.go(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Path::Index(parent, _) => parent.go(out),
        }
    }
}

/// Checks `tree` against `schema` and normalises it in place:
///
/// * a value of the wrong type is an error in Go's words (`json: cannot unmarshal string into Go struct field …`);
/// * unknown fields are removed and returned (`unknown field "spec.foo"`);
/// * null fields are removed, null elements become the zero value;
/// * quantities and times become canonical; in `metadata` what is empty is removed.
///
/// Required fields are left to validation, as upstream.
pub fn check(schema: &'static Type, tree: &mut Value) -> Result<Vec<String>, String> {
    let mut checker = Checker { unknown: Vec::new() };
    match tree {
        Value::Object(o) => checker.object(schema, o, &Path::Root)?,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type {}",
                kind_of(other),
                schema.go_type()
            ));
        }
    }
    Ok(checker.unknown)
}

/// [`check`] of the metadata of an object that is no built-in one. `path` is where it stands: `metadata`.
pub fn check_metadata(tree: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let schema = super::find(OBJECT_META).ok_or("the schema of metadata is missing")?;
    let mut checker = Checker { unknown: Vec::new() };
    let path = Path::Field(&Path::Root, path);
    match tree {
        Value::Object(o) => checker.object(schema, o, &path)?,
        other => return Err(format!("{path}: Invalid value: {other}: must be an object")),
    }
    Ok(checker.unknown)
}

/// [`super::Schema::drop_empty`]
pub(super) fn drop_empty(schema: &'static Type, tree: &mut Value) {
    let Value::Object(o) = tree else { return };
    let meta = schema.name == OBJECT_META;
    o.retain(|key, v| {
        let Some(field) = schema.field(key) else { return true };
        drop_within(&field.shape, v);
        let list = matches!(field.shape, Shape::List(_) | Shape::Map(_));
        // of managed fields no entries mean something: they are taken away
        !list || field.required || !is_empty(v) || meta && key == "managedFields"
    });
}

fn drop_within(shape: &Shape, v: &mut Value) {
    match (shape, v) {
        (Shape::Object(t), v @ Value::Object(_)) => drop_empty(t.get(), v),
        (Shape::List(of), Value::Array(list)) => list.iter_mut().for_each(|item| drop_within(of, item)),
        (Shape::Map(of), Value::Object(map)) => map.values_mut().for_each(|item| drop_within(of, item)),
        _ => {}
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

struct Checker {
    unknown: Vec<String>,
}

/// The struct and field that an error names.
#[derive(Clone, Copy)]
struct Place<'a> {
    within: &'static Type,
    path: &'a Path<'a>,
    /// The path of the field itself, not of an element or a key within.
    field: &'a Path<'a>,
}

impl Place<'_> {
    fn mismatch(&self, v: &Value, shape: &Shape) -> String {
        let mut path = String::new();
        self.field.go(&mut path);
        let what = match v {
            Value::Number(n) if matches!(shape, Shape::Int32 | Shape::Int64) => format!("number {n}"),
            v => kind_of(v).to_owned(),
        };
        format!(
            "json: cannot unmarshal {what} into Go struct field {}.{path} of type {}",
            self.within.go_name(),
            go_type(shape)
        )
    }
}

fn kind_of(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::String => "string".into(),
        Shape::Int32 => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Bool => "bool".into(),
        Shape::Number => "float64".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Time => "v1.Time".into(),
        Shape::MicroTime => "v1.MicroTime".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::Any => "runtime.RawExtension".into(),
        Shape::List(of) => format!("[]{}", go_type(of)),
        Shape::Map(of) => format!("map[string]{}", go_type(of)),
        Shape::Object(t) => t.go_type().into(),
    }
}

/// What null is as an element of a list or a map.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Int32 | Shape::Int64 | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Object(_) => Map::new().into(),
        _ => Value::Null,
    }
}

impl Checker {
    fn object(&mut self, schema: &'static Type, o: &mut Map<String, Value>, path: &Path) -> Result<(), String> {
        let mut failed = None;
        let meta = schema.name.ends_with(".meta.v1.ObjectMeta");
        o.retain(|key, v| {
            if failed.is_some() {
                return true;
            }
            let path = Path::Field(path, key);
            let Some(field) = schema.field(key) else {
                if self.unknown.len() < MAX_UNKNOWN {
                    self.unknown.push(format!("unknown field \"{path}\""));
                }
                return false;
            };
            if v.is_null() {
                return false;
            }
            let place = Place { within: schema, path: &path, field: &path };
            failed = self.value(&field.shape, v, place).err();
            // no managed fields is something else than none said: it takes them away
            !(meta && is_empty(v) && key != "managedFields")
        });
        failed.map_or(Ok(()), Err)
    }

    fn value(&mut self, shape: &Shape, v: &mut Value, at: Place) -> Result<(), String> {
        match (shape, &mut *v) {
            (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => {}
            (Shape::Int32, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {}
            (Shape::Int64, Value::Number(n)) if n.is_i64() => {}
            (Shape::Number, Value::Number(_)) | (Shape::Any, _) => {}
            (Shape::Object(t), Value::Object(o)) => self.object(t.get(), o, at.path)?,
            (Shape::List(of), Value::Array(list)) => {
                for (i, item) in list.iter_mut().enumerate() {
                    let path = Path::Index(at.path, i);
                    self.element(of, item, Place { path: &path, ..at })?;
                }
            }
            (Shape::Map(of), Value::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    let path = Path::Field(at.path, key);
                    self.element(of, item, Place { path: &path, ..at })?;
                }
            }
            (Shape::Bytes, Value::String(s)) => bytes(s)?,
            (Shape::Quantity, _) => quantity(v)?,
            (Shape::Time, Value::String(s)) => time(s, false)?,
            (Shape::MicroTime, Value::String(s)) => time(s, true)?,
            (Shape::IntOrString, Value::String(_)) => {}
            (Shape::IntOrString, other) => match other.as_i64().map(i32::try_from) {
                Some(Ok(_)) => {}
                _ => return Err(format!("json: cannot unmarshal {} into Go value of type int32", kind_of(other))),
            },
            (Shape::Time | Shape::MicroTime, other) => {
                return Err(format!("json: cannot unmarshal {} into Go value of type string", kind_of(other)));
            }
            (shape, other) => return Err(at.mismatch(other, shape)),
        }
        Ok(())
    }

    fn element(&mut self, shape: &Shape, v: &mut Value, at: Place) -> Result<(), String> {
        if v.is_null() {
            *v = zero(shape);
            return Ok(());
        }
        self.value(shape, v, at)
    }
}

/// What Go's `omitempty` leaves out. `false` does not occur in metadata but as a pointer.
fn is_empty(v: &Value) -> bool {
    match v {
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

fn bytes(s: &mut String) -> Result<(), String> {
    if s.contains(['\r', '\n']) {
        s.retain(|c| !matches!(c, '\r' | '\n'));
    }
    match BASE64.decode(s.as_bytes()) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(i, _) | base64::DecodeError::InvalidLastSymbol(i, _)) => {
            Err(format!("illegal base64 data at input byte {i}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", s.len() / 4 * 4)),
    }
}

fn quantity(v: &mut Value) -> Result<(), String> {
    let text = match &*v {
        Value::String(s) => quantity::canonical(s.trim()),
        Value::Number(_) => quantity::Quantity::from_tree(v).map(|q| q.to_string()),
        _ => Err(quantity::ParseError::Format),
    };
    let text = text.map_err(|e| e.to_string())?;
    if v.as_str() != Some(&text) {
        *v = Value::String(text);
    }
    Ok(())
}

/// RFC 3339, to UTC and whole seconds, or with `micro` six digits.
fn time(s: &mut String, micro: bool) -> Result<(), String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let parsed: jiff::Timestamp = match s.as_bytes().get(10) {
        Some(b'T' | b't') => s.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| format!("parsing time {s:?} as {layout:?}: cannot parse {s:?} as \"2006\""))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    let canonical_length = if micro { 27 } else { 20 };
    if s.len() != canonical_length || !s.ends_with('Z') {
        *s = parsed.strftime(format).to_string();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::find;
    use serde_json::json;

    fn checked(kind: &str, mut tree: Value) -> Result<(Value, Vec<String>), String> {
        let unknown = check(find(kind).unwrap(), &mut tree)?;
        Ok((tree, unknown))
    }
    const POD: &str = "io.k8s.api.core.v1.Pod";

    #[test]
    fn trees_become_what_go_would_make_of_them() {
        let (pod, unknown) = checked(
            POD,
            json!({"apiVersion": "v1", "kind": "Pod", "foo": 1, "status": null,
                "metadata": {"name": "a", "creationTimestamp": null, "labels": {"a": null}, "annotations": {}, "namespace": "",
                    "deletionTimestamp": "2020-01-02T03:04:05.678+02:00"},
                "spec": {"bar": {}, "containers": [{"name": "c", "x": 1, "livenessProbe": {"httpGet": {"port": "http"}},
                    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}, null]}}),
        )
        .unwrap();
        assert_eq!(
            pod,
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "labels": {"a": ""}, "deletionTimestamp": "2020-01-02T01:04:05Z"},
                "spec": {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": "http"}},
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}, {}]}})
        );
        let want = ["foo", "spec.bar", "spec.containers[0].x"].map(|f| format!("unknown field \"{f}\""));
        assert_eq!(unknown, want);
        let (lease, _) =
            checked("io.k8s.api.coordination.v1.Lease", json!({"spec": {"renewTime": "2020-01-02T03:04:05Z"}}))
                .unwrap();
        assert_eq!(lease["spec"]["renewTime"], "2020-01-02T03:04:05.000000Z");
    }

    #[test]
    fn what_is_empty_is_as_if_it_were_not_there() {
        let mut pod = json!({"metadata": {"name": "a", "managedFields": []}, "spec": {"containers": [], "volumes": [],
            "initContainers": [{"name": "c", "env": [], "args": [""], "resources": {"limits": {}}, "securityContext": {}}],
            "nodeSelector": {}, "affinity": {"podAffinity": {}}}});
        drop_empty(super::super::find(POD).unwrap(), &mut pod);
        assert_eq!(
            pod,
            json!({"metadata": {"name": "a", "managedFields": []}, "spec": {"containers": [],
                "initContainers": [{"name": "c", "args": [""], "resources": {}, "securityContext": {}}],
                "affinity": {"podAffinity": {}}}})
        );
    }

    #[test]
    fn type_errors_are_gos() {
        let cases = [
            (json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
            (json!({"spec": 1}), "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"),
            (
                json!({"spec": {"containers": [{"image": 1}]}}),
                "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
            ),
            (
                json!({"spec": {"containers": {}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"spec": {"priority": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                json!({"spec": {"priority": 4294967296u64}}),
                "json: cannot unmarshal number 4294967296 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                json!({"spec": {"overhead": {"cpu": "x"}}}),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                json!({"metadata": {"creationTimestamp": "now"}}),
                "parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\" as \"2006\"",
            ),
        ];
        for (tree, want) in cases {
            assert_eq!(checked(POD, tree).unwrap_err(), want);
        }
        let e = checked("io.k8s.api.core.v1.Secret", json!({"data": {"a": "a b"}})).unwrap_err();
        assert_eq!(e, "illegal base64 data at input byte 1");
    }
}
