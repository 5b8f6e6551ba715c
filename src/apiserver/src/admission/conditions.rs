//! The expressions of webhooks and policies evaluated over a write: upstream's `admission/plugin/cel`.
//!
//! Values of expressions stay on their thread: nothing here waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use api::Value;
use api::cel::{self, Budget, CALL_LIMIT, Done, Failure, Opaque, Program, Variables};
use serde_json::json;

use super::authorizer::{Checks, ResourceCheck};
use super::scene::Scene;
use super::tree::items;
use crate::Authorizer;

/// What the match conditions of one webhook or policy may cost: `RuntimeCELCostBudgetMatchConditions`.
const CONDITIONS_LIMIT: u64 = 2_500_000;

/// An expression, parsed once. It was checked when it was accepted.
#[derive(Debug)]
pub struct Expression {
    pub text: Box<str>,
    program: Result<Program, String>,
}

impl Expression {
    pub fn parse(text: &str) -> Expression {
        Expression { text: text.into(), program: Program::parse(text) }
    }
    /// `None` for an empty text.
    pub fn given(v: &Value, key: &str) -> Option<Expression> {
        v[key].as_str().filter(|t| !t.trim().is_empty()).map(Expression::parse)
    }

    /// Errors in upstream's words.
    pub fn evaluate<'a>(&self, on: &Bindings<'a>, budget: &mut Budget) -> Result<cel::Value<'a>, String> {
        const EXHAUSTED: &str =
            "validation failed due to running out of cost budget, no further validation rules will be run";
        let program = self.program.as_ref().map_err(|e| format!("compilation error: {e}"))?;
        let before = CALL_LIMIT.min(budget.left());
        let mut call = Budget::new(before);
        let done = program.evaluate(on, &mut call);
        let _ = budget.spend(before - call.left());
        done.map_err(|failure| match failure {
            Failure::Cost if before < CALL_LIMIT => EXHAUSTED.into(),
            Failure::Cost => self.failed("operation cancelled: actual cost limit exceeded"),
            Failure::Error(e) => self.failed(&e),
        })
    }
    fn failed(&self, why: &str) -> String {
        format!("expression '{}' resulted in error: {why}", self.text)
    }
}

/// `variables`, in their order.
pub type Named = (Box<str>, Expression);

pub fn named(v: &Value, pointer: &str) -> Vec<Named> {
    let one = |v: &Value| Some((v["name"].as_str()?.into(), Expression::parse(v["expression"].as_str()?.trim())));
    items(v, pointer).iter().filter_map(one).collect()
}

/// The trees that expressions see.
pub struct Trees<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    pub request: &'a Value,
    /// `Null` without.
    pub params: &'a Value,
    /// `Null` of what is in no namespace.
    pub namespace: &'a Value,
}

/// The variables of an expression.
pub struct Bindings<'a> {
    trees: Trees<'a>,
    checks: Option<(Rc<dyn Opaque>, Rc<dyn Opaque>)>,
    variables: &'a [Named],
    known: RefCell<HashMap<&'a str, Done<'a>>>,
}

impl<'a> Bindings<'a> {
    pub fn new(trees: Trees<'a>, s: &Scene<'_>, authorizer: &Arc<dyn Authorizer>, variables: &'a [Named]) -> Self {
        let all = Checks { authorizer: authorizer.clone(), user: s.attributes.user.clone() };
        let own = ResourceCheck::of_request(&all, s);
        Bindings { trees, checks: Some((Rc::new(all), Rc::new(own))), variables, known: RefCell::default() }
    }
}

impl<'a> Variables<'a> for Bindings<'a> {
    fn get(&self, name: &str, _budget: &mut Budget) -> Option<Done<'a>> {
        let tree = match name {
            "object" => self.trees.object,
            "oldObject" => self.trees.old,
            "request" => self.trees.request,
            "params" => self.trees.params,
            "namespaceObject" => self.trees.namespace,
            "authorizer" => return self.checks.as_ref().map(|(all, _)| Ok(cel::Value::Opaque(all.clone()))),
            _ => return None,
        };
        Some(Ok(cel::Value::of(tree, None)))
    }

    fn member(&self, name: &str, field: &str, budget: &mut Budget) -> Option<Done<'a>> {
        match (name, field) {
            ("authorizer", "requestResource") => {
                self.checks.as_ref().map(|(_, own)| Ok(cel::Value::Opaque(own.clone())))
            }
            ("variables", _) => {
                if let Some(known) = self.known.borrow().get(field) {
                    return Some(known.clone());
                }
                let Some((name, e)) = self.variables.iter().find(|(n, _)| **n == *field) else {
                    return Some(Err(format!("no such key: {field}").into()));
                };
                // one that leads to itself finds this
                let cyclic = Err(format!("variable {name} refers to itself").into());
                self.known.borrow_mut().insert(name, cyclic);
                let done = match &e.program {
                    Ok(program) => program.evaluate(self, budget),
                    Err(e) => Err(format!("composited variable {name:?} fails to compile: {e}").into()),
                };
                let done = done.map_err(|failure| match failure {
                    Failure::Error(e) => Failure::Error(format!("composited variable {name:?} fails to evaluate: {e}")),
                    cost => cost,
                });
                self.known.borrow_mut().insert(name, done.clone());
                Some(done)
            }
            _ => None,
        }
    }
}

/// Whether match conditions let a webhook or policy run. With `ignore` an error means that they do not.
pub fn hold(conditions: &[Named], on: &Bindings<'_>, ignore: bool) -> Result<bool, String> {
    let mut budget = Budget::new(CONDITIONS_LIMIT);
    let mut errors = Vec::new();
    for (_, condition) in conditions {
        match condition.evaluate(on, &mut budget) {
            Ok(cel::Value::Bool(false)) => return Ok(false),
            Ok(_) => {}
            Err(e) => errors.push(e),
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        _ if ignore => Ok(false),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// What expressions see of a namespace: upstream's `CreateNamespaceObject`.
pub fn namespace_object(tree: &Value) -> Value {
    const META: [&str; 11] = [
        "name",
        "generateName",
        "namespace",
        "labels",
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "resourceVersion",
        "finalizers",
    ];
    let mut meta = serde_json::Map::new();
    for key in META {
        if let Some(v) = tree["metadata"].get(key) {
            meta.insert(key.into(), v.clone());
        }
    }
    meta.insert("UID".into(), tree["metadata"]["uid"].clone());
    json!({"metadata": meta, "spec": tree["spec"], "status": tree["status"]})
}
