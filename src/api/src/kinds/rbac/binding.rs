//! Role bindings and cluster role bindings.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{child, items, items_mut, or_zero, same, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct Binding {
    pub cluster: bool,
}

const GROUP: &str = "rbac.authorization.k8s.io";

impl Strategy for Binding {
    fn default(&self, binding: &mut Value) {
        if let Some(role) = child(binding, "roleRef") {
            or_zero(role, "apiGroup", GROUP);
        }
        for subject in items_mut(binding, "subjects") {
            if matches!(text(subject, "kind"), "User" | "Group") {
                or_zero(subject, "apiGroup", GROUP);
            }
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, binding: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (role, at) = (&binding["roleRef"], Path::root("roleRef"));
        if text(role, "apiGroup") != GROUP {
            errors.push(field::Error::not_supported(&at.child("apiGroup"), text(role, "apiGroup"), &[GROUP]));
        }
        let kinds: &[&str] = if self.cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
        if !kinds.contains(&text(role, "kind")) {
            errors.push(field::Error::not_supported(&at.child("kind"), text(role, "kind"), kinds));
        }
        let its_name = text(role, "name");
        if its_name.is_empty() {
            errors.push(field::Error::required(&at.child("name"), ""));
        } else {
            let wrong = names::path_segment(its_name, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at.child("name"), its_name, e)));
        }
        let root = Path::root("subjects");
        for (i, subject) in items(binding, "subjects").iter().enumerate() {
            validate_subject(&mut errors, &root.index(i), subject);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["roleRef"], &old["roleRef"]) {
            return Vec::new();
        }
        vec![field::Error::invalid(&Path::root("roleRef"), new["roleRef"].clone(), "cannot change roleRef")]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Role", "string"),
                AGE,
                Column::wide("Users", "string"),
                Column::wide("Groups", "string"),
                Column::wide("ServiceAccounts", "string"),
            ]
        }
    }
    fn cells(&self, binding: &Value, now_seconds: i64) -> Vec<Value> {
        let role = &binding["roleRef"];
        let of = |kind: &str| {
            let found = items(binding, "subjects").iter().filter(|s| text(s, "kind") == kind).map(|s| {
                let its_name = text(s, "name");
                if kind == "ServiceAccount" { format!("{}/{its_name}", text(s, "namespace")) } else { its_name.into() }
            });
            Value::String(found.collect::<Vec<String>>().join(", "))
        };
        vec![
            name(binding),
            format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
            age(binding, now_seconds),
            of("User"),
            of("Group"),
            of("ServiceAccount"),
        ]
    }
}

/// `ValidateRoleBindingSubject`
fn validate_subject(errors: &mut Vec<field::Error>, path: &Path, subject: &Value) {
    let (kind, its_name, group) = (text(subject, "kind"), text(subject, "name"), text(subject, "apiGroup"));
    if its_name.is_empty() {
        errors.push(field::Error::required(&path.child("name"), ""));
    }
    match kind {
        "ServiceAccount" => {
            if !its_name.is_empty() {
                let wrong = names::dns_subdomain(its_name, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("name"), its_name, e)));
            }
            if !group.is_empty() {
                errors.push(field::Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if text(subject, "namespace").is_empty() {
                errors.push(field::Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(field::Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let kinds = &["ServiceAccount", "User", "Group"];
            errors.push(field::Error::not_supported(&path.child("kind"), other, kinds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::rbac::role::Role;
    use crate::kinds::workload::problems;
    use serde_json::json;

    #[test]
    fn rules_and_bindings_are_checked_in_upstreams_words() {
        let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, {"apiGroups": [""]},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
        assert_eq!(
            problems(&Role { cluster: false }, role),
            [
                "rules[1].verbs: Required value: verbs must contain at least one value",
                "rules[1].resources: Required value: resource rules must supply at least one resource",
                r#"rules[2].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#
            ]
        );
        let binding = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"},
            {"kind": "ServiceAccount", "name": "s"}]});
        assert_eq!(problems(&Binding { cluster: false }, binding.clone()), ["subjects[1].namespace: Required value"]);
        assert_eq!(
            problems(&Binding { cluster: true }, binding.clone())[0],
            r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#
        );
        let mut other = binding.clone();
        other["roleRef"]["name"] = json!("x");
        let error = &Binding { cluster: false }.validate_update(&other, &binding)[0];
        assert!(error.to_string().ends_with("cannot change roleRef"), "{error}");
        let row = Binding { cluster: false }.cells(&binding, 0);
        assert_eq!([&row[1], &row[3], &row[5]], ["Role/r", "u", "/s"]);
    }
}
