//! What clients are warned of though it is valid: upstream's `WarningsOnCreate` and `WarningsOnUpdate`, in its words.
//!
//! Pure and cheap: a kind that has nothing to say costs one match. The texts go out as `Warning` headers, which kubectl prints.

mod pod;
mod storage;

use std::net::IpAddr;

use serde_json::Value;

use crate::field::Path;
use crate::kinds::tree::{entries, has, items, number, some, text};
use crate::{Kind, names};

/// Where a kind has its pod template.
fn template_path(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" | "Job" => {
            &["spec", "template"]
        }
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        "PodTemplate" => &["template"],
        _ => return None,
    })
}

fn at<'a>(tree: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(tree, |v, key| &v[*key])
}

/// Of an object in the storage version that has passed validation, about to be created (`old` absent) or updated.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if kind.definition.is_some() {
        finalizers(&mut out, new, old);
        return out;
    }
    let name = &*kind.kind;
    match (&*kind.group, name) {
        // people rarely write pods twice, and kubelets often do
        ("", "Pod") if old.is_none() => {
            host_name(&mut out, new, "the Pod's hostname");
            pod::warnings(&mut out, &Path::nil(), new, true);
        }
        ("", "Service") => service(&mut out, new),
        ("", "Node") if has(&new["spec"], "externalID") => {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        ("", "PersistentVolume") => storage::volume(&mut out, new),
        ("", "PersistentVolumeClaim") => storage::claim(&mut out, new),
        ("storage.k8s.io", "StorageClass") => storage::class(&mut out, new),
        ("storage.k8s.io", "CSIStorageCapacity") => storage::capacity(&mut out, new),
        ("node.k8s.io", "RuntimeClass") => {
            for (key, _) in entries(&new["scheduling"], "nodeSelector") {
                out.extend(deprecated_label(key).map(|why| format!("scheduling.nodeSelector: {why}")));
            }
        }
        ("networking.k8s.io", "Ingress") if old.is_none() => ingress(&mut out, new),
        ("" | "apps" | "batch", _) => workload(&mut out, name, new, old),
        _ => {}
    }
    out
}

/// A kind that makes pods. An update is looked at only if it changes what it asks for.
fn workload(out: &mut Vec<String>, kind: &str, new: &Value, old: Option<&Value>) {
    let Some(path) = template_path(kind) else { return };
    if old.is_none() && matches!(kind, "Deployment" | "ReplicaSet" | "ReplicationController" | "Job" | "CronJob") {
        host_name(out, new, "Pod names and hostnames");
    }
    let generation = |tree: &Value| tree["metadata"]["generation"].as_i64();
    if old.is_none_or(|old| generation(old) != generation(new)) {
        job(out, at(new, &path[..path.len() - 1]), if kind == "CronJob" { "spec.jobTemplate.spec" } else { "spec" });
        let joined = path.join(".");
        pod::warnings(out, &Path::root(&joined), at(new, path), false);
        if kind == "StatefulSet" {
            stateful(out, &new["spec"]);
        }
    }
    if kind == "CronJob" && old.is_some() && text(&new["spec"], "schedule").contains("TZ") {
        out.push(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .into(),
        );
    }
}

/// `WarningsForJobSpec`, its own part.
fn job(out: &mut Vec<String>, spec: &Value, path: &str) {
    let many = number(spec, "completions") > 100_000 && number(spec, "parallelism") > 10_000;
    if text(spec, "completionMode") == "Indexed" && many {
        out.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes properly"
        ));
    }
}

fn stateful(out: &mut Vec<String>, spec: &Value) {
    let path = Path::root("spec");
    let templates = path.child("volumeClaimTemplates");
    for (i, template) in items(spec, "volumeClaimTemplates").iter().enumerate() {
        storage::claim_spec(out, &templates.index(i).child("Spec"), &template["spec"]);
    }
    if number(spec, "revisionHistoryLimit") < 0 {
        out.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .into(),
        );
    }
}

fn host_name(out: &mut Vec<String>, new: &Value, used: &str) {
    let wrong = names::dns_label(text(&new["metadata"], "name"), false);
    if !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: \
             [{}]",
            wrong.join(" ")
        ));
    }
}

/// Of custom resources; the other kinds refuse such names.
fn finalizers(out: &mut Vec<String>, new: &Value, old: Option<&Value>) {
    let before = old.map_or(&[][..], |o| items(&o["metadata"], "finalizers"));
    for finalizer in items(&new["metadata"], "finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        if name.contains('/') || matches!(name, "orphan" | "foregroundDeletion") || before.contains(finalizer) {
            continue;
        }
        out.push(format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid \
             accidental conflicts with other finalizer writers"
        ));
    }
}

fn ingress(out: &mut Vec<String>, new: &Value) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    if has(&new["metadata"]["annotations"], CLASS) && !has(&new["spec"], "ingressClassName") {
        out.push(format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"));
    }
}

