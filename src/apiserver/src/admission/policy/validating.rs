//! Validating policies. Upstream's `policy/validating`: dispatcher and validator.

use std::collections::BTreeMap;

use api::cel::{self, Budget, OBJECT_LIMIT};
use api::{Cause, Reason, Status, Value};
use serde_json::json;

use super::{Compiled, Policy, Run, namespace, runs};
use crate::admission::Write;
use crate::admission::conditions::{Bindings, Trees, hold};
use crate::admission::counts::Count;
use crate::admission::extension::Extensions;
use crate::admission::scene::{Scene, Views};
use crate::audit::{annotate, is_recorded};

/// `MaxEvaluatedMessageExpressionSizeBytes`
const LONGEST_MESSAGE: usize = 5 * 1024;
/// `maxAuditAnnotationValueLength`
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// A validation that failed, or could not be evaluated.
struct Denial {
    /// Of the expression.
    index: usize,
    message: String,
    /// Empty: `Invalid`.
    reason: String,
}

#[derive(Default)]
struct Outcome {
    denials: Vec<Denial>,
    annotations: Vec<(String, String)>,
    /// Of annotations, which deny whatever the binding does.
    errors: Vec<String>,
}

pub async fn admit(x: &Extensions, policies: &[Policy], s: &Scene<'_>, w: &mut Write<'_>) -> Result<(), Status> {
    if policies.is_empty() {
        return Ok(());
    }
    let (all, troubles) = runs(x, policies, s, w.object).await;
    let mut denied: Option<(String, String)> = None;
    let mut deny = |policy: &str, binding: Option<&str>, message: &str, reason: &str| {
        let with = binding.map(|b| format!(" with binding '{b}'")).unwrap_or_default();
        let text = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {message}");
        denied.get_or_insert_with(|| (text, reason.to_owned()));
    };
    for t in troubles.iter().filter(|t| !t.policy.ignore) {
        deny(&t.policy.name, t.binding.map(|b| b.name.as_str()), &t.message, "");
    }
    let namespace = if all.is_empty() { Value::Null } else { namespace(x, s)? };
    let mut failures = Vec::new();
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in &all {
        let views = s.views(w.object, &run.invocation.kind).await?;
        let (policy, binding) = (run.policy, run.binding);
        for params in &run.params {
            let outcome = evaluate(x, s, run, &views, params, &namespace);
            let action = match (outcome.denials.is_empty() && outcome.errors.is_empty(), binding.deny, binding.warn) {
                (true, ..) => "allow",
                (_, true, _) => "deny",
                (_, _, true) => "warn",
                _ => "audit",
            };
            let labels =
                [("enforcement_action", action), ("policy", policy.name.as_str()), ("policy_binding", &binding.name)];
            x.counts.add(Count::Validation, &labels);
            for denial in outcome.denials {
                if binding.deny {
                    deny(&policy.name, Some(&binding.name), &denial.message, &denial.reason);
                }
                if binding.audit {
                    failures.push(json!({
                        "message": denial.message, "policy": policy.name, "binding": binding.name,
                        "expressionIndex": denial.index,
                        "validationActions": actions(binding.deny, binding.warn, binding.audit),
                    }));
                }
                if binding.warn {
                    w.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, denial.message
                    ));
                }
            }
            for error in outcome.errors {
                deny(&policy.name, Some(&binding.name), &error, "");
            }
            for (key, value) in outcome.annotations {
                let values = notes.entry(format!("{}/{key}", policy.name)).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
    }
    if is_recorded() {
        for (key, values) in notes {
            annotate(&key, &values.join(", "));
        }
        if !failures.is_empty() {
            annotate("validation.policy.admission.k8s.io/validation_failure", &Value::from(failures).to_string());
        }
    }
    match denied {
        None => Ok(()),
        Some((message, reason)) => Err(refusal(w, message, &reason)),
    }
}

fn actions(deny: bool, warn: bool, audit: bool) -> Vec<&'static str> {
    let all = [("Deny", deny), ("Warn", warn), ("Audit", audit)];
    all.into_iter().filter(|(_, does)| *does).map(|(name, _)| name).collect()
}

fn refusal(w: &Write<'_>, message: String, reason: &str) -> Status {
    let mut status = w.refuse(&message);
    status.reason = match reason {
        "Forbidden" => Reason::Forbidden,
        "Unauthorized" => Reason::Unauthorized,
        "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
        _ => Reason::Invalid,
    };
    status.code = status.reason.code();
    status.causes.push(Cause { reason: String::new(), message, field: String::new() });
    status
}

fn evaluate(x: &Extensions, s: &Scene<'_>, run: &Run<'_>, views: &Views, params: &Value, namespace: &Value) -> Outcome {
    let policy: &Compiled = run.policy;
    let request = Value::Object(s.request(&run.invocation));
    let trees = Trees { object: &views.object, old: &views.old, request: &request, params, namespace };
    let on = Bindings::new(trees, s, &x.authorizer, &policy.variables);
    let mut outcome = Outcome::default();
    match hold(&policy.conditions, &on, policy.ignore) {
        Ok(true) => {}
        Ok(false) => return outcome,
        Err(message) => {
            outcome.denials.push(Denial { index: 0, message, reason: String::new() });
            return outcome;
        }
    }
    let mut budget = Budget::new(OBJECT_LIMIT);
    for (index, v) in policy.validations.iter().enumerate() {
        let denial = match v.expression.evaluate(&on, &mut budget) {
            Ok(cel::Value::Bool(true)) => continue,
            Err(_) if policy.ignore => continue,
            Err(message) => Denial { index, message, reason: String::new() },
            Ok(_) => {
                let made = v.made.as_ref().and_then(|e| e.evaluate(&on, &mut budget).ok());
                let made = match made {
                    Some(cel::Value::String(text)) => text.trim().to_owned(),
                    _ => String::new(),
                };
                let message = match made {
                    m if !m.is_empty() && m.len() <= LONGEST_MESSAGE && !m.contains('\n') => m,
                    _ if !v.message.is_empty() => v.message.clone(),
                    _ => format!("failed expression: {}", v.expression.text.trim()),
                };
                Denial { index, message, reason: v.reason.clone() }
            }
        };
        outcome.denials.push(denial);
    }
    for (key, expression) in &policy.annotations {
        match expression.evaluate(&on, &mut budget) {
            Ok(cel::Value::String(text)) => {
                let mut text = text.trim().to_owned();
                if text.len() > LONGEST_ANNOTATION {
                    text.truncate(text.floor_char_boundary(LONGEST_ANNOTATION));
                }
                if !text.is_empty() {
                    outcome.annotations.push((key.clone(), text));
                }
            }
            Ok(cel::Value::Null) => {}
            Ok(other) => outcome.errors.extend((!policy.ignore).then(|| {
                format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    expression.text,
                    other.type_name()
                )
            })),
            Err(e) => outcome.errors.extend((!policy.ignore).then_some(e)),
        }
    }
    outcome
}
