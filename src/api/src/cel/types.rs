//! What type an expression has and what it may cost at most, from the schema alone.
//!
//! Types keep how large a value can be: that bounds how often a macro runs its body. Where nothing is said, a request's size
//! is the bound, as upstream has it.

use super::ast::{Expr, Fold, Literal, Node, Op};
use super::functions::type_of_name;
use super::value::unescape;
use crate::crd::{self, Additional, Structural};

/// `MaxRequestSizeBytes`
const REQUEST: u64 = 3 * 1024 * 1024;

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

    fn field(&self, name: &str) -> Option<Type<'a>> {
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

    fn same(&self, other: &Type<'_>) -> bool {
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
    fn size(&self) -> u64 {
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

/// A type, and what getting a value of it costs at most.
pub struct Checked<'a> {
    pub of: Type<'a>,
    pub cost: u64,
}

type Outcome<'a> = Result<Checked<'a>, (u32, String)>;

/// Checks an expression whose variables are `declared`.
pub fn check<'a>(e: &Expr, declared: &[(&str, Type<'a>)]) -> Outcome<'a> {
    let mut scope: Vec<(String, Type<'a>)> = declared.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
    walk(e, &mut scope)
}

fn tenth(n: u64) -> u64 {
    n.div_ceil(10)
}

