//! The conditions of a definition.

use api::crd::names::Conflict;
use api::crd::{approval_condition, violations};
use api::{Status, Value};
use serde_json::json;

use super::modify;
use crate::Engine;
use crate::engine::meta;

/// What is to be said of a definition.
pub(super) struct Report {
    pub name: String,
    pub accepted: Value,
    pub conflict: Option<Conflict>,
    pub established: bool,
}

/// Sets a condition; the time tells when its status changed.
pub(crate) fn set(tree: &mut Value, kind: &str, status: bool, reason: &str, message: &str) {
    let status = if status { "True" } else { "False" };
    if !tree["status"]["conditions"].is_array() {
        tree["status"]["conditions"] = json!([]);
    }
    let Some(list) = tree["status"]["conditions"].as_array_mut() else { return };
    let now = meta::time(meta::now());
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(c) => {
            if c["status"] != status {
                c["lastTransitionTime"] = now.into();
            }
            c["status"] = status.into();
            c["reason"] = reason.into();
            c["message"] = message.into();
        }
        None => list.push(json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
        })),
    }
}

impl Report {
    pub async fn write(&self, engine: &Engine) -> Result<(), Status> {
        modify(engine, &self.name, |tree| {
            self.fill(tree);
            Ok(())
        })
        .await
    }

    fn fill(&self, tree: &mut Value) {
        if !tree["status"].is_object() {
            tree["status"] = json!({});
        }
        tree["status"]["acceptedNames"] = self.accepted.clone();
        match &self.conflict {
            None => {
                set(tree, "NamesAccepted", true, "NoConflicts", "no conflicts found");
                set(tree, "Established", true, "InitialNamesAccepted", "the initial names have been accepted");
            }
            Some(c) => {
                set(tree, "NamesAccepted", false, c.reason, &c.message);
                if !self.established {
                    set(tree, "Established", false, "NotAccepted", "not all names are accepted");
                }
            }
        }
        if let Some((status, reason, message)) = approval_condition(tree) {
            set(tree, "KubernetesAPIApprovalPolicyConformant", status, reason, &message);
        }
        let wrong = violations(&tree["spec"]);
        if wrong.is_empty() {
            if let Some(list) = tree["status"]["conditions"].as_array_mut() {
                list.retain(|c| c["type"] != "NonStructuralSchema");
            }
        } else {
            let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            let message = if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) };
            set(tree, "NonStructuralSchema", true, "Violations", &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_of_names() {
        let mut tree = json!({"spec": {"group": "g.io", "versions": []}});
        let accepted = json!({"plural": "ks", "kind": "K"});
        let report = Report { name: "ks.g.io".into(), accepted: accepted.clone(), conflict: None, established: false };
        report.fill(&mut tree);
        let shown = |tree: &Value| -> Vec<String> {
            let list = tree["status"]["conditions"].as_array().unwrap();
            list.iter().map(|c| format!("{}={}: {}", c["type"], c["status"], c["reason"]).replace('"', "")).collect()
        };
        assert_eq!(shown(&tree), ["NamesAccepted=True: NoConflicts", "Established=True: InitialNamesAccepted"]);
        assert_eq!(tree["status"]["acceptedNames"], accepted);
        let again = tree.clone();
        report.fill(&mut tree);
        assert_eq!(tree, again);
        let conflict = Some(Conflict { reason: "KindConflict", message: "\"K\" is already in use".into() });
        Report { conflict, established: true, ..report }.fill(&mut tree);
        assert_eq!(shown(&tree), ["NamesAccepted=False: KindConflict", "Established=True: InitialNamesAccepted"]);
    }
}
