//! `warningsForPodSpecAndMeta`: of pods and of what makes them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::storage::{PLUGINS, claim_spec, plugin_name};
use super::{deprecated_label, fractional, node_term};
use crate::field::Path;
use crate::kinds::tree::{entries, has, items, number, text};

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APPARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `pod` is a pod or a template, at `path`.
pub(super) fn warnings(out: &mut Vec<String>, path: &Path<'_>, pod: &Value, is_pod: bool) {
    let spec = &pod["spec"];
    let (spec_path, metadata) = (path.child("spec"), path.child("metadata"));
    placement(out, &spec_path, spec);
    let (annotations, own) = (metadata.child("annotations"), &pod["metadata"]["annotations"]);
    let noted = |out: &mut Vec<String>, key: &str, why: &str| {
        if has(own, key) {
            out.push(format!("{}: {why}", annotations.key(key)));
        }
    };
    ANNOTATIONS.iter().for_each(|(key, why)| noted(out, key, why));
    volumes(out, &spec_path, spec);
    repeated(out, &spec_path, spec);
    fractional(out, &spec_path.child("overhead"), &spec["overhead"], &BYTES);
    if !has(&spec["securityContext"], "seccompProfile") {
        noted(out, "seccomp.security.alpha.kubernetes.io/pod", SECCOMP);
    }
    let armored = has(&spec["securityContext"], "appArmorProfile");
    let mut ports = Ports::default();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let lists = spec_path.child(list);
        for (i, container) in items(spec, list).iter().enumerate() {
            let (path, context) = (lists.index(i), &container["securityContext"]);
            let name = text(container, "name");
            if !has(context, "seccompProfile") {
                noted(out, &format!("container.seccomp.security.alpha.kubernetes.io/{name}"), SECCOMP);
            }
            if !is_pod && !armored && !has(context, "appArmorProfile") {
                noted(out, &format!("container.apparmor.security.beta.kubernetes.io/{name}"), APPARMOR);
            }
            for amounts in ["limits", "requests"] {
                fractional(out, &path.child("resources").child(amounts), &container["resources"][amounts], &BYTES);
            }
            environment(out, &path.child("env"), items(container, "env"));
            ports.visit(&path.child("ports"), items(container, "ports"));
        }
    }
    out.append(&mut ports.said);
    if number(spec, "terminationGracePeriodSeconds") < 0 {
        let path = spec_path.child("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    let affinity = spec_path.child("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (path, own) = (affinity.child(kind), &spec["affinity"][kind]);
        for (list, within) in [(REQUIRED, None), (PREFERRED, Some("podAffinityTerm"))] {
            let path = path.child(list);
            for (i, term) in items(own, list).iter().enumerate() {
                let path = path.index(i);
                match within {
                    Some(within) => selector(out, &path.child(within), &term[within]),
                    None => selector(out, &path, term),
                }
            }
        }
    }
}

fn selector(out: &mut Vec<String>, path: &Path<'_>, term: &Value) {
    if !has(term, "labelSelector") {
        out.push(format!("{}: a null labelSelector results in matching no pod", path.child("labelSelector")));
    }
}

fn placement(out: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    for (key, _) in entries(spec, "nodeSelector") {
        out.extend(deprecated_label(key).map(|why| format!("{}: {why}", path.child("nodeSelector").key(key))));
    }
    let own = &spec["affinity"]["nodeAffinity"];
    if has(&spec["affinity"], "nodeAffinity") {
        let affinity = path.child("affinity");
        let affinity = affinity.child("nodeAffinity");
        let required = affinity.child(REQUIRED);
        let required = required.child("nodeSelectorTerms");
        for (i, term) in items(&own[REQUIRED], "nodeSelectorTerms").iter().enumerate() {
            node_term(out, &required.index(i), term, true);
        }
        let preferred = affinity.child(PREFERRED);
        for (i, term) in items(own, PREFERRED).iter().enumerate() {
            node_term(out, &preferred.index(i).child("preference"), &term["preference"], true);
        }
    }
    let spread = path.child("topologySpreadConstraints");
    for (i, constraint) in items(spec, "topologySpreadConstraints").iter().enumerate() {
        let (path, key) = (spread.index(i), text(constraint, "topologyKey"));
        out.extend(deprecated_label(key).map(|why| format!("{}: {key} is {why}", path.child("topologyKey"))));
        selector(out, &path, constraint);
    }
}

fn volumes(out: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let path = path.child("volumes");
    let all = items(spec, "volumes");
    for (i, volume) in all.iter().enumerate() {
        let path = path.index(i);
        let gone = PLUGINS.iter().chain(&[("gitRepo", "deprecated in v1.11")]).filter(|(field, _)| has(volume, field));
        out.extend(gone.map(|(field, why)| format!("{}: {why}", path.child(plugin_name(field)))));
        let template = &volume["ephemeral"]["volumeClaimTemplate"];
        claim_spec(out, &path.child("ephemeral").child("volumeClaimTemplate").child("spec"), &template["spec"]);
    }
    fn sources(volume: &Value) -> &[Value] {
        items(&volume["projected"], "sources")
    }
    let tokens: BTreeSet<&str> = all
        .iter()
        .flat_map(sources)
        .filter(|s| has(s, "serviceAccountToken"))
        .map(|s| text(&s["serviceAccountToken"], "path"))
        .collect();
    if tokens.is_empty() {
        return;
    }
    for (i, source) in all.iter().enumerate().flat_map(|(i, v)| sources(v).iter().map(move |s| (i, s))) {
        for (field, shown) in [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")] {
            for (j, item) in items(&source[field], "items").iter().enumerate() {
                let taken = text(item, "path");
                if tokens.contains(taken) {
                    out.push(format!(
                        "{}.projected.sources.{shown}[{j}]: has duplicated path with ServiceAccountToken {taken:?}",
                        path.index(i)
                    ));
                }
            }
        }
        let taken = text(&source["clusterTrustBundle"], "path");
        if tokens.contains(taken) {
            out.push(format!(
                "{}.projected.sources.ClusterTrustBundle: has duplicated path with ServiceAccountToken {taken:?}",
                path.index(i)
            ));
        }
    }
}