fn walk<'a>(e: &Expr, scope: &mut Vec<(String, Type<'a>)>) -> Outcome<'a> {
    let done = |of, cost| Ok(Checked { of, cost });
    let wrong = |name: &str, types: &[&Type<'a>]| {
        let shown: Vec<String> = types.iter().map(|t| t.name()).collect();
        (e.at, format!("found no matching overload for '{name}' applied to '({})'", shown.join(", ")))
    };
    match &e.node {
        Node::Literal(l) => done(
            match l {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(s) => Type::String(s.len() as u64),
                Literal::Bytes(b) => Type::Bytes(b.len() as u64),
            },
            0,
        ),
        Node::Name(name) => match scope.iter().rev().find(|(n, _)| **n == **name) {
            Some((_, t)) => done(t.clone(), 1),
            None if type_of_name(name).is_some() => done(Type::Type, 0),
            None => Err((e.at, format!("undeclared reference to '{name}' (in container '')"))),
        },
        Node::Select { of, field, optional, test } => {
            if let Some(found) = qualified(of, field, scope) {
                let found = match (test, optional) {
                    (true, _) => Type::Bool,
                    (_, true) => Type::Optional(Box::new(found)),
                    _ => found,
                };
                return done(found, 2);
            }
            let of = walk(of, scope)?;
            let Some(found) = of.of.field(field) else {
                return Err(match of.of {
                    Type::Object { .. } | Type::Metadata | Type::Optional(_) => {
                        (e.at, format!("undefined field '{field}'"))
                    }
                    other => (e.at, format!("type '{}' does not support field selection", other.name())),
                });
            };
            let found = match (test, optional, found) {
                (true, ..) => Type::Bool,
                (_, true, t @ Type::Optional(_)) => t,
                (_, true, t) => Type::Optional(Box::new(t)),
                (_, _, t) => t,
            };
            done(found, of.cost + 1)
        }
        Node::Index { of, index, optional } => {
            let (of, index) = (walk(of, scope)?, walk(index, scope)?);
            let (inner, chained) = match &of.of {
                Type::Optional(inner) => ((**inner).clone(), true),
                other => (other.clone(), false),
            };
            let found = match inner {
                Type::Dyn => Type::Dyn,
                Type::List(item, _) if index.of.same(&Type::Int) => *item,
                Type::Map(key, value, _) if index.of.same(&key) => *value,
                Type::Object { .. } | Type::Metadata => return Err(wrong("_[_]", &[&of.of, &index.of])),
                _ => return Err(wrong("_[_]", &[&of.of, &index.of])),
            };
            let found = if *optional || chained { Type::Optional(Box::new(found)) } else { found };
            done(found, of.cost + index.cost + 1)
        }
        Node::Call { target, name, args } => {
            let target = target.as_ref().map(|t| walk(t, scope)).transpose()?;
            let args = args.iter().map(|a| walk(a, scope)).collect::<Result<Vec<_>, _>>()?;
            let types: Vec<&Type<'a>> = target.iter().chain(&args).map(|c| &c.of).collect();
            let inner: u64 = target.iter().chain(&args).fold(0, |sum: u64, c| sum.saturating_add(c.cost));
            let Some(found) = result(name, target.is_some(), &types) else {
                return Err(match known(name) {
                    true => wrong(name, &types),
                    false => (e.at, format!("undeclared reference to '{name}' (in container '')")),
                });
            };
            let size = types.first().map_or(0, |t| t.size());
            let second = types.get(1).map_or(1, |t| t.size());
            let own = match &**name {
                "matches" | "find" | "findAll" => tenth(size + 1).saturating_mul(second.div_ceil(4).max(1)),
                "contains" => tenth(size).saturating_mul(tenth(second).max(1)),
                "startsWith" | "endsWith" => tenth(second),
                "replace" | "split" | "join" | "trim" | "lowerAscii" | "upperAscii" | "substring" | "indexOf"
                | "lastIndexOf" | "url" | "isURL" | "quantity" | "isQuantity" | "ip" | "isIP" | "cidr" | "isCIDR"
                | "format" | "string" | "bytes" => tenth(size),
                "isSorted" | "sum" | "min" | "max" | "distinct" | "sort" => size,
                n if n.starts_with("sets.") => size.saturating_mul(second),
                _ => 0,
            };
            done(found, inner.saturating_add(own).saturating_add(1))
        }
        Node::List(items) => {
            let mut cost = 10;
            let mut of: Option<Type<'a>> = None;
            for (item, _) in items {
                let item = walk(item, scope)?;
                cost += item.cost;
                of = Some(match of {
                    None => item.of,
                    Some(t) if t.same(&item.of) => t,
                    Some(_) => Type::Dyn,
                });
            }
            done(Type::List(Box::new(of.unwrap_or(Type::Dyn)), items.len() as u64), cost)
        }
        Node::Map(entries) => {
            let mut cost = 30;
            let mut of: Option<(Type<'a>, Type<'a>)> = None;
            for (key, value, _) in entries {
                let (key, value) = (walk(key, scope)?, walk(value, scope)?);
                cost += key.cost + value.cost;
                of = Some(match of {
                    None => (key.of, value.of),
                    Some((k, v)) => (k, if v.same(&value.of) { v } else { Type::Dyn }),
                });
            }
            let (k, v) = of.unwrap_or((Type::Dyn, Type::Dyn));
            done(Type::Map(Box::new(k), Box::new(v), entries.len() as u64), cost)
        }
        Node::And(a, b) | Node::Or(a, b) => {
            let (a, b) = (walk(a, scope)?, walk(b, scope)?);
            if !a.of.same(&Type::Bool) || !b.of.same(&Type::Bool) {
                let name = if matches!(e.node, Node::And(..)) { "_&&_" } else { "_||_" };
                return Err(wrong(name, &[&a.of, &b.of]));
            }
            done(Type::Bool, a.cost.saturating_add(b.cost))
        }
        Node::Not(inner) => {
            let inner = walk(inner, scope)?;
            if !inner.of.same(&Type::Bool) {
                return Err(wrong("!_", &[&inner.of]));
            }
            done(Type::Bool, inner.cost + 1)
        }
        Node::Negate(inner) => {
            let inner = walk(inner, scope)?;
            if !matches!(inner.of, Type::Dyn | Type::Int | Type::Double | Type::Duration) {
                return Err(wrong("-_", &[&inner.of]));
            }
            done(inner.of, inner.cost + 1)
        }
        Node::If(c, a, b) => {
            let (c, a, b) = (walk(c, scope)?, walk(a, scope)?, walk(b, scope)?);
            if !c.of.same(&Type::Bool) || !a.of.same(&b.of) {
                return Err(wrong("_?_:_", &[&c.of, &a.of, &b.of]));
            }
            let of = if a.of.size() >= b.of.size() { a.of } else { b.of };
            done(of, c.cost.saturating_add(a.cost.max(b.cost)))
        }
        Node::Binary(op, a, b) => {
            let (a, b) = (walk(a, scope)?, walk(b, scope)?);
            let Some(of) = binary(*op, &a.of, &b.of) else { return Err(wrong(op.name(), &[&a.of, &b.of])) };
            let own = match op {
                Op::In => b.of.size(),
                Op::Add => tenth(a.of.size().saturating_add(b.of.size())),
                Op::Sub | Op::Mul | Op::Div | Op::Rem => 0,
                _ => tenth(a.of.size().min(b.of.size())),
            };
            done(of, a.cost.saturating_add(b.cost).saturating_add(own + 1))
        }
        Node::Fold { fold, range, vars, filter, body } => {
            let range = walk(range, scope)?;
            let (key, item, size) = match range.of {
                Type::Dyn => (Type::Dyn, Type::Dyn, REQUEST),
                Type::List(of, n) => (Type::Int, *of, n),
                Type::Map(k, v, n) => {
                    if vars.len() == 1 {
                        (Type::Dyn, *k, n)
                    } else {
                        (*k, *v, n)
                    }
                }
                other => {
                    return Err((
                        e.at,
                        format!(
                            "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                            other.name()
                        ),
                    ));
                }
            };
            let depth = scope.len();
            match vars.as_slice() {
                [one] => scope.push((one.to_string(), item.clone())),
                [k, v, ..] => {
                    scope.push((k.to_string(), key.clone()));
                    scope.push((v.to_string(), item.clone()));
                }
                [] => {}
            }
            let kept = filter.as_ref().map(|f| walk(f, scope)).transpose()?;
            let made = walk(body, scope)?;
            scope.truncate(depth);
            if !matches!(fold, Fold::Map | Fold::TransformMap) && !made.of.same(&Type::Bool) {
                return Err(wrong("_&&_", &[&Type::Bool, &made.of]));
            }
            let of = match fold {
                Fold::All | Fold::Exists | Fold::ExistsOne => Type::Bool,
                Fold::Filter => Type::List(Box::new(item), size),
                Fold::Map => Type::List(Box::new(made.of), size),
                Fold::TransformMap => Type::Map(Box::new(key), Box::new(made.of), size),
            };
            // what upstream's loop adds to the body: its condition, its step, its accumulator
            let step = if matches!(fold, Fold::All | Fold::Exists | Fold::ExistsOne) { 3 } else { 12 };
            let each = made.cost.saturating_add(kept.map_or(0, |k| k.cost)).saturating_add(step);
            done(of, range.cost.saturating_add(size.saturating_mul(each)).saturating_add(1))
        }
        Node::Bind { name, value, body } => {
            let value = walk(value, scope)?;
            scope.push((name.to_string(), value.of));
            let body = walk(body, scope);
            scope.pop();
            let body = body?;
            done(body.of, value.cost.saturating_add(body.cost) + 1)
        }
        Node::OptMap { of, name, body, flat } => {
            let of = walk(of, scope)?;
            let inner = match &of.of {
                Type::Optional(inner) => (**inner).clone(),
                Type::Dyn => Type::Dyn,
                other => return Err(wrong(if *flat { "optFlatMap" } else { "optMap" }, &[other])),
            };
            scope.push((name.to_string(), inner));
            let body = walk(body, scope);
            scope.pop();
            let body = body?;
            let made = if *flat { body.of } else { Type::Optional(Box::new(body.of)) };
            done(made, of.cost.saturating_add(body.cost) + 1)
        }
        Node::Message { name, .. } => message(e, name, scope),
    }
}

