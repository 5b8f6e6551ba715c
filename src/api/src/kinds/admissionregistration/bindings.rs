//! `ValidatingAdmissionPolicyBinding` and `MutatingAdmissionPolicyBinding`.

use serde_json::Value;

use super::rules;
use crate::field::{Error, Path};
use crate::kinds::table::{UNSET, name};
use crate::kinds::tree::{child, has, items, text};
use crate::kinds::workload::validate_label_selector;
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Strategy, names};

pub(super) struct Binding {
    pub mutating: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child(object, "spec") {
            rules::default_match(spec, "matchResources");
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        let (policy, at) = (text(spec, "policyName"), &path.child("policyName"));
        if policy.is_empty() {
            errors.push(Error::required(at, ""));
        } else {
            let wrong = names::dns_subdomain(policy, false);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(at, policy, e)));
        }
        if has(spec, "paramRef") {
            param_ref(&mut errors, &path.child("paramRef"), &spec["paramRef"]);
        }
        if has(spec, "matchResources") {
            rules::validate_match(&mut errors, &path.child("matchResources"), &spec["matchResources"]);
        }
        if !self.mutating {
            actions(&mut errors, &path.child("validationActions"), spec);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("PolicyName", "string"), Column::new("ParamRef", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &object["spec"];
        let param = &spec["paramRef"];
        let shown = match (has(spec, "paramRef"), text(param, "namespace")) {
            (false, _) => UNSET.into(),
            (true, "") => text(param, "name").to_owned(),
            (true, namespace) => format!("{namespace}/{}", text(param, "name")),
        };
        vec![name(object), text(spec, "policyName").into(), shown.into(), age(object, now_seconds)]
    }
}

/// `validateParamRef`
fn param_ref(errors: &mut Vec<Error>, path: &Path, param: &Value) {
    let (name, selects) = (text(param, "name"), has(param, "selector"));
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let at = &path.child("name");
        errors.extend(names::path_segment(name, false).into_iter().map(|e| Error::invalid(at, name, e)));
        if selects {
            errors.push(Error::forbidden(at, both));
        }
    }
    if selects {
        validate_label_selector(errors, &path.child("selector"), &param["selector"]);
        if !name.is_empty() {
            errors.push(Error::forbidden(&path.child("selector"), both));
        }
    }
    if name.is_empty() && !selects {
        errors.push(Error::required(path, "one of name or selector must be specified"));
    }
    rules::one_of(errors, path, param, "parameterNotFoundAction", &["Deny", "Allow"], true);
}

/// `validateValidationActions`
fn actions(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    const KNOWN: [&str; 3] = ["Audit", "Deny", "Warn"];
    let all: Vec<&str> = items(spec, "validationActions").iter().filter_map(Value::as_str).collect();
    for (i, action) in all.iter().enumerate() {
        if !KNOWN.contains(action) {
            errors.push(Error::not_supported(&path.index(i), *action, &KNOWN));
        }
        if all[..i].contains(action) {
            errors.push(Error::duplicate(&path.index(i), *action));
        }
    }
    if all.contains(&"Deny") && all.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response \
                   and headers serves no purpose)";
        errors.push(Error::invalid(path, spec["validationActions"].clone(), why));
    }
    if all.is_empty() {
        errors.push(Error::required(path, "at least one validation action is required"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_name_a_policy_and_what_to_do() {
        let binding = Binding { mutating: false };
        let errors = |spec: Value| -> Vec<String> {
            let mut object = json!({"metadata": {"name": "b"}, "spec": spec});
            binding.default(&mut object);
            binding.validate(&object).iter().map(ToString::to_string).collect()
        };
        assert!(
            errors(json!({"policyName": "p", "validationActions": ["Deny", "Audit"], "matchResources": {}})).is_empty()
        );
        assert_eq!(
            errors(json!({"paramRef": {}})),
            [
                "spec.policyName: Required value",
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ]
        );
        assert_eq!(
            errors(json!({"policyName": "p", "validationActions": ["Deny"], "matchResources": {"matchPolicy": "x"}})),
            [r#"spec.matchResources.matchPolicy: Unsupported value: "x": supported values: "Equivalent", "Exact""#]
        );
        let both = errors(json!({"policyName": "p", "validationActions": ["Deny", "Warn", "Deny", "x"]}));
        assert_eq!(both.len(), 3, "{both:?}");
    }
}
