//! The expressions of webhooks and policies, compiled before they are accepted.

use std::collections::HashSet;

use serde_json::Value;

use crate::cel::{Environment, RESERVED, Type, Wanted};
use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, text};
use crate::names;

const MOST_CONDITIONS: usize = 64;
const MOST_ANNOTATIONS: usize = 20;
/// `maxAuditAnnotationValueExpressionLength`
const LONGEST_ANNOTATION: usize = 5 * 1024;

/// What the expressions of an object see.
pub(super) fn environment(params: bool) -> Environment<'static> {
    let e = Environment::new(Type::Dyn).with_authorizer();
    if params { e.with_params(Type::Dyn) } else { e }
}

fn compile(errors: &mut Vec<Error>, path: &Path, e: &Environment<'_>, expression: &str, wanted: Wanted) {
    if let Err(why) = e.compile(expression, wanted) {
        errors.push(Error::invalid(path, expression, why));
    }
}

/// `matchConditions`
pub(super) fn conditions(errors: &mut Vec<Error>, path: &Path, owner: &Value, e: &Environment<'_>) {
    let list = &path.child("matchConditions");
    let all = items(owner, "matchConditions");
    if all.len() > MOST_CONDITIONS {
        errors.push(Error::too_many(list, all.len(), MOST_CONDITIONS));
    }
    let mut seen = HashSet::new();
    for (i, condition) in all.iter().enumerate() {
        let path = &list.index(i);
        match text(condition, "expression").trim() {
            "" => errors.push(Error::required(&path.child("expression"), "")),
            expression => compile(errors, &path.child("expression"), e, expression, Wanted::Bool),
        }
        let (name, at) = (text(condition, "name"), &path.child("name"));
        if name.is_empty() {
            errors.push(Error::required(at, ""));
        } else {
            errors.extend(names::qualified_name(name).into_iter().map(|e| Error::invalid(at, name, e)));
            if !seen.insert(name) {
                errors.push(Error::duplicate(at, name));
            }
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

/// `variables`: each is known to what follows.
pub(super) fn variables<'a>(
    errors: &mut Vec<Error>,
    path: &Path,
    spec: &Value,
    mut e: Environment<'a>,
) -> Environment<'a> {
    let all = items(spec, "variables");
    if !all.is_empty() {
        e = e.with_variables();
    }
    let list = &path.child("variables");
    for (i, variable) in all.iter().enumerate() {
        let path = &list.index(i);
        let (name, at) = (text(variable, "name"), &path.child("name"));
        if name.trim().is_empty() {
            errors.push(Error::required(at, "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(Error::invalid(at, name, "name is not a valid CEL identifier"));
        }
        let (expression, at) = (text(variable, "expression"), &path.child("expression"));
        if expression.trim().is_empty() {
            errors.push(Error::required(at, "expression is not specified"));
            continue;
        }
        match e.compile(expression, Wanted::Any) {
            Ok(compiled) => e.variable(name, compiled.result),
            Err(why) => {
                errors.push(Error::invalid(at, expression, why));
                e.variable(name, Type::Dyn);
            }
        }
    }
    e
}

/// `validations` and `auditAnnotations`, of which there must be something.
pub(super) fn validations(errors: &mut Vec<Error>, path: &Path, object: &Value, e: &Environment<'_>) {
    let spec = &object["spec"];
    let (all, annotations) = (items(spec, "validations"), items(spec, "auditAnnotations"));
    let list = &path.child("validations");
    let notes = &path.child("auditAnnotations");
    if all.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.extend([Error::required(list, why), Error::required(notes, why)]);
    }
    let plain = e.without_authorizer();
    for (i, validation) in all.iter().enumerate() {
        validate(errors, &list.index(i), validation, e, &plain);
    }
    if annotations.len() > MOST_ANNOTATIONS {
        let why = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.push(Error::invalid(notes, spec["auditAnnotations"].clone(), why));
    }
    let mut seen = HashSet::new();
    for (i, note) in annotations.iter().enumerate() {
        let path = &notes.index(i);
        let (name, key, at) = (text(&object["metadata"], "name"), text(note, "key"), &path.child("key"));
        if name.is_empty() {
            errors.push(Error::invalid(at, key, "requires metadata.name be non-empty"));
        } else {
            let full = format!("{name}/{key}");
            errors.extend(names::qualified_name(&full).into_iter().map(|e| Error::invalid(at, full.as_str(), e)));
        }
        let at = &path.child("valueExpression");
        match text(note, "valueExpression").trim() {
            "" => errors.push(Error::required(at, "valueExpression is not specified")),
            e if e.len() > LONGEST_ANNOTATION => {
                let why = format!("must not exceed {LONGEST_ANNOTATION} bytes in length");
                errors.push(Error::required(at, &why));
            }
            expression => compile(errors, at, e, expression, Wanted::StringOrNull),
        }
        if !seen.insert(key) {
            errors.push(Error::duplicate(&path.child("key"), key));
        }
    }
}

fn validate(errors: &mut Vec<Error>, path: &Path, v: &Value, e: &Environment<'_>, plain: &Environment<'_>) {
    match text(v, "expression") {
        t if t.trim().is_empty() => {
            errors.push(Error::required(&path.child("expression"), "expression is not specified"));
        }
        expression => compile(errors, &path.child("expression"), e, expression, Wanted::Bool),
    }
    let (made, at) = (text(v, "messageExpression"), &path.child("messageExpression"));
    if !made.is_empty() && made.trim().is_empty() {
        errors.push(Error::invalid(at, made, "must be non-empty if specified"));
    } else if !made.is_empty() {
        compile(errors, at, plain, made, Wanted::String);
    }
    let (message, at) = (text(v, "message"), &path.child("message"));
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(Error::invalid(at, message, "message must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(Error::invalid(at, message, "message must not contain line breaks"));
    }
    const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    let reason = text(v, "reason");
    if has(v, "reason") && !REASONS.contains(&reason) {
        errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
    }
}

/// `mutations` of a mutating policy.
pub(super) fn mutations(errors: &mut Vec<Error>, path: &Path, spec: &Value, e: Environment<'_>) {
    let all = items(spec, "mutations");
    let list = &path.child("mutations");
    if all.is_empty() {
        errors.push(Error::required(list, "mutations must contain at least one item"));
    }
    let e = e.with_patches();
    for (i, mutation) in all.iter().enumerate() {
        let path = &list.index(i);
        const TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];
        let of_type = text(mutation, "patchType");
        let (key, other, wanted) = match of_type {
            "" => {
                errors.push(Error::required(&path.child("patchType"), ""));
                continue;
            }
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Wanted::Object),
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Wanted::Patches),
            unknown => {
                errors.push(Error::not_supported(&path.child("patchType"), unknown, &TYPES));
                continue;
            }
        };
        if has(mutation, other) {
            let why = format!("must not be specified when patchType is {of_type}");
            errors.push(Error::invalid(&path.child(other), mutation[other].clone(), why));
        }
        let at = &path.child(key);
        if !has(mutation, key) {
            errors.push(Error::required(at, &format!("must be specified when patchType is {of_type}")));
            continue;
        }
        match text(&mutation[key], "expression") {
            t if t.trim().is_empty() => {
                errors.push(Error::required(&at.child("expression"), "expression is not specified"));
            }
            expression => compile(errors, &at.child("expression"), &e, expression, wanted),
        }
    }
}
