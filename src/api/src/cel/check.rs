//! What type an expression has and what it may cost at most, from the types of its variables alone.

use super::ast::{Expr, Fold, Literal, Node, Op};
use super::functions::type_of_name;
use super::signatures;
use super::types::{REQUEST, Type};

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
            let Some(found) = signatures::result(name, target.is_some(), &types) else {
                return Err(match signatures::known(name) {
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