/// `GetWarningsForService`
fn service(out: &mut Vec<String>, new: &Value) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (spec, path) = (&new["spec"], Path::root("spec"));
    if has(&new["metadata"]["annotations"], HINTS) {
        let instead = "service.kubernetes.io/topology-mode";
        out.push(format!("annotation {HINTS} is deprecated, please use {instead} instead"));
    }
    let headless = text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None";
    let named = text(spec, "type") == "ExternalName";
    let ips = |out: &mut Vec<String>, key: &str| {
        for (i, value) in items(spec, key).iter().filter_map(Value::as_str).enumerate() {
            address(out, &path.child(key).index(i), value);
        }
    };
    if !matches!(text(spec, "clusterIP"), "" | "None") {
        ips(out, "clusterIPs");
    }
    let external = !items(spec, "externalIPs").is_empty();
    if headless {
        for (ignored, field) in [
            (!text(spec, "loadBalancerIP").is_empty(), "loadBalancerIP"),
            (external, "externalIPs"),
            (text(spec, "sessionAffinity") != "None", "SessionAffinity"),
        ] {
            if ignored {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    ips(out, "externalIPs");
    if external && !headless && !named {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    address(out, &path.child("loadBalancerIP"), text(spec, "loadBalancerIP"));
    if named && external {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !named && !text(spec, "externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
}

/// `GetWarningsForIP`, of those that are addresses by today's rules.
fn address(out: &mut Vec<String>, path: &Path<'_>, value: &str) {
    let Ok(IpAddr::V6(ip)) = value.parse::<IpAddr>() else { return };
    if let Some(four) = ip.to_ipv4_mapped() {
        out.push(format!(
            "{path}: non-standard IP address {value:?} will be considered invalid in a future Kubernetes release: use \
             {:?}",
            four.to_string()
        ));
    } else if ip.to_string() != value {
        let canonical = ip.to_string();
        out.push(format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
}

/// `GetNodeLabelDeprecatedMessage`
fn deprecated_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// `GetWarningsForNodeSelectorTerm`; `values`: those of the expressions are looked at too.
fn node_term(out: &mut Vec<String>, path: &Path<'_>, term: &Value, values: bool) {
    let path = &path.child("matchExpressions");
    for (i, expression) in items(term, "matchExpressions").iter().enumerate() {
        let (path, key) = (path.index(i), text(expression, "key"));
        out.extend(deprecated_label(key).map(|why| format!("{}: {key} is {why}", path.child("key"))));
        if values {
            for (j, value) in items(expression, "values").iter().filter_map(Value::as_str).enumerate() {
                let wrong = names::label_value(value).into_iter();
                out.extend(wrong.map(|why| format!("{}: {value} is invalid, {why}", path.child("values").index(j))));
            }
        }
    }
}

/// Of amounts that are counted in bytes.
fn fractional(out: &mut Vec<String>, path: &Path<'_>, list: &Value, keys: &[&str]) {
    for key in keys {
        let Some(amount) = some(list, key).and_then(|v| crate::quantity::Quantity::from_tree(v).ok()) else { continue };
        if amount.millis() % 1000 != 0 {
            let shown = list[*key].as_str().map_or_else(|| list[*key].to_string(), str::to_owned);
            out.push(format!("{}: fractional byte value {shown:?} is invalid, must be an integer", path.key(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::registry;
    use serde_json::json;

    fn of(group: &str, version: &str, plural: &str, new: Value, old: Option<Value>) -> Vec<String> {
        let registry = registry();
        warnings(registry.resource(group, version, plural).unwrap(), &new, old.as_ref())
    }

    #[test]
    fn objects_are_warned_of_in_upstreams_words() {
        let old_class = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}});
        let labels = "a lowercase RFC 1123 label must consist";
        for (group, version, plural, tree, want) in [
            (
                "networking.k8s.io",
                "v1",
                "ingresses",
                old_class,
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
            ),
            (
                "",
                "v1",
                "services",
                json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"}}),
                "spec.SessionAffinity is ignored for headless services",
            ),
            (
                "",
                "v1",
                "services",
                json!({"spec": {"type": "ClusterIP", "loadBalancerIP": "fd00:0::1"}}),
                "spec.loadBalancerIP: IPv6 address \"fd00:0::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
            ),
            (
                "",
                "v1",
                "services",
                json!({"spec": {"type": "ClusterIP", "trafficDistribution": "PreferClose"}}),
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
            ),
            (
                "",
                "v1",
                "persistentvolumes",
                json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}),
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
                 approach is to use dynamic provisioning.",
            ),
            (
                "",
                "v1",
                "persistentvolumeclaims",
                json!({"spec": {"resources": {"requests": {"storage": "100m"}}}}),
                "spec.resources.requests[storage]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
            (
                "node.k8s.io",
                "v1",
                "runtimeclasses",
                json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "l"}}}),
                "scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
            (
                "apps",
                "v1",
                "statefulsets",
                json!({"spec": {"revisionHistoryLimit": -1}}),
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
            ),
            (
                "apps",
                "v1",
                "deployments",
                json!({"metadata": {"name": "a.b"}}),
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                 label is recommended: [must not contain dots]",
            ),
        ] {
            assert_eq!(of(group, version, plural, tree, None).last().map(String::as_str), Some(want), "{plural}");
        }
        let upper = of("", "v1", "pods", json!({"metadata": {"name": "-"}}), None);
        assert!(upper[0].starts_with("metadata.name: this is used in the Pod's hostname") && upper[0].contains(labels));
    }

    #[test]
    fn an_update_is_looked_at_if_it_asks_for_something_new() {
        let tree = |generation: i64| {
            json!({"metadata": {"name": "a.b", "generation": generation},
            "spec": {"template": {"spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}}}})
        };
        let want = "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \
                    \"kubernetes.io/os\" instead";
        let of = |old: Option<Value>| of("apps", "v1", "deployments", tree(2), old);
        assert_eq!(of(None).len(), 2);
        assert_eq!(of(Some(tree(1))), [want]);
        assert_eq!(of(Some(tree(2))), [""; 0]);
    }
}