/// A variable whose name has a dot in it: `variables.x`.
fn qualified<'a>(of: &Expr, field: &str, scope: &[(String, Type<'a>)]) -> Option<Type<'a>> {
    let Node::Name(name) = &of.node else { return None };
    let is = |n: &str| n.strip_prefix(&**name).and_then(|n| n.strip_prefix('.')) == Some(field);
    // a macro's variable of the same name hides it
    scope.iter().rev().take_while(|(n, _)| **n != **name || is(n)).find(|(n, _)| is(n)).map(|(_, t)| t.clone())
}

/// `Object.spec{…}` or `JSONPatch{…}`, where they are declared.
fn message<'a>(e: &Expr, name: &str, scope: &mut Vec<(String, Type<'a>)>) -> Outcome<'a> {
    let Node::Message { fields, .. } = &e.node else { return Err((e.at, "no message".into())) };
    let head = name.split('.').next().unwrap_or_default();
    if !scope.iter().any(|(n, _)| n == head) || name.starts_with("JSONPatch.") {
        return Err((e.at, format!("undeclared reference to '{name}' (in container '')")));
    }
    let mut cost: u64 = 40;
    for (field, value, optional) in fields {
        let value = walk(value, scope)?;
        cost = cost.saturating_add(value.cost);
        if head != "JSONPatch" || &**field == "value" {
            continue;
        }
        if !matches!(&**field, "op" | "path" | "from") {
            return Err((e.at, format!("undefined field '{field}'")));
        }
        let of = match value.of {
            Type::Optional(of) if *optional => *of,
            of => of,
        };
        if !of.same(&Type::String(0)) {
            let why = format!("expected type of field '{field}' is 'string' but provided type is '{}'", of.name());
            return Err((e.at, why));
        }
    }
    Ok(Checked { of: Type::Message(name.into()), cost })
}

