//! `ValidatePodSpec`.

use serde_json::Value;

use super::{affinity, annotations, claims, container, volumes, whole};
use crate::field::{Error, Path};
use crate::kinds::core::taint;
use crate::kinds::metadata;
use crate::kinds::tree::{entries, has, items, number, some, text};
use crate::{kinds::net, names};

pub(super) fn validate(pod: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    validate_spec(&mut errors, &path, &pod["spec"], annotations::is_mirror(pod));
    whole::validate_of_pod(&mut errors, &path, &pod["spec"]);
    errors
}

/// `ValidatePodTemplateSpec`
pub(crate) fn validate_template(errors: &mut Vec<Error>, path: &Path, template: &Value) {
    metadata::labels(errors, &path.child("labels"), entries(&template["metadata"], "labels"));
    metadata::annotations(errors, &path.child("annotations"), &template["metadata"]);
    annotations::validate(errors, &path.child("annotations"), template, None);
    let spec = path.child("spec");
    validate_spec(errors, &spec, &template["spec"], false);
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

fn validate_spec(errors: &mut Vec<Error>, path: &Path, spec: &Value, of_mirror: bool) {
    volumes::validate(errors, &path.child("volumes"), items(spec, "volumes"));
    claims::validate(errors, path, spec, of_mirror);
    container::validate_all(errors, path, spec);
    whole::pod_resources(errors, path, spec);
    container::host_network_ports(errors, path, spec);
    let policies = &["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), text(spec, "restartPolicy"), policies);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, &path.child("dnsPolicy"), text(spec, "dnsPolicy"), policies);
    metadata::labels(errors, &path.child("nodeSelector"), entries(spec, "nodeSelector"));
    security_context(errors, &path.child("securityContext"), spec);
    affinity::validate(errors, path, spec);
    dns(errors, path, spec);
    let gates = path.child("readinessGates");
    for (i, gate) in items(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        check(errors, &gates.index(i).child("conditionType"), kind, names::qualified_name(kind));
    }
    scheduling_gates(errors, path, spec);
    affinity::spread(errors, &path.child("topologySpreadConstraints"), items(spec, "topologySpreadConstraints"));
    whole::host_users(errors, path, spec);
    whole::host_name(errors, path, spec);
    named(errors, path, spec, &[("serviceAccountName", names::dns_subdomain), ("nodeName", names::dns_subdomain)]);
    if let Some(n) = some(spec, "activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), n, detail));
    }
    named(errors, path, spec, &[("hostname", names::dns_label), ("subdomain", names::dns_label)]);
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
    let classes: &[(&str, Rule)] =
        &[("priorityClassName", names::dns_subdomain), ("runtimeClassName", names::dns_subdomain)];
    named(errors, path, spec, classes);
    let policy = text(spec, "preemptionPolicy");
    if !policy.is_empty() && !matches!(policy, "Never" | "PreemptLowerPriority") {
        let supported = &["PreemptLowerPriority", "Never"];
        errors.push(Error::not_supported(&path.child("preemptionPolicy"), policy, supported));
    }
    whole::overhead(errors, path, spec);
    if let Some(os) = some(spec, "os") {
        let supported = &["linux", "windows"];
        let (name, at) = (text(os, "name"), path.child("os"));
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if !supported.contains(&name) {
            errors.push(Error::not_supported(&at, name, supported));
        }
        whole::os(errors, path, spec);
    }
    whole::files_of_env(errors, path, spec);
}

type Rule = fn(&str, bool) -> Vec<String>;

/// Names that must be well formed where they are given.
fn named(errors: &mut Vec<Error>, path: &Path, spec: &Value, keys: &[(&str, Rule)]) {
    for (key, rule) in keys {
        let value = text(spec, key);
        if !value.is_empty() {
            check(errors, &path.child(key), value, rule(value, false));
        }
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
    let (config, at) = (&spec["dnsConfig"], path.child("dnsConfig"));
    let servers = items(config, "nameservers");
    if policy == "None" {
        if !has(spec, "dnsConfig") {
            return errors.push(Error::required(&at, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(Error::required(&at.child("nameservers"), detail));
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

/// `validatePodSpecSecurityContext`
fn security_context(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let context = &spec["securityContext"];
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &path.child(key), context, key);
    }
    let groups = path.child("supplementalGroups");
    for (i, gid) in items(context, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        if !(0..=i64::from(i32::MAX)).contains(&gid) {
            errors.push(Error::invalid(&groups.index(i), gid, "must be between 0 and 2147483647, inclusive"));
        }
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    sysctls(errors, &path.child("sysctls"), spec);
    one_of_some(errors, path, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    container::profile(errors, &path.child("seccompProfile"), &context["seccompProfile"], "seccomp");
    container::profile(errors, &path.child("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
    one_of_some(errors, path, context, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    one_of_some(errors, path, context, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
}

fn one_of_some(errors: &mut Vec<Error>, path: &Path, owner: &Value, key: &str, supported: &[&str]) {
    let value = text(owner, key);
    if has(owner, key) && !supported.contains(&value) {
        errors.push(Error::not_supported(&path.child(key), value, supported));
    }
}

/// `validateSysctls`: those of a namespace are not for pods that share it with the host.
fn sysctls(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    const REGEX: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let list = items(&spec["securityContext"], "sysctls");
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let part = |p: &str| {
        let b = p.as_bytes();
        edge(b.first()) && edge(b.last()) && b.iter().all(|c| edge(Some(c)) || matches!(c, b'-' | b'_'))
    };
    for (i, sysctl) in list.iter().enumerate() {
        let (name, at) = (text(sysctl, "name"), path.index(i));
        let at = at.child("name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > 253 || !name.split(['.', '/']).all(part) {
            let detail = format!("must have at most 253 characters and match regex {REGEX}");
            errors.push(Error::invalid(&at, name, detail));
        } else if list[..i].iter().any(|s| text(s, "name") == name) {
            errors.push(Error::duplicate(&at, name));
        }
        let dotted = name.replace('/', ".");
        let ipc =
            ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p)) || dotted == "kernel.sem";
        if dotted.starts_with("net.") && spec["hostNetwork"] == true {
            errors.push(Error::invalid(&at, name, "may not be specified when 'hostNetwork' is true"));
        } else if ipc && spec["hostIPC"] == true {
            errors.push(Error::invalid(&at, name, "may not be specified when 'hostIPC' is true"));
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
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
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
                "spec.hostNetwork: Forbidden: when `hostUsers` is false",
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
    fn what_is_wrong_is_all_that_is_said() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (
                |s| {
                    s["containers"][0]["restartPolicyRules"] =
                        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}])
                },
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ),
            (
                |s| {
                    s["containers"][0]["restartPolicy"] = json!("x");
                    s["containers"][0]["restartPolicyRules"] =
                        json!([{"action": "x"}, {"action": "Restart", "exitCodes": {"operator": "x"}}]);
                },
                "spec.containers[0].restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", \"OnFailure\"; spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"x\": supported values: \"Restart\", \"RestartAllContainers\"; spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified; spec.containers[0].restartPolicyRules[1].exitCodes.operator: Unsupported value: \"x\": supported values: \"In\", \"NotIn\"",
            ),
            (
                |s| s["initContainers"] = json!([{"name": "i", "image": "x", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]),
                "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
            ),
            (
                |s| s["initContainers"] = json!([{"name": "i", "image": "x"}, {"name": "j", "image": "x", "ports": [{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}]}]),
                "spec.initContainers[0].ports[1].hostPort: Duplicate value: \"TCP//1\"",
            ),
            (
                |s| {
                    s["containers"] =
                        json!([{"name": "a", "image": "x", "livenessProbe": {"exec": {}, "tcpSocket": {"port": 1}}}])
                },
                "spec.containers[0].livenessProbe.exec.command: Required value; spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            ),
            (
                |s| {
                    s["restartPolicy"] = json!("Never");
                    s["containers"][0]["resizePolicy"] =
                        json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
                },
                "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            ),
            (
                |s| s["containers"][0]["securityContext"] = json!({"procMount": "Unmasked"}),
                "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ),
            (
                |s| {
                    s["containers"][0]["securityContext"] = json!({"seccompProfile": {"type": "Unconfined", "localhostProfile": "x"},
                        "appArmorProfile": {"type": "x", "localhostProfile": "y"}})
                },
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: {\"localhostProfile\":\"x\",\"type\":\"Unconfined\"}: can only be set when seccomp type is Localhost; spec.containers[0].securityContext.appArmorProfile.type: Unsupported value: \"x\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
            ),
            (
                |s| {
                    s["resourceClaims"] =
                        json!([{"name": "b", "resourceClaimName": "x"}, {"name": "a", "resourceClaimName": "x"}]);
                    s["containers"][0]["resources"]["claims"] = json!([{"name": "a", "request": "r"}, {"name": "a", "request": "q"},
                        {"name": "a", "request": "r"}, {"name": "a"}, {"name": "c"}]);
                },
                "spec.containers[0].resources.claims[2]: Duplicate value: \"a/r\"; spec.containers[0].resources.claims[3]: Duplicate value: \"a\"; spec.containers[0].resources.claims[4]: Not found: \"c\": must be one of the names in pod.spec.resourceClaims: a, b",
            ),
            (
                |s| {
                    s["topologySpreadConstraints"] = json!([
                        {"maxSkew": 1, "topologyKey": "a b", "whenUnsatisfiable": "DoNotSchedule"},
                        {"maxSkew": 1, "topologyKey": "a b", "whenUnsatisfiable": "DoNotSchedule"}])
                },
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{a b, DoNotSchedule}\"",
            ),
            (
                |s| {
                    s["hostUsers"] = json!(false);
                    s["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
                    s["containers"][0]["volumeDevices"] = json!([{"name": "v", "devicePath": "/x"}]);
                },
                "spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false",
            ),
            (
                |s| {
                    s["hostNetwork"] = json!(true);
                    s["hostnameOverride"] = json!("h");
                },
                "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
            ),
            (
                |s| {
                    s["volumes"] = json!([{"name": "v", "hostPath": {"path": "/x"}}]);
                    let of = |volume: &str| json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": volume, "path": "p", "key": "k"}}});
                    s["containers"][0]["env"] = json!([of("v"), of("w")]);
                },
                "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"v\": referenced volume must be of type emptyDir; spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Not found: \"w\"",
            ),
            (
                |s| {
                    let of = |resource: &str| json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": "2"}}});
                    s["containers"][0]["env"] = json!([of("limits.hugepages-2Mi"), of("limits.cpu"), of("x"),
                        {"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "../x"}}}]);
                    s["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
                },
                "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.hugepages-2Mi\": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource; spec.containers[0].env[1].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource; spec.containers[0].env[2].valueFrom.resourceFieldRef.resource: Unsupported value: \"x\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"; spec.containers[0].env[3].valueFrom.fileKeyRef.key: Required value; spec.containers[0].env[3].valueFrom.fileKeyRef.path: Invalid value: \"../x\": must not contain '..'",
            ),
            (
                |s| {
                    s["os"] = json!({"name": "windows"});
                    s["resources"] = json!({"limits": {"cpu": "1"}});
                },
                "spec.resources: Forbidden: may not be set for a windows pod",
            ),
            (|s| s["os"] = json!({"name": ""}), "spec.os.name: Required value"),
            (
                |s| s["os"] = json!({"name": "x"}),
                "spec.os: Unsupported value: \"x\": supported values: \"linux\", \"windows\"",
            ),
            (
                |s| {
                    s["resources"] = json!({"limits": {"cpu": "1"}});
                    s["containers"][0]["resources"] = json!({"limits": {"memory": "1Gi"}});
                },
                "",
            ),
            (
                |s| {
                    s["resources"] = json!({"limits": {"cpu": "1"}, "claims": [{"name": "a"}]});
                    s["resourceClaims"] = json!([{"name": "a", "resourceClaimName": "x"}]);
                },
                "spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level",
            ),
            (
                |s| {
                    s["securityContext"] =
                        json!({"sysctls": [{"name": "kernel.sem"}, {"name": "kernel/sem"}, {"name": "kernel.sem"}]})
                },
                "spec.securityContext.sysctls[2].name: Duplicate value: \"kernel.sem\"",
            ),
            (
                |s| s["dnsPolicy"] = json!("None"),
                "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ),
            (
                |s| {
                    s["ephemeralContainers"] = json!([{"name": "e", "image": " x", "restartPolicy": "Always",
                        "targetContainerName": "f", "lifecycle": {}}])
                },
                "spec.ephemeralContainers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace; spec.ephemeralContainers[0].targetContainerName: Not found: \"f\"; spec.ephemeralContainers[0].restartPolicy: Forbidden: cannot be set for an Ephemeral Container; spec.ephemeralContainers[0].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
            ),
            (
                |s| {
                    s["activeDeadlineSeconds"] = json!(0);
                    s["tolerations"] = json!([{"key": "a b"}]);
                    s["resourceClaims"] = json!([{"name": "a"}]);
                    s["preemptionPolicy"] = json!("x");
                },
                "spec.resourceClaims[0]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`; spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive; spec.tolerations[0].key: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'); spec.preemptionPolicy: Unsupported value: \"x\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ),
        ];
        for (i, (change, want)) in cases.iter().enumerate() {
            assert_eq!(problems(change).join("; "), *want, "{i}");
        }
    }

    #[test]
    fn label_keys_become_requirements() {
        let made = |selector: Value| {
            let term = json!({"topologyKey": "z", "labelSelector": selector, "matchLabelKeys": ["a", "gone"], "mismatchLabelKeys": ["b"]});
            let spread = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, "matchLabelKeys": ["a"]});
            let mut pod = json!({"metadata": {"name": "p", "labels": {"a": "x", "b": "y"}}, "spec": {
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
                "topologySpreadConstraints": [spread], "containers": [{"name": "a", "image": "x"}]}});
            super::super::Pod.default(&mut pod);
            super::super::Pod.prepare_create(&mut pod);
            pod
        };
        let expression =
            |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
        let pod = made(json!({}));
        assert_eq!(
            pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"],
            json!({"matchExpressions": [expression("a", "In", "x"), expression("b", "NotIn", "y")]})
        );
        let selector = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"];
        assert_eq!(*selector, json!({"matchExpressions": [expression("a", "In", "x")]}));
        assert_eq!(validate(&pod), []);
        let texts: Vec<String> =
            validate(&made(json!({"matchLabels": {"a": "x"}}))).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0][0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector"#,
                r#"spec.topologySpreadConstraints[0][0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector"#,
            ]
        );
    }

    #[test]
    fn what_is_from_a_file_claims_nothing() {
        let mut pod = json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x"}], "resourceClaims": [{"name": "a"}]}});
        super::super::Pod.default(&mut pod);
        let errors: Vec<String> = validate(&pod).iter().map(ToString::to_string).collect();
        assert_eq!(errors, [": Forbidden: static pods do not support resource claims"]);
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
