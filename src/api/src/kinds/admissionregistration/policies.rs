//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`.

use serde_json::Value;

use super::expressions;
use super::rules::{self, FAILURE_POLICIES, REINVOCATION_POLICIES, one_of};
use crate::field::{Error, Path};
use crate::kinds::conditions;
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{child, has, items, or, same, text};
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Strategy, names};

pub(super) struct Policy {
    pub mutating: bool,
}

impl Strategy for Policy {
    fn default(&self, object: &mut Value) {
        let Some(spec) = child(object, "spec") else { return };
        or(spec, "failurePolicy", "Fail");
        if self.mutating {
            or(spec, "reinvocationPolicy", "Never");
        }
        rules::default_match(spec, "matchConstraints");
    }
    fn has_status(&self) -> bool {
        !self.mutating
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        self.check(object, None)
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        self.check(new, Some(old))
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let status = &Path::root("status");
        let checking = status.child("typeChecking");
        let list = checking.child("expressionWarnings");
        for (i, w) in items(&new["status"]["typeChecking"], "expressionWarnings").iter().enumerate() {
            let at = list.index(i);
            if text(w, "warning").is_empty() {
                errors.push(Error::required(&at.child("warning"), ""));
            }
            if text(w, "fieldRef").trim().is_empty() {
                errors.push(Error::required(&at.child("fieldRef"), ""));
            }
        }
        conditions::validate(&mut errors, &status.child("conditions"), &new["status"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const KIND: Column = Column::new("ParamKind", "string");
        match self.mutating {
            true => const { &[NAME, Column::new("Mutations", "integer"), KIND, AGE] },
            false => const { &[NAME, Column::new("Validations", "integer"), KIND, AGE] },
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &object["spec"];
        let list = if self.mutating { "mutations" } else { "validations" };
        let kind = match has(spec, "paramKind") {
            true => format!("{}/{}", text(&spec["paramKind"], "apiVersion"), text(&spec["paramKind"], "kind")),
            false => UNSET.into(),
        };
        vec![name(object), items(spec, list).len().into(), kind.into(), age(object, now_seconds)]
    }
}

impl Policy {
    fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        one_of(&mut errors, path, spec, "failurePolicy", &FAILURE_POLICIES, true);
        let params = has(spec, "paramKind");
        if params {
            param_kind(&mut errors, &path.child("paramKind"), &spec["paramKind"]);
        }
        let at = &path.child("matchConstraints");
        if !has(spec, "matchConstraints") {
            errors.push(Error::required(at, ""));
        } else {
            rules::validate_match(&mut errors, at, &spec["matchConstraints"]);
            if items(&spec["matchConstraints"], "resourceRules").is_empty() {
                errors.push(Error::required(&at.child("resourceRules"), ""));
            }
        }
        let environment = expressions::environment(params);
        let unchanged = |key: &str| old.is_some_and(|o| same(&o["spec"][key], &spec[key]));
        if !(unchanged("paramKind") && unchanged("matchConditions")) {
            expressions::conditions(&mut errors, path, spec, &environment);
        }
        let environment = expressions::variables(&mut errors, path, spec, environment);
        if self.mutating {
            expressions::mutations(&mut errors, path, spec, environment);
            one_of(&mut errors, path, spec, "reinvocationPolicy", &REINVOCATION_POLICIES, true);
        } else {
            expressions::validations(&mut errors, path, object, &environment);
        }
        errors
    }
}

/// `validateParamKind`
fn param_kind(errors: &mut Vec<Error>, path: &Path, of: &Value) {
    let (version, at) = (text(of, "apiVersion"), &path.child("apiVersion"));
    let mut refuse = |value: &str, why: &str| errors.push(Error::invalid(at, value, why));
    match version.split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.push(Error::required(at, "")),
        parts @ ([_] | [_, _]) => {
            let (group, version_name) = if let [group, v] = parts { (*group, *v) } else { ("", parts[0]) };
            if !group.is_empty() {
                let wrong = names::dns_subdomain(group, false);
                if !wrong.is_empty() {
                    refuse(group, &wrong.join(","));
                }
            }
            let wrong = names::dns1035_label(version_name, false);
            if version_name.is_empty() {
                refuse(version, "version must be specified");
            } else if !wrong.is_empty() {
                refuse(version_name, &wrong.join(","));
            }
        }
        _ => refuse(version, &format!("unexpected GroupVersion string: {version}")),
    }
    let (kind, at) = (text(of, "kind"), &path.child("kind"));
    let wrong = names::dns1035_label(&kind.to_lowercase(), false);
    if kind.is_empty() {
        errors.push(Error::required(at, ""));
    } else if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(Error::invalid(at, kind, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(mutating: bool, spec: Value) -> Vec<String> {
        let policy = Policy { mutating };
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
        policy.default(&mut object);
        policy.validate(&object).iter().map(ToString::to_string).collect()
    }

    fn matching() -> Value {
        json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]})
    }