fn binary<'a>(op: Op, a: &Type<'a>, b: &Type<'a>) -> Option<Type<'a>> {
    use Type::{Bool, Double, Duration, Dyn, Int, Timestamp, Uint};
    let number = |t: &Type<'a>| matches!(t, Int | Uint | Double | Dyn);
    match op {
        Op::Eq | Op::Ne => a.same(b).then_some(Bool),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            let ordered = |t: &Type<'a>| {
                matches!(t, Bool | Int | Uint | Double | Dyn | Type::String(_) | Type::Bytes(_) | Timestamp | Duration)
            };
            (ordered(a) && ordered(b) && (a.same(b) || number(a) && number(b))).then_some(Bool)
        }
        Op::In => match b {
            Dyn => Some(Bool),
            Type::List(of, _) => a.same(of).then_some(Bool),
            Type::Map(key, ..) => a.same(key).then_some(Bool),
            _ => None,
        },
        _ => match (op, a, b) {
            (_, Dyn, t) | (_, t, Dyn) => Some(match t {
                Timestamp | Duration => Dyn,
                t => t.clone(),
            }),
            (_, Int, Int) => Some(Int),
            (_, Uint, Uint) => Some(Uint),
            (Op::Rem, ..) => None,
            (_, Double, Double) => Some(Double),
            (Op::Add, Type::String(x), Type::String(y)) => Some(Type::String(x.saturating_add(*y))),
            (Op::Add, Type::Bytes(x), Type::Bytes(y)) => Some(Type::Bytes(x.saturating_add(*y))),
            (Op::Add, Type::List(x, n), Type::List(y, m)) if x.same(y) => {
                Some(Type::List(x.clone(), n.saturating_add(*m)))
            }
            (Op::Add | Op::Sub, Duration, Duration) | (Op::Sub, Timestamp, Timestamp) => Some(Duration),
            (Op::Add, Timestamp, Duration) | (Op::Add, Duration, Timestamp) | (Op::Sub, Timestamp, Duration) => {
                Some(Timestamp)
            }
            _ => None,
        },
    }
}

