//! Expressions evaluated, and what that costs.

use std::borrow::Cow;
use std::rc::Rc;

use super::ast::{Expr, Fold, Literal, Node, Op};
use super::functions;
use super::value::{Value, unescape};

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// In upstream's words.
    Error(String),
    /// The budget is used up.
    Cost,
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Error(text)
    }
}
impl From<&str> for Failure {
    fn from(text: &str) -> Failure {
        Failure::Error(text.to_owned())
    }
}

pub type Done<'a> = Result<Value<'a>, Failure>;

/// What an evaluation may still cost, in upstream's units: one a step, more for what grows with its input.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    pub fn new(units: u64) -> Budget {
        Budget { left: units }
    }
    pub fn left(&self) -> u64 {
        self.left
    }
    pub fn spend(&mut self, units: u64) -> Result<(), Failure> {
        self.left = self.left.checked_sub(units).ok_or_else(|| {
            self.left = 0;
            Failure::Cost
        })?;
        Ok(())
    }
}

/// The variables that an expression sees first: `self`, `oldSelf`, `object`, ….
pub trait Variables<'a> {
    /// `None`: there is no such variable. Reading one may itself cost.
    fn get(&self, name: &str, budget: &mut Budget) -> Option<Done<'a>>;
    /// `name.field`, where that is a variable of its own: `variables.x`, `authorizer.requestResource`.
    fn member(&self, _name: &str, _field: &str, _budget: &mut Budget) -> Option<Done<'a>> {
        None
    }
}

impl<'a, const N: usize> Variables<'a> for [(&str, Value<'a>); N] {
    fn get(&self, name: &str, _budget: &mut Budget) -> Option<Done<'a>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| Ok(v.clone()))
    }
}

/// Those of macros, the innermost first.
struct Scope<'s, 'a> {
    parent: Option<&'s Scope<'s, 'a>>,
    name: &'s str,
    value: Value<'a>,
}

pub fn evaluate<'a>(expr: &Expr, variables: &dyn Variables<'a>, budget: &mut Budget) -> Done<'a> {
    Evaluator { variables, budget }.run(expr, None)
}

struct Evaluator<'v, 'a> {
    variables: &'v dyn Variables<'a>,
    budget: &'v mut Budget,
}

type In<'s, 'a> = Option<&'s Scope<'s, 'a>>;

fn is_bound(scope: In<'_, '_>, name: &str) -> bool {
    std::iter::successors(scope, |s| s.parent).any(|s| s.name == name)
}

