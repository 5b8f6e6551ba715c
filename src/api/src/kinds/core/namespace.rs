//! Namespaces. `…/finalize` is the API server's: [`prepare_finalize`].

use serde_json::{Value, json};

use crate::field;
use crate::kinds::table::name;
use crate::kinds::tree::{ensure, made, or_zero, text};
use crate::strategy::{AGE, Column, NAME, age, copy, set};
use crate::{Strategy, names};

pub(super) struct Namespace;

impl Strategy for Namespace {
    fn default(&self, namespace: &mut Value) {
        let its_name = text(&namespace["metadata"], "name").to_owned();
        if let Some(metadata) = namespace.get_mut("metadata").filter(|_| !its_name.is_empty())
            && let Some(labels) = ensure(metadata, "labels")
        {
            labels.insert("kubernetes.io/metadata.name".into(), its_name.into());
        }
        if let Some(status) = made(namespace, "status") {
            or_zero(status, "phase", "Active");
        }
    }

    /// Also labels it where the name came from `generateName`.
    fn prepare_create(&self, namespace: &mut Value) {
        set(namespace, "status", Some(json!({"phase": "Active"})));
        self.default(namespace);
        let Some(spec) = made(namespace, "spec") else { return };
        let mut finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|f| f == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        spec["finalizers"] = finalizers.into();
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        let finalizers = old["spec"].get("finalizers").cloned();
        if let Some(spec) = made(new, "spec") {
            set(spec, "finalizers", finalizers);
        }
        copy(new, old, "status");
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let path = field::Path::root("status");
        let deleting = !new["metadata"]["deletionTimestamp"].is_null();
        let phase = text(&new["status"], "phase");
        match (deleting, phase) {
            (true, "Terminating") | (false, "Active" | "") => Vec::new(),
            (true, _) => vec![field::Error::invalid(
                &path.child("Phase"),
                phase,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )],
            (false, _) => vec![field::Error::invalid(
                &path.child("Phase"),
                phase,
                "may only be 'Active' if `deletionTimestamp` is empty",
            )],
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Status", "string"), AGE] }
    }
    fn cells(&self, namespace: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(namespace), text(&namespace["status"], "phase").into(), age(namespace, now_seconds)]
    }
}

/// What an update of `…/finalize` may not touch: all but `spec.finalizers`.
pub fn prepare_finalize(new: &mut Value, old: &Value) {
    copy(new, old, "status");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_active_labelled_and_finalized() {
        let mut ns = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        Namespace.default(&mut ns);
        Namespace.prepare_create(&mut ns);
        assert_eq!(
            ns,
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        );
    }
}