/// A row: name, whether on a receiver, argument types with the receiver first, result. `s` string, `i` int, `d` double, `b` bool,
/// `*` anything, `l` list, `y` bytes, `u` uint, `t` timestamp, `D` duration, `o` optional, `q` quantity, `a` IP, `c` CIDR,
/// `U` URL, `v` semver, `f` format, `T` type, `A` authorizer, `P` `G` `R` its checks, `N` decision; `S` a list of strings, `e` what the list or optional holds, `=` the receiver's type.
type Row = (&'static str, bool, &'static str, char);

const TABLE: &[Row] = &[
    ("size", false, "*", 'i'),
    ("size", true, "*", 'i'),
    ("type", false, "*", 'T'),
    ("dyn", false, "*", '*'),
    ("int", false, "*", 'i'),
    ("uint", false, "*", 'u'),
    ("double", false, "*", 'd'),
    ("bool", false, "*", 'b'),
    ("string", false, "*", 's'),
    ("bytes", false, "*", 'y'),
    ("timestamp", false, "*", 't'),
    ("duration", false, "*", 'D'),
    ("matches", false, "ss", 'b'),
    ("matches", true, "ss", 'b'),
    ("contains", true, "ss", 'b'),
    ("startsWith", true, "ss", 'b'),
    ("endsWith", true, "ss", 'b'),
    ("lowerAscii", true, "s", 's'),
    ("upperAscii", true, "s", 's'),
    ("trim", true, "s", 's'),
    ("reverse", true, "s", 's'),
    ("reverse", true, "l", '='),
    ("charAt", true, "si", 's'),
    ("indexOf", true, "ss", 'i'),
    ("indexOf", true, "ssi", 'i'),
    ("indexOf", true, "l*", 'i'),
    ("lastIndexOf", true, "ss", 'i'),
    ("lastIndexOf", true, "ssi", 'i'),
    ("lastIndexOf", true, "l*", 'i'),
    ("replace", true, "sss", 's'),
    ("replace", true, "sssi", 's'),
    ("split", true, "ss", 'S'),
    ("split", true, "ssi", 'S'),
    ("substring", true, "si", 's'),
    ("substring", true, "sii", 's'),
    ("format", true, "sl", 's'),
    ("strings.quote", false, "s", 's'),
    ("join", true, "l", 's'),
    ("join", true, "ls", 's'),
    ("find", true, "ss", 's'),
    ("findAll", true, "ss", 'S'),
    ("findAll", true, "ssi", 'S'),
    ("isSorted", true, "l", 'b'),
    ("sum", true, "l", 'e'),
    ("min", true, "l", 'e'),
    ("max", true, "l", 'e'),
    ("slice", true, "lii", '='),
    ("flatten", true, "l", '*'),
    ("distinct", true, "l", '='),
    ("sort", true, "l", '='),
    ("first", true, "l", 'o'),
    ("last", true, "l", 'o'),
    ("optional.none", false, "", 'o'),
    ("optional.of", false, "*", 'o'),
    ("optional.ofNonZeroValue", false, "*", 'o'),
    ("hasValue", true, "o", 'b'),
    ("value", true, "o", 'e'),
    ("orValue", true, "o*", 'e'),
    ("or", true, "oo", '='),
    ("url", false, "s", 'U'),
    ("isURL", false, "s", 'b'),
    ("getScheme", true, "U", 's'),
    ("getHost", true, "U", 's'),
    ("getHostname", true, "U", 's'),
    ("getPort", true, "U", 's'),
    ("getEscapedPath", true, "U", 's'),
    ("getQuery", true, "U", '*'),
    ("quantity", false, "s", 'q'),
    ("isQuantity", false, "s", 'b'),
    ("isInteger", true, "q", 'b'),
    ("asInteger", true, "q", 'i'),
    ("asApproximateFloat", true, "q", 'd'),
    ("sign", true, "q", 'i'),
    ("add", true, "qq", 'q'),
    ("add", true, "qi", 'q'),
    ("sub", true, "qq", 'q'),
    ("sub", true, "qi", 'q'),
    ("isLessThan", true, "qq", 'b'),
    ("isGreaterThan", true, "qq", 'b'),
    ("compareTo", true, "qq", 'i'),
    ("isLessThan", true, "vv", 'b'),
    ("isGreaterThan", true, "vv", 'b'),
    ("compareTo", true, "vv", 'i'),
    ("semver", false, "s", 'v'),
    ("semver", false, "sb", 'v'),
    ("isSemver", false, "s", 'b'),
    ("isSemver", false, "sb", 'b'),
    ("major", true, "v", 'i'),
    ("minor", true, "v", 'i'),
    ("patch", true, "v", 'i'),
    ("ip", false, "s", 'a'),
    ("isIP", false, "s", 'b'),
    ("ip.isCanonical", false, "s", 'b'),
    ("family", true, "a", 'i'),
    ("isUnspecified", true, "a", 'b'),
    ("isLoopback", true, "a", 'b'),
    ("isLinkLocalMulticast", true, "a", 'b'),
    ("isLinkLocalUnicast", true, "a", 'b'),
    ("isGlobalUnicast", true, "a", 'b'),
    ("cidr", false, "s", 'c'),
    ("isCIDR", false, "s", 'b'),
    ("containsIP", true, "ca", 'b'),
    ("containsIP", true, "cs", 'b'),
    ("containsCIDR", true, "cc", 'b'),
    ("containsCIDR", true, "cs", 'b'),
    ("ip", true, "c", 'a'),
    ("masked", true, "c", 'c'),
    ("prefixLength", true, "c", 'i'),
    ("format.named", false, "s", 'F'),
    ("validate", true, "fs", 'O'),
    ("sets.contains", false, "ll", 'b'),
    ("sets.intersects", false, "ll", 'b'),
    ("sets.equivalent", false, "ll", 'b'),
    ("math.greatest", false, "*", '*'),
    ("math.greatest", false, "**", '*'),
    ("math.greatest", false, "***", '*'),
    ("math.least", false, "*", '*'),
    ("math.least", false, "**", '*'),
    ("math.least", false, "***", '*'),
    ("math.abs", false, "*", '='),
    ("math.ceil", false, "d", 'd'),
    ("math.floor", false, "d", 'd'),
    ("math.round", false, "d", 'd'),
    ("math.sign", false, "i", 'i'),
    ("base64.encode", false, "y", 's'),
    ("base64.decode", false, "s", 'y'),
    ("getFullYear", true, "t", 'i'),
    ("getMonth", true, "t", 'i'),
    ("getDayOfMonth", true, "t", 'i'),
    ("getDate", true, "t", 'i'),
    ("getDayOfYear", true, "t", 'i'),
    ("getDayOfWeek", true, "t", 'i'),
    ("getHours", true, "t", 'i'),
    ("getMinutes", true, "t", 'i'),
    ("getSeconds", true, "t", 'i'),
    ("getMilliseconds", true, "t", 'i'),
    ("getFullYear", true, "ts", 'i'),
    ("getMonth", true, "ts", 'i'),
    ("getDayOfMonth", true, "ts", 'i'),
    ("getDate", true, "ts", 'i'),
    ("getDayOfYear", true, "ts", 'i'),
    ("getDayOfWeek", true, "ts", 'i'),
    ("getHours", true, "ts", 'i'),
    ("getMinutes", true, "ts", 'i'),
    ("getSeconds", true, "ts", 'i'),
    ("getMilliseconds", true, "ts", 'i'),
    ("jsonpatch.escapeKey", false, "s", 's'),
    ("path", true, "As", 'P'),
    ("group", true, "As", 'G'),
    ("serviceAccount", true, "Ass", 'A'),
    ("resource", true, "Gs", 'R'),
    ("subresource", true, "Rs", 'R'),
    ("namespace", true, "Rs", 'R'),
    ("name", true, "Rs", 'R'),
    ("fieldSelector", true, "Rs", 'R'),
    ("labelSelector", true, "Rs", 'R'),
    ("check", true, "Ps", 'N'),
    ("check", true, "Rs", 'N'),
    ("allowed", true, "N", 'b'),
    ("reason", true, "N", 's'),
    ("errored", true, "N", 'b'),
    ("error", true, "N", 's'),
    ("getHours", true, "D", 'i'),
    ("getMinutes", true, "D", 'i'),
    ("getSeconds", true, "D", 'i'),
    ("getMilliseconds", true, "D", 'i'),
];

