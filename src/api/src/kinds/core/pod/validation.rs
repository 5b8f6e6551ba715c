//! `ValidatePodSpec`.

use serde_json::Value;

use super::{affinity, annotations, claims, container, volumes, whole};
use crate::field::{Error, Path};
use crate::kinds::core::taint;
use crate::kinds::tree::{entries, has, items, number, some, text};
use crate::kinds::{metadata, resources};
use crate::{kinds::net, names};

pub(super) fn validate(pod: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    validate_spec(&mut errors, &path, &pod["spec"]);
    container::validate_ephemeral(&mut errors, &path.child("ephemeralContainers"), &pod["spec"]);
    whole::validate_of_pod(&mut errors, &path, &pod["spec"]);
    errors
}

/// `ValidatePodTemplateSpec`
pub(crate) fn validate_template(errors: &mut Vec<Error>, path: &Path, template: &Value) {
    metadata::labels(errors, &path.child("labels"), entries(&template["metadata"], "labels"));
    metadata::annotations(errors, &path.child("annotations"), &template["metadata"]);
    annotations::validate(errors, &path.child("annotations"), template, None);
    let spec = path.child("spec");
    validate_spec(errors, &spec, &template["spec"]);
    if !items(&template["spec"], "ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(&spec.child("ephemeralContainers"), detail));
    }
}

/// Values of a list that each must be of a kind.
pub(super) fn check(errors: &mut Vec<Error>, path: &Path, value: &str, wrong: Vec<String>) {
    errors.extend(wrong.into_iter().map(|e| Error::invalid(path, value, e)));
}

fn one_of(errors: &mut Vec<Error>, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !supported.contains(&value) {
        errors.push(Error::not_supported(path, value, supported));
    }
}

fn validate_spec(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    volumes::validate(errors, &path.child("volumes"), items(spec, "volumes"));
    container::validate_all(errors, path, spec);
    let policies = &["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), text(spec, "restartPolicy"), policies);
    dns(errors, path, spec);
    metadata::labels(errors, &path.child("nodeSelector"), entries(spec, "nodeSelector"));
    security_context(errors, &path.child("securityContext"), spec);
    affinity::validate(errors, path, spec);
    claims::validate(errors, path, spec);
    whole::validate(errors, path, spec);
    let gates = path.child("readinessGates");
    for (i, gate) in items(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        check(errors, &gates.index(i).child("conditionType"), kind, names::qualified_name(kind));
    }
    for (key, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str, bool) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        let value = text(spec, key);
        if !value.is_empty() {
            check(errors, &path.child(key), value, rule(value, false));
        }
    }
    taint::validate_tolerations(errors, &path.child("tolerations"), items(spec, "tolerations"));
    let aliases = path.child("hostAliases");
    for (i, alias) in items(spec, "hostAliases").iter().enumerate() {
        let path = aliases.index(i);
        net::ip(errors, &path.child("ip"), text(alias, "ip"));
        let hosts = path.child("hostnames");
        for (j, host) in items(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            check(errors, &hosts.index(j), host, names::dns_subdomain(host, false));
        }
    }
    if let Some(n) = some(spec, "activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), n, detail));
    }
    scheduling_gates(errors, path, spec);
    let policy = text(spec, "preemptionPolicy");
    if !policy.is_empty() && !matches!(policy, "Never" | "PreemptLowerPriority") {
        let supported = &["PreemptLowerPriority", "Never"];
        errors.push(Error::not_supported(&path.child("preemptionPolicy"), policy, supported));
    }
    if let Some(os) = some(spec, "os") {
        let supported = &["linux", "windows"];
        let path = path.child("os");
        one_of(errors, &path.child("name"), text(os, "name"), supported);
    }
    if let Some(requirements) = some(spec, "resources") {
        resources::validate(errors, &path.child("resources"), requirements, resources::Of::Pod);
        whole::pod_resources(errors, &path.child("resources"), spec);
    }
}

fn scheduling_gates(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let gates = items(spec, "schedulingGates");
    let path = path.child("schedulingGates");
    for (i, gate) in gates.iter().enumerate() {
        let name = text(gate, "name");
        check(errors, &path.index(i), name, names::qualified_name(name));
        if gates[..i].iter().any(|g| text(g, "name") == name) {
            errors.push(Error::duplicate(&path.index(i), name));
        }
    }
}

fn dns(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let policy = text(spec, "dnsPolicy");
    let supported = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, &path.child("dnsPolicy"), policy, supported);
    let (config, at) = (&spec["dnsConfig"], path.child("dnsConfig"));
    let servers = items(config, "nameservers");
    if policy == "None" {
        if !has(spec, "dnsConfig") {
            errors.push(Error::required(&at, "must provide `dnsConfig` when `dnsPolicy` is None"));
        } else if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&at.child("nameservers"), detail));
        }
    }
    let path = at.child("nameservers");
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(Error::invalid(&path, config["nameservers"].clone(), detail));
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        net::ip(errors, &path.index(i), server);
    }
    let path = at.child("searches");
    let searches = items(config, "searches");
    if searches.len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.push(Error::invalid(&path, config["searches"].clone(), detail));
    }
    if searches.iter().filter_map(Value::as_str).map(str::len).sum::<usize>() + searches.len().saturating_sub(1) > 2048
    {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(Error::invalid(&path, config["searches"].clone(), detail));
    }
    for (i, search) in items(config, "searches").iter().filter_map(Value::as_str).enumerate() {
        let host = search.trim_end_matches('.').replace('_', "-");
        if search != "." {
            check(errors, &path.index(i), search, names::dns_subdomain(host.trim_matches('-'), false));
        }
    }
    let path = at.child("options");
    for (i, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(Error::required(&path.index(i), "must not be empty"));
        }
    }
}

