//! `podStatusStrategy`: what an update of a pod's status may say.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::annotations;
use super::container_status as containers;
use crate::field::{Error, Path};
use crate::kinds::net;
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
    annotations::validate_update(&mut errors, new, old);
    let conditions = path.child("conditions");
    for (i, c) in items(status, "conditions").iter().enumerate() {
        let (kind, at) = (text(c, "type"), conditions.index(i));
        observed(&mut errors, &at, c);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            errors.extend(names::qualified_name(kind).iter().map(|e| Error::invalid(&at.child("Type"), kind, e)));
        }
    }
    let (nominated, at) = (text(status, "nominatedNodeName"), path.child("nominatedNodeName"));
    if !nominated.is_empty() && nominated != text(was, "nominatedNodeName") {
        errors.extend(names::dns_subdomain(nominated, false).iter().map(|e| Error::invalid(&at, nominated, e)));
        if !text(spec, "nodeName").is_empty() {
            errors.push(Error::forbidden(&at, "may not be set on pods that are already bound to a node"));
        }
    }
    observed(&mut errors, path, status);
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
    claims(&mut errors, path, status, &new["spec"]);
    addresses(&mut errors, path, status, was, "podIPs");
    addresses(&mut errors, path, status, was, "hostIPs");
    containers::validate(&mut errors, path, status, &new["spec"]);
    errors
}

fn observed(errors: &mut Vec<Error>, path: &Path, of: &Value) {
    let n = number(of, "observedGeneration");
    if n < 0 {
        errors.push(Error::invalid(&path.child("observedGeneration"), n, "must be a non-negative integer"));
    }
}

/// `validatePodResourceClaimStatuses` and `validatePodExtendedResourceClaimStatus`
fn claims(errors: &mut Vec<Error>, path: &Path, status: &Value, spec: &Value) {
    let (all, list) = (items(status, "resourceClaimStatuses"), path.child("resourceClaimStatuses"));
    for (i, claim) in all.iter().enumerate() {
        let (name, at) = (text(claim, "name"), list.index(i));
        if !items(spec, "resourceClaims").iter().any(|c| text(c, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&at.child("name"), name, detail));
        }
        if all[..i].iter().any(|c| text(c, "name") == name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        if let Some(value) = some(claim, "resourceClaimName").and_then(Value::as_str) {
            let wrong = names::dns_subdomain(value, false);
            errors.extend(wrong.iter().map(|e| Error::invalid(&at.child("resourceClaimName"), value, e)));
        }
    }
    let Some(extended) = some(status, "extendedResourceClaimStatus") else { return };
    let path = path.child("extendedResourceClaimStatus");
    let (mappings, list) = (items(extended, "requestMappings"), path.child("requestMappings"));
    if mappings.is_empty() {
        errors.push(Error::required(&list, "at least one request mapping is required"));
    }
    const KEY: [&str; 3] = ["containerName", "resourceName", "requestName"];
    for (i, mapping) in mappings.iter().enumerate() {
        let at = list.index(i);
        let (container, resource, request) = (text(mapping, KEY[0]), text(mapping, KEY[1]), text(mapping, KEY[2]));
        let mut all = items(spec, "containers").iter().chain(items(spec, "initContainers"));
        match all.find(|c| text(c, "name") == container) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(Error::invalid(&at.child(KEY[0]), container, detail));
            }
            Some(c) if c["resources"]["requests"].get(resource).is_none() => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(Error::invalid(&at.child(KEY[1]), resource, detail));
            }
            Some(_) => {}
        }
        // upstream's path, one step short
        let wrong = names::dns_label(request, false);
        errors.extend(wrong.iter().map(|e| Error::invalid(&path.child(KEY[2]), request, e)));
        if mappings[..i].iter().any(|m| KEY.iter().all(|k| m[*k] == mapping[*k])) {
            errors.extend(KEY.iter().map(|k| Error::duplicate(&at.child(k), text(mapping, k))));
        }
    }
    match (text(extended, "resourceClaimName"), path.child("resourceClaimName")) {
        ("", at) => errors.push(Error::required(&at, "")),
        (name, at) => {
            errors.extend(names::dns_subdomain(name, false).iter().map(|e| Error::invalid(&at, name, e)));
        }
    }
}

/// `validatePodIPs` and `validateHostIPs`: each is one, of each family at most one, none twice. What was there may stay.
fn addresses(errors: &mut Vec<Error>, path: &Path, status: &Value, was: &Value, key: &str) {
    let (all, path) = (items(status, key), path.child(key));
    if all.is_empty() {
        return;
    }
    let ips: Vec<&str> = all.iter().map(|a| text(a, "ip")).collect();
    for (i, ip) in ips.iter().enumerate() {
        if !items(was, key).iter().any(|a| text(a, "ip") == *ip) {
            net::ip(errors, &path.index(i), ip);
        }
    }
    if ips.len() > 1 {
        let six = ips.iter().filter(|ip| ip.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6())).count();
        if ips.len() > 2 || six != 1 {
            let detail = "may specify no more than one IP for each IP family";
            errors.push(Error::invalid(&path, status[key].clone(), detail));
        }
        for i in (0..ips.len()).filter(|i| ips[..*i].contains(&ips[*i])) {
            errors.push(Error::duplicate(&path.index(i), all[i].clone()));
        }
    }
    if key == "hostIPs" && text(status, "hostIP") != ips[0] {
        errors.push(Error::invalid(&path.index(0).child("ip"), ips[0], "must be equal to `hostIP`"));
    }
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
            (
                "conditions",
                json!([{"type": "Ready", "observedGeneration": -1}]),
                "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
            ),
            (
                "observedGeneration",
                json!(-1),
                "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            ),
            ("podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]), ""),
            (
                "podIPs",
                json!([{"ip": "10.0.0.01"}]),
                r#"status.podIPs[0]: Invalid value: "10.0.0.01": must not have leading 0s"#,
            ),
            (
                "podIPs",
                json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]),
                r#"status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family"#,
            ),
            (
                "hostIPs",
                json!([{"ip": "10.0.0.1"}]),
                r#"status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to `hostIP`"#,
            ),
            (
                "resourceClaimStatuses",
                json!([{"name": "x"}]),
                r#"status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in `spec.resourceClaims`"#,
            ),
            (
                "extendedResourceClaimStatus",
                json!({"resourceClaimName": "c", "requestMappings": [{"containerName": "a", "resourceName": "x.io/y", "requestName": "r"}]}),
                r#"status.extendedResourceClaimStatus.requestMappings[0].resourceName: Invalid value: "x.io/y": must match the extended resource name"#,
            ),
            (
                "ephemeralContainerStatuses",
                json!([{"name": "e", "allocatedResourcesStatus": [{"name": "cpu"}]}]),
                "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
            ),
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
