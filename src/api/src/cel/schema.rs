//! The rules of a schema checked before they are accepted: types, and what they may cost.

use serde_json::Value as Json;

use super::{Program, Rule, Type};
use crate::crd::{Additional, List, Structural};
use crate::field::{Error, Path};

/// `StaticEstimatedCostLimit`
const RULE_LIMIT: u64 = 10_000_000;
/// `StaticEstimatedCRDCostLimit`
const SCHEMA_LIMIT: u64 = 100_000_000;
const REQUEST: u64 = 3 * 1024 * 1024;
const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are \
    declared)";
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks the rules of a schema.
pub fn check_schema(_raw: &Json, schema: &Structural, path: &Path, out: &mut Vec<Error>) {
    let mut total = 0;
    walk(schema, Place { root: true, times: 1, correlated: true }, path, &mut total, out);
    if total > SCHEMA_LIMIT {
        let why = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {} {HINT}",
            factor(total, SCHEMA_LIMIT)
        );
        out.push(Error::forbidden(path, &why));
    }
}

fn factor(cost: u64, limit: u64) -> String {
    let by = cost as f64 / limit as f64;
    if by > 100.0 { "more than 100x".into() } else { format!("{by:.1}x") }
}

#[derive(Clone, Copy)]
struct Place {
    root: bool,
    /// How often a value may be there in an object.
    times: u64,
    /// A value here has an old one.
    correlated: bool,
}

fn walk(s: &Structural, at: Place, path: &Path, total: &mut u64, out: &mut Vec<Error>) {
    let rules = &path.child("x-kubernetes-validations");
    for (i, rule) in s.rules.iter().enumerate() {
        check(rule, s, at, &rules.index(i), total, out);
    }
    for (name, p) in s.properties.iter() {
        walk(p, Place { root: false, ..at }, &path.child("properties").key(name), total, out);
    }
    let checks = s.checks.as_deref();
    if let Some(items) = &s.items {
        let max = checks.and_then(|c| c.max_items).unwrap_or(REQUEST / 3);
        let correlated = at.correlated && matches!(s.list, List::Map(_));
        let at = Place { root: false, times: at.times.saturating_mul(max), correlated };
        walk(items, at, &path.child("items"), total, out);
    }
    if let Additional::Schema(a) = &s.additional {
        let max = checks.and_then(|c| c.max_properties).unwrap_or(REQUEST / 6);
        let at = Place { root: false, times: at.times.saturating_mul(max), ..at };
        walk(a, at, &path.child("additionalProperties"), total, out);
    }
}

fn check(rule: &Rule, s: &Structural, at: Place, path: &Path, total: &mut u64, out: &mut Vec<Error>) {
    let of = Type::of(s, at.root);
    let old = if rule.optional_old_self { Type::Optional(Box::new(of.clone())) } else { of.clone() };
    let declared = [("self", of), ("oldSelf", old)];
    let rule_path = &path.child("rule");
    if rule.rule.trim().is_empty() {
        return out.push(Error::required(rule_path, "rule is not specified"));
    }
    if rule.message.contains('\n') {
        out.push(Error::invalid(&path.child("message"), &*rule.message, "message must not contain line breaks"));
    }
    if rule.rule.contains('\n') && rule.message.is_empty() {
        out.push(Error::required(&path.child("message"), "message must be specified if rule contains line breaks"));
    }
    if !rule.reason.is_empty() && !REASONS.contains(&&*rule.reason) {
        out.push(Error::not_supported(&path.child("reason"), &*rule.reason, &REASONS));
    }
    if !rule.field_path.is_empty() && !leads_somewhere(s, &rule.field_path) {
        let why = "fieldPath must be a valid path: does not refer to a valid field";
        out.push(Error::invalid(&path.child("fieldPath"), &*rule.field_path, why));
    }
    match Program::compile(&rule.rule, &declared) {
        Err(e) => out.push(Error::invalid(rule_path, &*rule.rule, format!("compilation failed: {e}"))),
        Ok(compiled) if !matches!(compiled.result, Type::Bool | Type::Dyn) => {
            out.push(Error::invalid(
                rule_path,
                &*rule.rule,
                "compilation failed: cel expression must evaluate to a bool",
            ));
        }
        Ok(compiled) => {
            if compiled.program.uses("oldSelf") {
                if !at.correlated {
                    let why = "oldSelf cannot be used on the uncorrelatable portion of the schema";
                    out.push(Error::invalid(rule_path, &*rule.rule, why));
                }
            } else if rule.optional_old_self {
                let why = "optionalOldSelf must not be set when oldSelf is not used";
                out.push(Error::invalid(&path.child("optionalOldSelf"), true, why));
            }
            budget(compiled.cost, at, rule_path, total, out);
        }
    }
    if !rule.message_expression.is_empty() {
        let path = &path.child("messageExpression");
        match Program::compile(&rule.message_expression, &declared) {
            Err(e) => {
                let why = format!("messageExpression compilation failed: {e}");
                out.push(Error::invalid(path, &*rule.message_expression, why));
            }
            Ok(c) if !matches!(c.result, Type::String(_) | Type::Dyn) => {
                let why = "messageExpression compilation failed: messageExpression must evaluate to a string";
                out.push(Error::invalid(path, &*rule.message_expression, why));
            }
            Ok(c) => budget(c.cost, at, path, total, out),
        }
    }
}

fn budget(cost: u64, at: Place, path: &Path, total: &mut u64, out: &mut Vec<Error>) {
    let all = cost.saturating_mul(at.times);
    if all > RULE_LIMIT {
        let why = format!("estimated rule cost exceeds budget by factor of {} {HINT}", factor(all, RULE_LIMIT));
        out.push(Error::forbidden(path, &why));
    }
    *total = total.saturating_add(all);
}

/// Whether a `fieldPath` (`.a.b['c']`) names a field of the schema.
fn leads_somewhere(s: &Structural, path: &str) -> bool {
    let (mut at, mut rest) = (s, path);
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            match quoted.split_once("']") {
                Some(found) => found,
                None => return false,
            }
        } else if let Some(field) = rest.strip_prefix('.') {
            field.split_at(field.find(['.', '[']).unwrap_or(field.len()))
        } else {
            return false;
        };
        match at.member(name) {
            Some(below) => at = below,
            None => return false,
        }
        rest = after;
    }
    true
}
