//! `x-kubernetes-validations` on objects: upstream's `apiextensions-apiserver/pkg/apiserver/schema/cel`.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::{Budget, CALL_LIMIT, Failure, OBJECT_LIMIT, Program, Value};
use crate::crd::{List, Structural, Type, key_of};
use crate::field::{Error, Path};

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Default)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: bool,
    /// Parsed when first used; `None`: they do not parse.
    parsed: OnceLock<Option<Programs>>,
}

#[derive(Debug, Clone)]
struct Programs {
    rule: Program,
    message: Option<Program>,
    /// It compares with what was before.
    transition: bool,
}

impl Clone for Rule {
    fn clone(&self) -> Rule {
        Rule {
            rule: self.rule.clone(),
            message: self.message.clone(),
            message_expression: self.message_expression.clone(),
            reason: self.reason.clone(),
            field_path: self.field_path.clone(),
            optional_old_self: self.optional_old_self,
            parsed: OnceLock::new(),
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, o: &Rule) -> bool {
        self.rule == o.rule
            && self.message == o.message
            && self.message_expression == o.message_expression
            && self.reason == o.reason
            && self.field_path == o.field_path
            && self.optional_old_self == o.optional_old_self
    }
}

impl Rule {
    pub fn parse(v: &Json) -> Rule {
        let text = |key: &str| v[key].as_str().unwrap_or_default().into();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: v["optionalOldSelf"] == true,
            parsed: OnceLock::new(),
        }
    }
    fn programs(&self) -> Option<&Programs> {
        let make = || {
            let rule = Program::parse(&self.rule).ok()?;
            let message = Some(&self.message_expression).filter(|m| !m.is_empty()).and_then(|m| Program::parse(m).ok());
            Some(Programs { transition: rule.uses("oldSelf"), rule, message })
        };
        self.parsed.get_or_init(make).as_ref()
    }
    /// What it is called in errors.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }
}

/// Checks the rules of a schema on an object; `old` is what an update replaces.
pub fn validate(schema: &Structural, new: &Json, old: Option<&Json>) -> Vec<Error> {
    let mut checker = Checker { out: Vec::new(), budget: Budget::new(OBJECT_LIMIT) };
    if checker.value(schema, new, old, &Path::nil()).is_err() {
        let why = "validation failed due to running out of cost budget, no further validation rules will be run";
        checker.out.push(Error::invalid(&Path::nil(), "", why));
    }
    checker.out
}

/// Whether there are rules at or below a schema.
fn has_rules(s: &Structural) -> bool {
    !s.rules.is_empty()
        || s.items.as_deref().is_some_and(has_rules)
        || s.properties.iter().any(|(_, p)| has_rules(p))
        || matches!(&s.additional, crate::crd::Additional::Schema(a) if has_rules(a))
}

struct Checker {
    out: Vec<Error>,
    budget: Budget,
}

/// The budget is used up: no rule runs any more.
struct Exhausted;

impl Checker {
    fn value(&mut self, s: &Structural, v: &Json, old: Option<&Json>, path: &Path) -> Result<(), Exhausted> {
        if v.is_null() || !has_rules(s) {
            return Ok(());
        }
        for rule in &s.rules {
            self.rule(rule, s, v, old.filter(|o| !o.is_null()), path)?;
        }
        match v {
            Json::Object(o) => {
                for (key, v) in o {
                    if let Some(below) = s.member(key) {
                        let before = old.and_then(|o| o.get(key));
                        self.value(below, v, before, &path.child(key))?;
                    }
                }
            }
            Json::Array(list) => {
                let Some(items) = &s.items else { return Ok(()) };
                let before: HashMap<String, &Json> = match &s.list {
                    List::Map(keys) => {
                        let old = old.and_then(Json::as_array).into_iter().flatten();
                        old.map(|v| (key_of(keys, v), v)).collect()
                    }
                    _ => HashMap::new(),
                };
                for (i, v) in list.iter().enumerate() {
                    let old = match &s.list {
                        List::Map(keys) => before.get(&key_of(keys, v)).copied(),
                        _ => None,
                    };
                    self.value(items, v, old, &path.index(i))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Rule,
        s: &Structural,
        v: &Json,
        old: Option<&Json>,
        path: &Path,
    ) -> Result<(), Exhausted> {
        let Some(programs) = rule.programs() else { return Ok(()) };
        if programs.transition {
            if old.is_none() && !rule.optional_old_self {
                return Ok(());
            }
        } else if old == Some(v) {
            // what was so before may stay so
            return Ok(());
        }
        let was = old.map(|o| Value::of(o, Some(s)));
        let was = if rule.optional_old_self { Value::Optional(was.map(Rc::new)) } else { was.unwrap_or(Value::Null) };
        let variables = [("self", Value::of(v, Some(s))), ("oldSelf", was)];
        let mut call = Budget::new(CALL_LIMIT.min(self.budget.left()));
        let before = call.left();
        let done = programs.rule.evaluate(&variables, &mut call);
        let spent = before - call.left();
        let over = self.budget.spend(spent).is_err();
        let detail = match done {
            Ok(Value::Bool(true)) => return if over { Err(Exhausted) } else { Ok(()) },
            Ok(_) => self.message(rule, programs, &variables),
            Err(Failure::Cost) if before < CALL_LIMIT => return Err(Exhausted),
            Err(Failure::Cost) => {
                let why = format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost \
                     exceeds limit for rule: {}",
                    rule.shown()
                );
                self.out.push(Error::invalid(path, shown(s, v), why));
                return Err(Exhausted);
            }
            Err(Failure::Error(e)) if e.starts_with("no such overload") => format!(
                "'{e}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.shown()
            ),
            Err(Failure::Error(e)) => format!("{e} evaluating rule: {}", rule.shown()),
        };
        let mut at = path.to_string();
        if !rule.field_path.is_empty() {
            at = match at.as_str() {
                "<nil>" => rule.field_path.trim_start_matches('.').to_owned(),
                at => format!("{at}{}", dotted(&rule.field_path)),
            };
        }
        let value = shown(s, v);
        let error = match &*rule.reason {
            "FieldValueRequired" => Error::required(path, &detail),
            "FieldValueForbidden" => Error::forbidden(path, &detail),
            "FieldValueDuplicate" => Error::duplicate(path, value),
            _ => Error::invalid(path, value, detail),
        };
        self.out.push(Error { field: at, ..error });
        if over { Err(Exhausted) } else { Ok(()) }
    }

    fn message<'a>(&mut self, rule: &Rule, programs: &Programs, variables: &[(&str, Value<'a>); 2]) -> String {
        if let Some(program) = &programs.message {
            let mut call = Budget::new(CALL_LIMIT.min(self.budget.left()));
            let before = call.left();
            let made = program.evaluate(variables, &mut call);
            // a message that costs too much leaves the plain one
            let _ = self.budget.spend(before - call.left());
            if let Ok(Value::String(text)) = made
                && !text.trim().is_empty()
                && !text.contains('\n')
                && text.len() <= 5120
            {
                return text.trim().to_owned();
            }
        }
        match rule.message.trim() {
            "" => format!("failed rule: {}", rule.rule.trim()),
            message => message.to_owned(),
        }
    }
}

/// `.a['b']` as `.a[b]`, the form of other paths.
fn dotted(path: &str) -> String {
    path.replace("['", "[").replace("']", "]")
}

/// What an error shows of a value: of an object or a list only that it is one.
fn shown(s: &Structural, v: &Json) -> Json {
    match s.kind {
        Type::Object | Type::Array => s.kind.name().into(),
        _ => v.clone(),
    }
}