impl<'a> Evaluator<'_, 'a> {
    fn run(&mut self, e: &Expr, scope: In<'_, 'a>) -> Done<'a> {
        match &e.node {
            Node::Literal(l) => Ok(literal(l)),
            Node::Name(name) => {
                self.budget.spend(1)?;
                self.name(name, scope)
            }
            Node::Select { of, field, optional, test } => self.select(of, field, *optional, *test, scope),
            Node::Index { of, index, optional } => {
                let of = self.run(of, scope)?;
                let key = self.run(index, scope)?;
                self.budget.spend(1)?;
                let (of, chained) = match &of {
                    Value::Optional(None) => return Ok(of),
                    Value::Optional(Some(v)) => ((**v).clone(), true),
                    _ => (of, false),
                };
                let found = of.index(&key)?;
                match (found, *optional || chained) {
                    (found, true) => Ok(Value::Optional(found.map(Rc::new))),
                    (Some(v), false) => Ok(v),
                    (None, false) if of.items().is_some() => {
                        Err(format!("index out of bounds: {}", key.text().unwrap_or_default()).into())
                    }
                    (None, false) => Err(format!("no such key: {}", key.text().unwrap_or_default()).into()),
                }
            }
            Node::Call { target, name, args } => {
                let target = target.as_ref().map(|t| self.run(t, scope)).transpose()?;
                let args = args.iter().map(|a| self.run(a, scope)).collect::<Result<Vec<_>, _>>()?;
                functions::call(name, target, args, self.budget)
            }
            Node::List(items) => {
                self.budget.spend(10)?;
                let mut all = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.run(item, scope)?, optional) {
                        (Value::Optional(o), true) => all.extend(o.map(|v| (*v).clone())),
                        (v, _) => all.push(v),
                    }
                }
                Ok(Value::list(all))
            }
            Node::Map(entries) => {
                self.budget.spend(30)?;
                let mut all: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let key = self.run(key, scope)?;
                    let value = match (self.run(value, scope)?, optional) {
                        (Value::Optional(None), true) => continue,
                        (Value::Optional(Some(v)), true) => (*v).clone(),
                        (v, _) => v,
                    };
                    if all.iter().any(|(k, _)| k.equals(&key)) {
                        return Err(
                            format!("insert failed: key {} already exists", key.text().unwrap_or_default()).into()
                        );
                    }
                    all.push((key, value));
                }
                Ok(Value::Map(Rc::new(all)))
            }
            Node::And(a, b) => self.short(a, b, false, scope),
            Node::Or(a, b) => self.short(a, b, true, scope),
            Node::Not(inner) => {
                self.budget.spend(1)?;
                match self.run(inner, scope)? {
                    Value::Bool(b) => Ok(Value::Bool(!b)),
                    _ => Err("no such overload".into()),
                }
            }
            Node::Negate(inner) => {
                self.budget.spend(1)?;
                match self.run(inner, scope)? {
                    Value::Int(i) => i.checked_neg().map(Value::Int).ok_or_else(|| "integer overflow".into()),
                    Value::Double(d) => Ok(Value::Double(-d)),
                    Value::Duration(d) => Ok(Value::Duration(d.saturating_neg())),
                    _ => Err("no such overload".into()),
                }
            }
            Node::If(condition, then, other) => match self.run(condition, scope)? {
                Value::Bool(true) => self.run(then, scope),
                Value::Bool(false) => self.run(other, scope),
                _ => Err("no such overload".into()),
            },
            Node::Binary(op, a, b) => {
                let (a, b) = (self.run(a, scope)?, self.run(b, scope)?);
                self.binary(*op, &a, &b)
            }
            Node::Fold { fold, range, vars, filter, body } => {
                let range = self.run(range, scope)?;
                self.fold(*fold, range, vars, filter.as_deref(), body, scope)
            }
            Node::Bind { name, value, body } => {
                let value = self.run(value, scope)?;
                self.budget.spend(1)?;
                self.run(body, Some(&Scope { parent: scope, name, value }))
            }
            Node::OptMap { of, name, body, flat } => match self.run(of, scope)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(v)) => {
                    let value = (*v).clone();
                    let made = self.run(body, Some(&Scope { parent: scope, name, value }))?;
                    Ok(if *flat { made } else { Value::some(made) })
                }
                _ => Err("no such overload".into()),
            },
            Node::Message { name, fields } => self.message(name, fields, scope),
        }
    }

    fn message(&mut self, name: &str, fields: &[(Box<str>, Expr, bool)], scope: In<'_, 'a>) -> Done<'a> {
        self.budget.spend(40)?;
        let mut all = Vec::with_capacity(fields.len());
        for (field, e, optional) in fields {
            let wanted = format!("{name}.{field}");
            if name.starts_with("Object")
                && let Some(found) = e.misnamed(&wanted)
            {
                let why = format!(
                    "type mismatch: unexpected type name {found:?}, expected {wanted:?}, which matches field name path from \
                     root Object type"
                );
                return Err(why.into());
            }
            let value = match (self.run(e, scope)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(v)), true) => (*v).clone(),
                (v, _) => v,
            };
            all.push((Value::string(unescape(field)), value));
        }
        Ok(Value::Map(Rc::new(all)))
    }

    fn name(&mut self, name: &str, scope: In<'_, 'a>) -> Done<'a> {
        let mut at = scope;
        while let Some(s) = at {
            if s.name == name {
                return Ok(s.value.clone());
            }
            at = s.parent;
        }
        if let Some(done) = self.variables.get(name, self.budget) {
            return done;
        }
        match functions::type_of_name(name) {
            Some(t) => Ok(Value::Type(t.into())),
            None => Err(format!("no such attribute(s): {name}").into()),
        }
    }

    fn select(&mut self, of: &Expr, field: &str, optional: bool, test: bool, scope: In<'_, 'a>) -> Done<'a> {
        if let Node::Name(name) = &of.node
            && !is_bound(scope, name)
            && let Some(done) = self.variables.member(name, field, self.budget)
        {
            self.budget.spend(1)?;
            let value = done?;
            return Ok(match (test, optional) {
                (true, _) => Value::Bool(true),
                (_, true) => Value::some(value),
                _ => value,
            });
        }
        let of = self.run(of, scope)?;
        self.budget.spend(1)?;
        let (of, chained) = match &of {
            Value::Optional(None) => return Ok(if test { Value::Bool(false) } else { of }),
            Value::Optional(Some(v)) => ((**v).clone(), true),
            _ => (of, false),
        };
        let found = of.field(field)?;
        match (found, test, optional || chained) {
            (found, true, _) => Ok(Value::Bool(found.is_some_and(|v| !matches!(v, Value::Null)))),
            (found, false, true) => Ok(Value::Optional(found.map(Rc::new))),
            (Some(v), false, false) => Ok(v),
            (None, false, false) => Err(format!("no such key: {field}").into()),
        }
    }

    /// `&&`, `||`: one side that decides makes the other's error irrelevant.
    fn short(&mut self, a: &Expr, b: &Expr, decides: bool, scope: In<'_, 'a>) -> Done<'a> {
        let first = self.run(a, scope);
        match first {
            Ok(Value::Bool(v)) if v == decides => return first,
            Err(Failure::Cost) => return first,
            _ => {}
        }
        match (first, self.run(b, scope)) {
            (_, Ok(Value::Bool(v))) if v == decides => Ok(Value::Bool(decides)),
            (Err(e), _) | (_, Err(e)) => Err(e),
            (Ok(Value::Bool(_)), Ok(Value::Bool(v))) => Ok(Value::Bool(v)),
            _ => Err("no such overload".into()),
        }
    }

    fn binary(&mut self, op: Op, a: &Value<'a>, b: &Value<'a>) -> Done<'a> {
        self.budget.spend(1 + functions::traversal(a, b, op))?;
        let order = |f: fn(std::cmp::Ordering) -> bool| -> Done<'a> {
            match a.compare(b) {
                Some(o) => Ok(Value::Bool(f(o))),
                None if matches!((a, b), (Value::Double(_), _) | (_, Value::Double(_))) => Ok(Value::Bool(false)),
                None => Err("no such overload".into()),
            }
        };
        match op {
            Op::Eq => Ok(Value::Bool(a.equals(b))),
            Op::Ne => Ok(Value::Bool(!a.equals(b))),
            Op::Lt => order(std::cmp::Ordering::is_lt),
            Op::Le => order(std::cmp::Ordering::is_le),
            Op::Gt => order(std::cmp::Ordering::is_gt),
            Op::Ge => order(std::cmp::Ordering::is_ge),
            Op::In => match (b.items(), b) {
                (Some(items), _) => Ok(Value::Bool(items.iter().any(|i| i.equals(a)))),
                (None, _) => Ok(Value::Bool(b.index(a)?.is_some())),
            },
            _ => functions::arithmetic(op, a, b).map_err(Failure::Error),
        }
    }

    fn fold(
        &mut self,
        fold: Fold,
        range: Value<'a>,
        vars: &[Box<str>],
        filter: Option<&Expr>,
        body: &Expr,
        scope: In<'_, 'a>,
    ) -> Done<'a> {
        // one variable: elements of a list, keys of a map; two: index and element, key and value
        let pairs: Vec<(Value<'a>, Value<'a>)> = match (range.items(), range.entries()) {
            (Some(items), _) => items.into_iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v)).collect(),
            (None, Some(entries)) => {
                entries.into_iter().map(|(k, v)| if vars.len() == 1 { (Value::Null, k) } else { (k, v) }).collect()
            }
            _ => return Err("no such overload".into()),
        };
        let (mut list, mut map, mut count) = (Vec::new(), Vec::new(), 0);
        let mut failed = None;
        for (key, value) in pairs {
            self.budget.spend(1)?;
            let one = Scope {
                parent: scope,
                name: &vars[0],
                value: if vars.len() == 1 { value.clone() } else { key.clone() },
            };
            let two = vars.get(1).map(|name| Scope { parent: Some(&one), name, value: value.clone() });
            let inner = Some(two.as_ref().unwrap_or(&one));
            if let Some(filter) = filter {
                match self.run(filter, inner)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    _ => return Err("no such overload".into()),
                }
            }
            let made = self.run(body, inner);
            match (fold, made) {
                (_, Err(Failure::Cost)) => return Err(Failure::Cost),
                (Fold::All, Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                (Fold::Exists, Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                (Fold::All | Fold::Exists, Ok(Value::Bool(_))) => {}
                (Fold::All | Fold::Exists, Err(e)) => failed = failed.or(Some(e)),
                (Fold::ExistsOne, Ok(Value::Bool(b))) => count += usize::from(b),
                (Fold::Filter, Ok(Value::Bool(true))) => list.push(value),
                (Fold::Filter, Ok(Value::Bool(false))) => {}
                (Fold::Map, Ok(v)) => list.push(v),
                (Fold::TransformMap, Ok(v)) => map.push((key, v)),
                (_, Err(e)) => return Err(e),
                _ => return Err("no such overload".into()),
            }
        }
        if let Some(e) = failed {
            return Err(e);
        }
        Ok(match fold {
            Fold::All => Value::Bool(true),
            Fold::Exists => Value::Bool(false),
            Fold::ExistsOne => Value::Bool(count == 1),
            Fold::Filter | Fold::Map => Value::list(list),
            Fold::TransformMap => Value::Map(Rc::new(map)),
        })
    }
}

fn literal<'a>(l: &Literal) -> Value<'a> {
    match l {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(s) => Value::String(Cow::Owned(s.to_string())),
        Literal::Bytes(b) => Value::Bytes((&**b).into()),
    }
}
