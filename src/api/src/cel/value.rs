//! Values of expressions. Trees are not copied: a list or an object in one is a reference with its schema.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use base64::Engine;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::crd::{List, Structural, Type};
use crate::quantity::Quantity;

/// Something whose functions the embedding program has: an authorizer.
pub trait Opaque {
    fn type_name(&self) -> &'static str;
    /// `None`: there is no such function.
    fn call(&self, function: &str, args: &[Value<'_>]) -> Option<Result<Value<'static>, String>>;
}

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Url {
    pub text: String,
    pub scheme: String,
    pub host: String,
    pub path: String,
    pub query: String,
}

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Rc<[u8]>),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<Vec<(Value<'a>, Value<'a>)>>),
    /// A list or an object in a tree.
    Json(&'a Json, Option<&'a Structural>),
    Timestamp(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    Type(Cow<'static, str>),
    Optional(Option<Rc<Value<'a>>>),
    Ip(IpAddr),
    Cidr(IpNet),
    Url(Rc<Url>),
    Quantity(Quantity),
    /// Major, minor, patch and what follows.
    Semver(Rc<([u64; 3], String)>),
    Format(&'static str),
    Opaque(Rc<dyn Opaque>),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Json(v, _) => write!(f, "{v}"),
            other => write!(f, "{}({})", other.type_name(), other.text().unwrap_or_default()),
        }
    }
}

impl<'a> Value<'a> {
    /// A value in a tree, as its schema makes it: `date-time` is a timestamp, `duration` a duration, `byte` bytes.
    pub fn of(v: &'a Json, schema: Option<&'a Structural>) -> Value<'a> {
        match v {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => match schema.map(|s| s.kind) {
                Some(Type::Number) => Value::Double(n.as_f64().unwrap_or_default()),
                Some(Type::Integer) => Value::Int(n.as_i64().unwrap_or_else(|| n.as_f64().unwrap_or_default() as i64)),
                _ => match n.as_i64() {
                    Some(i) => Value::Int(i),
                    None => n.as_u64().map_or_else(|| Value::Double(n.as_f64().unwrap_or_default()), Value::Uint),
                },
            },
            Json::String(s) => {
                let format = schema.and_then(|s| s.checks.as_ref()).map_or("", |c| &c.format);
                let typed = match format {
                    "date-time" | "datetime" => s.parse().ok().map(Value::Timestamp),
                    "date" => format!("{s}T00:00:00Z").parse().ok().map(Value::Timestamp),
                    "duration" => super::duration(s).map(Value::Duration),
                    "byte" => base64::engine::general_purpose::STANDARD.decode(s).ok().map(|b| Value::Bytes(b.into())),
                    _ => None,
                };
                typed.unwrap_or(Value::String(Cow::Borrowed(s)))
            }
            Json::Array(_) | Json::Object(_) => Value::Json(v, schema),
        }
    }
    pub fn string(s: impl Into<String>) -> Value<'a> {
        Value::String(Cow::Owned(s.into()))
    }
    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(Rc::new(items))
    }
    pub fn some(v: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Rc::new(v)))
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) | Value::Json(Json::Array(_), _) => "list",
            Value::Map(_) | Value::Json(..) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Opaque(o) => o.type_name(),
        }
    }

    /// The elements, if it is a list.
    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(l) => Some(l.to_vec()),
            Value::Json(Json::Array(l), s) => {
                let items = s.and_then(|s| s.items.as_deref());
                Some(l.iter().map(|v| Value::of(v, items)).collect())
            }
            _ => None,
        }
    }
    /// The members, if it is a map or an object. Of an object: those that the schema knows, as expressions name them.
    pub fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(m) => Some(m.to_vec()),
            Value::Json(Json::Object(o), s) => Some(
                o.iter()
                    .map(|(k, v)| (Value::String(Cow::Borrowed(k.as_str())), Value::of(v, s.and_then(|s| s.member(k)))))
                    .collect(),
            ),
            _ => None,
        }
    }
    /// How many elements, members, characters or bytes it has.
    pub fn size(&self) -> Option<usize> {
        match self {
            Value::String(s) => Some(s.chars().count()),
            Value::Bytes(b) => Some(b.len()),
            Value::List(l) => Some(l.len()),
            Value::Map(m) => Some(m.len()),
            Value::Json(Json::Array(l), _) => Some(l.len()),
            Value::Json(Json::Object(o), _) => Some(o.len()),
            _ => None,
        }
    }
    /// A member by its key; `None` if it has none. Errors if it is neither list nor map.
    pub fn index(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, String> {
        if let (Some(length), Value::List(_) | Value::Json(Json::Array(_), _)) = (self.size(), self) {
            let i = match key {
                Value::Int(i) => *i,
                Value::Uint(u) => i64::try_from(*u).unwrap_or(i64::MAX),
                Value::Double(d) if d.fract() == 0.0 => *d as i64,
                _ => return Err("no such overload".into()),
            };
            return Ok(usize::try_from(i).ok().filter(|i| *i < length).map(|i| match self {
                Value::List(l) => l[i].clone(),
                Value::Json(v, s) => Value::of(&v[i], s.and_then(|s| s.items.as_deref())),
                _ => Value::Null,
            }));
        }
        match (self, key) {
            (Value::Map(m), _) => Ok(m.iter().find(|(k, _)| k.equals(key)).map(|(_, v)| v.clone())),
            (Value::Json(Json::Object(o), s), Value::String(k)) => {
                Ok(o.get(&**k).map(|v| Value::of(v, s.and_then(|s| s.member(k)))))
            }
            (Value::Json(Json::Object(_), _), _) => Ok(None),
            _ => Err("no such overload".into()),
        }
    }
    /// A field as an expression names it: `__dash__` and its like stand for what a name cannot hold.
    pub fn field(&self, name: &str) -> Result<Option<Value<'a>>, String> {
        match self {
            Value::Json(Json::Object(o), s) => {
                let plain = unescape(name);
                let is_object = s.is_none_or(|s| !s.properties.is_empty());
                let key = if is_object && !o.contains_key(name) { &*plain } else { name };
                // what is null is absent, but where the schema lets it be null
                Ok(o.get(key).map(|v| Value::of(v, s.and_then(|s| s.member(key)))))
            }
            Value::Map(_) => self.index(&Value::String(Cow::Owned(name.to_owned()))),
            _ => Err(format!("type '{}' does not support field selection", self.type_name())),
        }
    }

    /// `==`; values of different types are not equal, but numbers compare by their value.
    pub fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a), Value::Cidr(b)) => a == b,
            (Value::Url(a), Value::Url(b)) => a == b,
            (Value::Semver(_), Value::Semver(_)) | (Value::Quantity(_), Value::Quantity(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            (Value::Format(a), Value::Format(b)) => a == b,
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            (Value::List(_) | Value::Json(Json::Array(_), _), Value::List(_) | Value::Json(Json::Array(_), _)) => {
                let (Some(a), Some(b)) = (self.items(), other.items()) else { return false };
                if a.len() != b.len() {
                    return false;
                }
                match self.list_type().or(other.list_type()) {
                    Some(List::Set) => a.iter().all(|x| b.iter().any(|y| x.equals(y))),
                    Some(List::Map(keys)) => a.iter().all(|x| {
                        let same = |y: &&Value<'_>| {
                            keys.iter().all(|k| match (x.field(k), y.field(k)) {
                                (Ok(Some(a)), Ok(Some(b))) => a.equals(&b),
                                (a, b) => a.is_ok_and(|a| a.is_none()) && b.is_ok_and(|b| b.is_none()),
                            })
                        };
                        b.iter().find(same).is_some_and(|y| x.equals(y))
                    }),
                    _ => a.iter().zip(&b).all(|(x, y)| x.equals(y)),
                }
            }
            (Value::Map(_) | Value::Json(..), Value::Map(_) | Value::Json(..)) => {
                let (Some(a), Some(b)) = (self.entries(), other.entries()) else { return false };
                a.len() == b.len() && a.iter().all(|(k, v)| b.iter().any(|(l, w)| k.equals(l) && v.equals(w)))
            }
            _ => false,
        }
    }
    fn list_type(&self) -> Option<&'a List> {
        match self {
            Value::Json(_, Some(s)) => Some(&s.list).filter(|l| **l != List::Atomic),
            _ => None,
        }
    }

    /// The order, where there is one.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Double(a), b) => a.partial_cmp(&b.double()?),
            (a, Value::Double(b)) => a.double()?.partial_cmp(b),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Quantity(a), Value::Quantity(b)) => Some(a.cmp(b)),
            (Value::Semver(a), Value::Semver(b)) => Some(a.0.cmp(&b.0).then_with(|| prerelease(&a.1, &b.1))),
            _ => None,
        }
    }
    fn double(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Uint(u) => Some(*u as f64),
            Value::Double(d) => Some(*d),
            _ => None,
        }
    }

    /// `string(v)`; `None` where there is no such conversion.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Uint(u) => u.to_string(),
            Value::Double(d) => d.to_string(),
            Value::String(s) => s.to_string(),
            Value::Bytes(b) => String::from_utf8(b.to_vec()).ok()?,
            Value::Timestamp(t) => t.to_string(),
            Value::Duration(d) => {
                let (sign, d) = (if *d < 0 { "-" } else { "" }, d.unsigned_abs());
                let (whole, nanos) = (d / 1_000_000_000, d % 1_000_000_000);
                match nanos {
                    0 => format!("{sign}{whole}s"),
                    n => format!("{sign}{whole}.{}s", format!("{n:09}").trim_end_matches('0')),
                }
            }
            Value::Type(t) => t.to_string(),
            Value::Ip(ip) => ip.to_string(),
            Value::Cidr(c) => c.to_string(),
            Value::Url(u) => u.text.clone(),
            Value::Quantity(q) => q.to_string(),
            Value::Semver(s) => {
                let [a, b, c] = s.0;
                if s.1.is_empty() { format!("{a}.{b}.{c}") } else { format!("{a}.{b}.{c}-{}", s.1) }
            }
            _ => return None,
        })
    }

    /// What `omitZero` leaves out.
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Int(i) => *i == 0,
            Value::Uint(u) => *u == 0,
            Value::Double(d) => *d == 0.0,
            Value::Duration(d) => *d == 0,
            Value::Optional(o) => o.is_none(),
            other => other.size() == Some(0),
        }
    }

    /// As a tree, for what leaves an expression.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Uint(u) => (*u).into(),
            Value::Double(d) => (*d).into(),
            Value::Json(v, _) => (*v).clone(),
            Value::Optional(Some(v)) => v.to_json(),
            Value::Bytes(b) => base64::engine::general_purpose::STANDARD.encode(b).into(),
            Value::List(l) => l.iter().map(Value::to_json).collect(),
            Value::Map(m) => Json::Object(m.iter().map(|(k, v)| (k.text().unwrap_or_default(), v.to_json())).collect()),
            other => other.text().map_or(Json::Null, Json::String),
        }
    }
}

/// Semantic versions without a pre-release are newer than those with one.
fn prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => {
            let part = |p: &str| (p.parse::<u64>().ok(), p.to_owned());
            let order = |x: &(Option<u64>, String), y: &(Option<u64>, String)| match (x.0, y.0) {
                (Some(m), Some(n)) => m.cmp(&n),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                _ => x.1.cmp(&y.1),
            };
            let (a, b): (Vec<_>, Vec<_>) = (a.split('.').map(part).collect(), b.split('.').map(part).collect());
            let differs = a.iter().zip(&b).map(|(x, y)| order(x, y)).find(|o| o.is_ne());
            differs.unwrap_or(a.len().cmp(&b.len()))
        }
    }
}

/// A property's name behind an escaped one: upstream's `cel.Unescape`.
pub fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    let keyword = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    if let Some(k) = keyword.filter(|k| RESERVED.contains(k)) {
        return Cow::Borrowed(k);
    }
    let mut out = name.replace("__underscores__", "\u{1}");
    for (escaped, plain) in [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")] {
        out = out.replace(escaped, plain);
    }
    Cow::Owned(out.replace('\u{1}', "__"))
}

/// What no identifier may be called: the language keeps these words.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