fn known(name: &str) -> bool {
    TABLE.iter().any(|r| r.0 == name)
}

fn fits(code: char, t: &Type<'_>) -> bool {
    match (code, t) {
        ('*', _) | (_, Type::Dyn) => true,
        ('s', t) => matches!(t, Type::String(_)),
        ('i', t) => matches!(t, Type::Int),
        ('d', t) => matches!(t, Type::Double),
        ('b', t) => matches!(t, Type::Bool),
        ('u', t) => matches!(t, Type::Uint),
        ('y', t) => matches!(t, Type::Bytes(_)),
        ('l', t) => matches!(t, Type::List(..)),
        ('t', t) => matches!(t, Type::Timestamp),
        ('D', t) => matches!(t, Type::Duration),
        ('o', t) => matches!(t, Type::Optional(_)),
        (c, Type::Named(n)) => named(c) == *n,
        _ => false,
    }
}

fn named(code: char) -> &'static str {
    match code {
        'q' => "kubernetes.Quantity",
        'a' => "net.IP",
        'c' => "net.CIDR",
        'U' => "kubernetes.URL",
        'v' => "kubernetes.Semver",
        'f' => "kubernetes.NamedFormat",
        'A' => AUTHORIZER,
        'P' => "kubernetes.authorization.PathCheck",
        'G' => "kubernetes.authorization.GroupCheck",
        'R' => RESOURCE_CHECK,
        'N' => "kubernetes.authorization.Decision",
        _ => "",
    }
}