fn security_context(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let context = &spec["securityContext"];
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &path.child(key), context, key);
    }
    let groups = path.child("supplementalGroups");
    for (i, gid) in items(context, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        if !(0..=i64::from(i32::MAX)).contains(&gid) {
            errors.push(Error::invalid(&groups.index(i), gid, "must be between 0 and 2147483647, inclusive"));
        }
    }
    container::profile(errors, &path.child("seccompProfile"), &context["seccompProfile"], "seccomp");
    container::profile(errors, &path.child("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
    sysctls(errors, &path.child("sysctls"), items(context, "sysctls"));
    let policy = text(context, "fsGroupChangePolicy");
    if !policy.is_empty() && !matches!(policy, "Always" | "OnRootMismatch") {
        let supported = &["Always", "OnRootMismatch"];
        errors.push(Error::not_supported(&path.child("fsGroupChangePolicy"), policy, supported));
    }
}

/// `validateSysctls`
fn sysctls(errors: &mut Vec<Error>, path: &Path, list: &[Value]) {
    const REGEX: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let part = |p: &str| {
        let b = p.as_bytes();
        edge(b.first()) && edge(b.last()) && b.iter().all(|c| edge(Some(c)) || matches!(c, b'-' | b'_'))
    };
    for (i, sysctl) in list.iter().enumerate() {
        let (name, at) = (text(sysctl, "name"), path.index(i));
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if name.len() > 253 || !name.split(['.', '/']).all(part) {
            let detail = format!("must have at most 253 characters and match regex {REGEX}");
            errors.push(Error::invalid(&at.child("name"), name, detail));
        } else if list[..i].iter().any(|s| text(s, "name").replace('/', ".") == name.replace('/', ".")) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
    }
}

/// A user or group id, where there is one.
pub(super) fn id(errors: &mut Vec<Error>, path: &Path, owner: &Value, key: &str) {
    let n = number(owner, key);
    if !(0..=i64::from(i32::MAX)).contains(&n) {
        errors.push(Error::invalid(path, n, "must be between 0 and 2147483647, inclusive"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;
    use serde_json::json;

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        change(&mut pod["spec"]);
        super::super::Pod.default(&mut pod);
        validate(&pod).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        assert_eq!(problems(|_| ()), Vec::<String>::new());
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (|s| s["containers"] = json!([]), "spec.containers: Required value"),
            (|s| s["containers"][0]["name"] = json!(""), "spec.containers[0].name: Required value"),
            (|s| s["containers"][0]["image"] = json!(""), "spec.containers[0].image: Required value"),
            (
                |s| s["containers"][0]["image"] = json!(" x"),
                r#"spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace"#,
            ),
            (
                |s| s["containers"].as_array_mut().unwrap().push(json!({"name": "a", "image": "y"})),
                r#"spec.containers[1].name: Duplicate value: "a""#,
            ),
            (
                |s| s["restartPolicy"] = json!("X"),
                r#"spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never""#,
            ),
            (
                |s| s["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/x"}]),
                r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#,
            ),
            (
                |s| s["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            ),
            (|s| s["volumes"] = json!([{"emptyDir": {}}]), "spec.volumes[0].name: Required value"),
            (
                |s| s["containers"][0]["ports"] = json!([{"containerPort": 0}]),
                "spec.containers[0].ports[0].containerPort: Required value",
            ),
            (
                |s| s["containers"][0]["livenessProbe"] = json!({}),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                |s| s["containers"][0]["env"] = json!([{"name": "A", "valueFrom": {}}]),
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ),
            (
                |s| s["securityContext"] = json!({"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "foo-"}]}),
                r#"spec.securityContext.sysctls[1].name: Invalid value: "foo-": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"#,
            ),
            (
                |s| s["tolerations"] = json!([{"operator": "Equal"}]),
                r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            ),
            (
                |s| {
                    s["hostUsers"] = json!(false);
                    s["hostNetwork"] = json!(true);
                },
                "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
            ),
            (
                |s| s["containers"][0]["resources"]["claims"] = json!([{"name": "gpu"}]),
                r#"spec.containers[0].resources.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty"#,
            ),
            (
                |s| s["resourceClaims"] = json!([{"name": "gpu"}]),
                r#"spec.resourceClaims[0]: Invalid value: {"name":"gpu"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"#,
            ),
            (
                |s| {
                    s["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway",
                    "minDomains": 2, "labelSelector": {}}])
                },
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ),
            (
                |s| {
                    s["containers"][0]["resizePolicy"] =
                        json!([{"resourceName": "disk", "restartPolicy": "NotRequired"}])
                },
                r#"spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory""#,
            ),
            (
                |s| s["volumes"] = json!([{"name": "d", "downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}]),
                r#"spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid""#,
            ),
        ];
        for (change, want) in cases {
            let got = problems(change);
            assert!(got.iter().any(|g| g == want), "want {want}\n got {got:?}");
        }
    }

    #[test]
    fn validating_a_pod_is_quick_enough_to_do_on_every_write() {
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "b"}]}]}});
        super::super::Pod.default(&mut pod);
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            assert!(validate(&pod).is_empty());
        }
        assert!(start.elapsed().as_millis() < 1000, "under a millisecond each even without optimisation");
    }
}
