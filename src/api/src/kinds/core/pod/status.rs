//! `podStatusStrategy`: what an update of a pod's status may say.

use std::collections::HashMap;

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, items_mut, number, same, some, text};
use crate::names;
use crate::strategy::set;

/// `preserveOldObservedGeneration`: what a client that does not know the field leaves out stays.
pub(super) fn keep_observed(new: &mut Value, old: &Value) {
    let keep = |v: &mut Value, was: i64| {
        if v.is_object() && number(v, "observedGeneration") == 0 && was != 0 {
            set(v, "observedGeneration", Some(was.into()));
        }
    };
    keep(new, number(old, "observedGeneration"));
    let mut known: HashMap<&str, Vec<i64>> = HashMap::new();
    for c in items(old, "conditions").iter().rev() {
        known.entry(text(c, "type")).or_default().push(number(c, "observedGeneration"));
    }
    for c in items_mut(new, "conditions") {
        let was = known.get_mut(text(c, "type")).and_then(Vec::pop).unwrap_or(0);
        keep(c, was);
    }
}

/// `ValidatePodStatusUpdate`
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (status, was, spec, path) = (&new["status"], &old["status"], &old["spec"], &Path::root("status"));
    let conditions = path.child("conditions");
    for (i, c) in items(status, "conditions").iter().enumerate() {
        let kind = text(c, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let at = conditions.index(i);
            errors.extend(names::qualified_name(kind).iter().map(|e| Error::invalid(&at.child("Type"), kind, e)));
        }
    }
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(was, "nominatedNodeName") {
        let wrong = names::dns_subdomain(nominated, false);
        errors.extend(wrong.iter().map(|e| Error::invalid(&path.child("nominatedNodeName"), nominated, e)));
    }
    if !text(was, "qosClass").is_empty() && !same(&status["qosClass"], &was["qosClass"]) {
        errors.push(Error::invalid(&path.child("qosClass"), status["qosClass"].clone(), "field is immutable"));
    }
    for (statuses, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        let (now, before, at) = (items(status, statuses), items(was, statuses), path.child(statuses));
        for (i, before) in before.iter().enumerate() {
            let name = text(before, "name");
            let Some(ended) = some(&before["state"], "terminated") else { continue };
            let container = items(spec, containers).iter().find(|c| text(c, "name") == name);
            if !containers.is_empty() && may_restart(spec, container, number(ended, "exitCode")) {
                continue;
            }
            if now.iter().any(|c| text(c, "name") == name && !has(&c["state"], "terminated")) {
                let detail = "may not be transitioned to non-terminated state";
                errors.push(Error::forbidden(&at.index(i).child("state"), detail));
            }
        }
    }
    errors
}

/// Whether a container that ended may run again: by its pod's policy, its own, or a rule of either.
fn may_restart(spec: &Value, container: Option<&Value>, code: i64) -> bool {
    let rules = |c: &Value| !items(c, "restartPolicyRules").is_empty();
    let all = || items(spec, "containers").iter().chain(items(spec, "initContainers"));
    let whole = |c: &Value| items(c, "restartPolicyRules").iter().any(|r| text(r, "action") == "RestartAllContainers");
    let own = container.map_or("", |c| text(c, "restartPolicy"));
    let policy = if own.is_empty() { text(spec, "restartPolicy") } else { own };
    match policy {
        "Never" => container.is_some_and(rules) || all().any(whole),
        "OnFailure" => code != 0 || container.is_some_and(rules) || all().any(whole),
        // a stored pod has one of the three
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(policy: &str, state: Value) -> Value {
        json!({"spec": {"restartPolicy": policy, "containers": [{"name": "a"}],
                "initContainers": [{"name": "side", "restartPolicy": "Always"}]},
            "status": {"qosClass": "Burstable", "containerStatuses": [{"name": "a", "state": state}],
                "initContainerStatuses": [{"name": "side", "state": state}]}})
    }

    #[test]
    fn what_has_ended_stays_so_where_nothing_may_start_it_again() {
        let ended = |code: i64| json!({"terminated": {"exitCode": code}});
        for (policy, code, allowed) in
            [("Always", 0, true), ("OnFailure", 1, true), ("OnFailure", 0, false), ("Never", 1, false)]
        {
            let errors = validate(&pod(policy, json!({"running": {}})), &pod(policy, ended(code)));
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let no = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
            assert_eq!(errors, if allowed { vec![] } else { vec![no] }, "{policy} {code}");
            assert!(validate(&pod(policy, ended(3)), &pod(policy, ended(code))).is_empty());
        }
    }

    #[test]
    fn classes_names_and_conditions_are_checked() {
        let old = pod("Always", json!({}));
        for (key, value, want) in [
            ("qosClass", json!("BestEffort"), r#"status.qosClass: Invalid value: "BestEffort": field is immutable"#),
            ("nominatedNodeName", json!("_"), "status.nominatedNodeName: Invalid value"),
            ("conditions", json!([{"type": "a b"}]), "status.conditions[0].Type: Invalid value"),
            ("conditions", json!([{"type": "Ready"}, {"type": "example.com/x"}]), ""),
        ] {
            let mut new = old.clone();
            new["status"][key] = value;
            let errors: Vec<String> = validate(&new, &old).iter().map(ToString::to_string).collect();
            assert!(errors.iter().all(|e| e.starts_with(want)), "{errors:?}");
            assert_eq!(errors.is_empty(), want.is_empty(), "{key}");
        }
    }

    #[test]
    fn generations_that_a_client_does_not_know_stay() {
        let old =
            json!({"observedGeneration": 3, "conditions": [{"type": "A", "observedGeneration": 2}, {"type": "B"}]});
        let mut new = json!({"conditions": [{"type": "B"}, {"type": "A"}, {"type": "A"}]});
        keep_observed(&mut new, &old);
        assert_eq!(
            new,
            json!({"observedGeneration": 3, "conditions": [{"type": "B"}, {"type": "A", "observedGeneration": 2}, {"type": "A"}]})
        );
        let mut newer = json!({"observedGeneration": 4});
        keep_observed(&mut newer, &old);
        assert_eq!(newer["observedGeneration"], 4);
    }
}