/// The result of a call; `None`: no overload fits.
fn result<'a>(name: &str, on: bool, types: &[&Type<'a>]) -> Option<Type<'a>> {
    // a value whose type is not known may be one with functions of its own
    if on && matches!(types.first(), Some(Type::Dyn)) && !known(name) {
        return Some(Type::Dyn);
    }
    let rows = TABLE.iter().filter(|r| r.0 == name && r.1 == on && r.2.len() == types.len());
    let mut fitting = rows.filter(|r| r.2.chars().zip(types).all(|(c, t)| fits(c, t)));
    let row = fitting.next()?;
    if fitting.any(|other| other.3 != row.3) && types.iter().any(|t| matches!(t, Type::Dyn)) {
        return Some(Type::Dyn);
    }
    let size = types.first().map_or(0, |t| t.size());
    let texts = || Type::List(Box::new(Type::String(size)), size);
    Some(match row.3 {
        's' => Type::String(size.max(if matches!(name, "string" | "format") { 1024 } else { 0 })),
        'i' => Type::Int,
        'd' => Type::Double,
        'b' => Type::Bool,
        'u' => Type::Uint,
        'y' => Type::Bytes(size),
        't' => Type::Timestamp,
        'D' => Type::Duration,
        'T' => Type::Type,
        'S' => texts(),
        'O' => Type::Optional(Box::new(texts())),
        'F' => Type::Optional(Box::new(Type::Named(named('f')))),
        'o' => Type::Optional(Box::new(match types.first() {
            Some(Type::List(of, _)) if matches!(name, "first" | "last") => (**of).clone(),
            Some(t) => (*t).clone(),
            None => Type::Dyn,
        })),
        '=' => (*types.first()?).clone(),
        'e' => match types.first()? {
            Type::List(of, _) | Type::Optional(of) => (**of).clone(),
            _ => Type::Dyn,
        },
        '*' => Type::Dyn,
        c => Type::Named(named(c)),
    })
}
