//! What a value may be, from the schema alone.
//!
//! Types keep how large a value can be: that bounds how often a macro runs its body. Where nothing is said, a request's size
//! is the bound, as upstream has it.

use super::value::unescape;
use crate::crd::{self, Additional, Structural};

/// `MaxRequestSizeBytes`
pub(super) const REQUEST: u64 = 3 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub enum Type<'a> {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    /// With the greatest length.
    String(u64),
    Bytes(u64),
    List(Box<Type<'a>>, u64),
    Map(Box<Type<'a>>, Box<Type<'a>>, u64),
    /// `resource`: it has `apiVersion`, `kind` and `metadata`.
    Object {
        schema: &'a Structural,
        resource: bool,
    },
    /// Of a resource: `name` and `generateName`.
    Metadata,
    Timestamp,
    Duration,
    Type,
    Optional(Box<Type<'a>>),
    /// One of Kubernetes' own.
    Named(&'static str),
    /// What a policy makes: `Object`, `Object.spec`, `JSONPatch`.
    Message(Box<str>),
}

const NAME: Type<'static> = Type::String(253);
/// Of `authorizer`.
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
/// Of `authorizer.requestResource`.
pub const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";

impl<'a> Type<'a> {
    /// Of the values of a schema.
    pub fn of(s: &'a Structural, root: bool) -> Type<'a> {
        if s.int_or_string {
            return Type::Dyn;
        }
        let checks = s.checks.as_deref();
        match s.kind {
            crd::Type::Any => Type::Dyn,
            crd::Type::Boolean => Type::Bool,
            crd::Type::Integer => Type::Int,
            crd::Type::Number => Type::Double,
            crd::Type::String => {
                let longest = checks.and_then(|c| c.max_length);
                let listed = checks.map(|c| &c.allowed).filter(|a| !a.is_empty());
                let listed =
                    listed.map(|a| a.iter().filter_map(|v| v.as_str()).map(|v| v.len() as u64).max().unwrap_or(0));
                let size = listed.or(longest).unwrap_or(REQUEST - 2);
                match checks.map_or("", |c| &*c.format) {
                    "date" | "date-time" | "datetime" => Type::Timestamp,
                    "duration" => Type::Duration,
                    "byte" => Type::Bytes(size),
                    _ => Type::String(size),
                }
            }
            crd::Type::Array => match &s.items {
                Some(items) => {
                    let most = (REQUEST - 2) / (smallest(items) + 1);
                    let max = checks.and_then(|c| c.max_items).unwrap_or(most);
                    Type::List(Box::new(Type::of(items, false)), max)
                }
                None => Type::Dyn,
            },
            crd::Type::Object => match &s.additional {
                Additional::Schema(a) => {
                    let most = (REQUEST - 2) / (smallest(a) + 4);
                    let max = checks.and_then(|c| c.max_properties).unwrap_or(most);
                    Type::Map(Box::new(Type::String(REQUEST - 2)), Box::new(Type::of(a, false)), max)
                }
                _ if s.properties.is_empty() && s.preserve && !root => Type::Dyn,
                _ => Type::Object { schema: s, resource: root || s.embedded },
            },
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<Type<'a>> {
        match self {
            Type::Dyn => Some(Type::Dyn),
            Type::Map(_, value, _) => Some((**value).clone()),
            Type::Optional(of) => of.field(name).map(|t| Type::Optional(Box::new(t))),
            Type::Metadata => matches!(name, "name" | "generateName").then_some(NAME),
            Type::Object { schema, resource } => match name {
                "apiVersion" | "kind" if *resource => Some(NAME),
                "metadata" if *resource => Some(Type::Metadata),
                // in a schema its own name comes first, then what an escaped one stands for
                _ => schema.property(&unescape(name)).map(|p| Type::of(p, false)),
            },
            _ => None,
        }
    }

    /// As cel-go prints it.
    pub fn name(&self) -> String {
        match self {
            Type::Dyn => "dyn".into(),
            Type::Null => "null".into(),
            Type::Bool => "bool".into(),
            Type::Int => "int".into(),
            Type::Uint => "uint".into(),
            Type::Double => "double".into(),
            Type::String(_) => "string".into(),
            Type::Bytes(_) => "bytes".into(),
            Type::List(of, _) => format!("list({})", of.name()),
            Type::Map(k, v, _) => format!("map({}, {})", k.name(), v.name()),
            Type::Object { .. } => "object".into(),
            Type::Metadata => "objectMeta".into(),
            Type::Timestamp => "google.protobuf.Timestamp".into(),
            Type::Duration => "google.protobuf.Duration".into(),
            Type::Type => "type".into(),
            Type::Optional(of) => format!("optional_type({})", of.name()),
            Type::Named(n) => (*n).into(),
            Type::Message(n) => n.to_string(),
        }
    }

    pub(super) fn same(&self, other: &Type<'_>) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a, _), Type::List(b, _)) | (Type::Optional(a), Type::Optional(b)) => a.same(b),
            (Type::Map(_, a, _), Type::Map(_, b, _)) => a.same(b),
            (
                Type::Map(..) | Type::Object { .. } | Type::Metadata,
                Type::Map(..) | Type::Object { .. } | Type::Metadata,
            ) => true,
            // what is null may stand for anything that is no scalar
            (Type::Null, t) | (t, Type::Null) => {
                !matches!(t, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::String(_))
            }
            (Type::Named(a), Type::Named(b)) => a == b,
            (Type::Message(a), Type::Message(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    /// How much there may be to read.
    pub(super) fn size(&self) -> u64 {
        match self {
            Type::String(n) | Type::Bytes(n) | Type::List(_, n) | Type::Map(_, _, n) => *n,
            Type::Dyn => REQUEST,
            Type::Optional(of) => of.size(),
            _ => 1,
        }
    }
}

/// The bytes that a value of a schema takes at least.
fn smallest(s: &Structural) -> u64 {
    match s.kind {
        crd::Type::Integer | crd::Type::Number => 1,
        crd::Type::Boolean => 4,
        crd::Type::Object => {
            let required = s.checks.as_ref().map_or(&[][..], |c| &c.required);
            let each = required.iter().filter_map(|r| Some((r, s.property(r)?))).filter(|(_, p)| p.default.is_none());
            2 + each.map(|(name, p)| name.len() as u64 + 4 + smallest(p)).sum::<u64>()
        }
        _ => 2,
    }
}