    #[test]
    fn policies_that_hold() {
        assert_eq!(
            errors(
                false,
                json!({"matchConstraints": matching(), "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "Limit"},
                "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                "matchConditions": [{"name": "c", "expression": "params != null"}],
                "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}],
                "validations": [{"expression": "variables.n <= params.max", "messageExpression": "'most: ' + string(params.max)",
                    "reason": "Forbidden"}]})
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            errors(
                true,
                json!({"matchConstraints": matching(), "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.spec{replicas: 1}}"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec/x'}]"}}]})
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn policies_that_do_not() {
        let with = |extra: Value| {
            let mut spec = json!({"matchConstraints": matching(), "validations": [{"expression": "true"}]});
            for (k, v) in extra.as_object().unwrap() {
                spec[k] = v.clone();
            }
            errors(false, spec)
        };
        for (extra, want) in [
            (json!({"matchConstraints": null}), "spec.matchConstraints: Required value"),
            (json!({"matchConstraints": {}}), "spec.matchConstraints.resourceRules: Required value"),
            (
                json!({"validations": []}),
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            ),
            (
                json!({"validations": [{"expression": "object.x >"}]}),
                "spec.validations[0].expression: Invalid value: \"object.x >\": compilation failed: ERROR: <input>:1:11: Syntax error",
            ),
            (
                json!({"validations": [{"expression": "params.x"}]}),
                "undeclared reference to 'params' (in container '')",
            ),
            (
                json!({"validations": [{"expression": "1"}]}),
                "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
            ),
            (
                json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
                "must evaluate to string but got int",
            ),
            (
                json!({"validations": [{"expression": "true", "reason": "Nope"}]}),
                "supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ),
            (
                json!({"variables": [{"name": "while", "expression": "1"}]}),
                "spec.variables[0].name: Invalid value: \"while\": name is not a valid CEL identifier",
            ),
            (json!({"failurePolicy": "x"}), "spec.failurePolicy: Unsupported value: \"x\""),
            (json!({"paramKind": {"apiVersion": "a/b/c", "kind": "K"}}), "unexpected GroupVersion string: a/b/c"),
            (
                json!({"matchConditions": [{"name": "", "expression": "true"}]}),
                "spec.matchConditions[0].name: Required",
            ),
        ] {
            let got = with(extra.clone());
            assert!(got.iter().any(|e| e.contains(want)), "{extra}: {got:?}");
        }
        let got = errors(true, json!({"matchConstraints": matching(), "mutations": [{"patchType": "JSONPatch"}]}));
        assert_eq!(got, ["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"]);
    }

    #[test]
    fn the_status_of_a_policy_is_checked() {
        let status = json!({"typeChecking": {"expressionWarnings": [{"warning": "w"}, {"fieldRef": "x"}]},
            "conditions": [{"type": "a", "status": "True", "reason": "A"}]});
        let errors = Policy { mutating: false }.validate_status_update(&json!({ "status": status }), &json!({}));
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
                "status.typeChecking.expressionWarnings[1].warning: Required value",
                "status.conditions[0].lastTransitionTime: Required value: must be set",
            ]
        );
    }
}