/// What is said twice where once is meant.
fn repeated(out: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let path = path.child(list);
        let mut seen = BTreeSet::new();
        for (i, item) in items(spec, list).iter().enumerate() {
            if !seen.insert(text(item, field)) {
                out.push(format!("{}: duplicate {field} {:?}", path.index(i).child(field), text(item, field)));
            }
        }
    }
    let path = path.child("imagePullSecrets");
    for (i, _) in items(spec, "imagePullSecrets").iter().enumerate().filter(|(_, s)| text(s, "name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", path.index(i).child("name")));
    }
}

fn environment(out: &mut Vec<String>, path: &Path<'_>, env: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, item) in env.iter().enumerate() {
        let (name, value) = (text(item, "name"), text(item, "value"));
        if seen.insert(name) {
            continue;
        }
        // X=$(X)more keeps what was there
        let own = format!("$({name})");
        if has(item, "valueFrom") || value == own || !value.contains(&own) {
            let path = path.index(i);
            out.push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

/// Where a port is said, and which of the host's it is: path, port, address.
type HostPort = (String, i64, String);

/// The ports of all containers of a pod, which share them.
#[derive(Default)]
struct Ports {
    /// By number and protocol.
    seen: HashMap<(i64, String), Vec<HostPort>>,
    said: Vec<String>,
}

impl Ports {
    fn visit(&mut self, path: &Path<'_>, ports: &[Value]) {
        for (i, port) in ports.iter().enumerate() {
            let path = path.index(i).to_string();
            let (host_ip, host_port) = (text(port, "hostIP").to_owned(), number(port, "hostPort"));
            let (number, protocol) = (number(port, "containerPort"), text(port, "protocol").to_owned());
            if !host_ip.is_empty() && host_port == 0 {
                let name = text(port, "name");
                self.said.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} \
                     Protocol:{protocol} HostIP:{host_ip}}}"
                ));
            }
            let others = self.seen.entry((number, protocol)).or_default();
            for (other, other_port, other_ip) in &*others {
                let what = if host_ip == *other_ip && host_port == *other_port {
                    "duplicate"
                } else if host_port == 0 || *other_port == 0 {
                    "overlapping"
                } else if host_port == *other_port && host_ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                self.said.push(format!("{path}: {what} port definition with {other}"));
            }
            others.push((path, host_port, host_ip));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_warned_of_in_upstreams_words() {
        let container = |c: Value| json!({"spec": {"containers": [c]}});
        for (pod, want) in [
            (
                container(
                    json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A"}]}),
                ),
                json!([
                    "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply"
                ]),
            ),
            (
                container(
                    json!({"ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "UDP"},
                    {"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "UDP", "hostPort": 5}]}),
                ),
                json!([
                    "spec.containers[0].ports[2]: duplicate port definition with spec.containers[0].ports[0]",
                    "spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[1]"
                ]),
            ),
            (
                container(json!({"resources": {"limits": {"memory": "100m", "cpu": "100m"}}})),
                json!([
                    "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer"
                ]),
            ),
            (
                json!({"spec": {"nodeSelector": {"node-role.kubernetes.io/master": ""}, "volumes": [{"gitRepo": {}}, {"storageos": {}}],
                    "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}], "terminationGracePeriodSeconds": -1}}),
                json!([
                    "spec.nodeSelector[node-role.kubernetes.io/master]: use \"node-role.kubernetes.io/control-plane\" instead",
                    "spec.volumes[0].gitRepo: deprecated in v1.11",
                    "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+",
                    "spec.imagePullSecrets[1].name: duplicate name \"a\"",
                    "spec.imagePullSecrets[2].name: invalid empty name \"\"",
                    "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
                ]),
            ),
            (
                json!({"spec": {"affinity": {"podAntiAffinity": {PREFERRED: [{"podAffinityTerm": {}}]}},
                    "topologySpreadConstraints": [{"topologyKey": "beta.kubernetes.io/arch", "labelSelector": {}}]}}),
                json!([
                    "spec.topologySpreadConstraints[0].topologyKey: beta.kubernetes.io/arch is deprecated since v1.14; use \
                        \"kubernetes.io/arch\" instead",
                    format!(
                        "spec.affinity.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.labelSelector: a null labelSelector \
                        results in matching no pod"
                    )
                ]),
            ),
            (
                json!({"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}, "spec": {"volumes": [
                    {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"items": [{"path": "t"}]}}]}}]}}),
                json!([
                    "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
                        \"priorityClassName\" field instead",
                    "spec.volumes[0].projected.sources.secrets[0]: has duplicated path with ServiceAccountToken \"t\""
                ]),
            ),
        ] {
            let mut out = Vec::new();
            warnings(&mut out, &Path::nil(), &pod, true);
            assert_eq!(json!(out), want);
        }
    }
}
