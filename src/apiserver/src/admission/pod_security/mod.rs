//! Pod Security Standards by the labels of a namespace: upstream's `PodSecurity`, of `k8s.io/pod-security-admission`.
//!
//! `enforce` refuses pods; `warn` and `audit` also look at what makes pods. Without labels a namespace is privileged, and a
//! write costs a look at the namespace's labels.

mod checks;
mod policy;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Kind, Object, Status, Value};
use async_trait::async_trait;

use super::tree::items;
use super::{Operation, Plugin, Write};
use crate::audit::{annotate, is_recorded};
use crate::{Attributes, Lookup, Verb};
use checks::violations;
use policy::{Level, Policies, Policy};

/// `defaultNamespaceMaxPodsToCheck`
const PODS_MAX: usize = 3000;
const PREFIX: &str = "pod-security.kubernetes.io/";

pub struct PodSecurity {
    lookup: Arc<dyn Lookup>,
}

/// Kinds and where they have their pod: `spec` is within.
const PODS: [(&str, &str, &str); 9] = [
    ("", "pods", ""),
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

fn pod_of<'a>(kind: &Kind, object: &'a Value) -> Option<&'a Value> {
    let (_, _, pointer) = PODS.iter().find(|(group, plural, _)| kind.group == *group && kind.plural == *plural)?;
    object.pointer(pointer)
}

/// `PodSecurity "baseline:latest": privileged (container "c" must …)`
fn described(policy: Policy, pod: &Value) -> Option<String> {
    let found = violations(policy, pod);
    if found.is_empty() {
        return None;
    }
    let all: Vec<String> = found.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect();
    Some(format!("PodSecurity \"{policy}\": {}", all.join(", ")))
}

/// `isSignificantPodUpdate`: images, and which containers there are.
fn significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<(Value, Value)> {
        let all = items(&pod["spec"], list).iter();
        all.map(|c| (c["name"].clone(), c["image"].clone())).collect()
    };
    ["/initContainers", "/containers", "/ephemeralContainers"].iter().any(|l| images(new, l) != images(old, l))
}

impl PodSecurity {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        PodSecurity { lookup }
    }

    /// A pod or what makes pods.
    fn workload(&self, write: &mut Write<'_>, is_pod: bool) -> Result<(), Status> {
        let Some(namespace) = self.lookup.get("namespaces", "", &write.attributes.namespace) else { return Ok(()) };
        let (policies, errors) = Policies::of(&namespace);
        if is_pod && is_recorded() {
            annotate(&format!("{PREFIX}enforce-policy"), &policies.enforce.to_string());
        }
        if policies.warn.is_free() && policies.audit.is_free() && (!is_pod || policies.enforce.is_free()) {
            return Ok(());
        }
        let Some(pod) = pod_of(write.kind, write.object) else { return Ok(()) };
        if is_pod
            && let Some(old) = write.old
            && !significant(pod, &old.tree())
        {
            return Ok(());
        }
        if !errors.is_empty() {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            annotate(&format!("{PREFIX}error"), &format!("Failed to parse policy: {}", all.join(", ")));
        }
        let audited = described(policies.audit, pod);
        if let Some(why) = &audited {
            annotate(&format!("{PREFIX}audit-violations"), &format!("would violate {why}"));
        }
        if let Some(why) = if is_pod { described(policies.enforce, pod) } else { None } {
            return Err(write.refuse(format!("violates {why}")));
        }
        if let Some(why) = if policies.warn == policies.audit { audited } else { described(policies.warn, pod) } {
            write.warnings.push(format!("would violate {why}"));
        }
        Ok(())
    }

    /// Labels must be right where they are new, and who tightens them is told what is there already.
    fn namespace(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let labels =
            |tree: &Value| Policies::of_labels(|key| tree["metadata"]["labels"][key].as_str().map(str::to_owned));
        let (new, errors) = labels(write.object);
        let old = write.old.map(|o| labels(&o.tree()));
        if !errors.is_empty() && old.as_ref().is_none_or(|(_, before)| *before != errors) {
            let name = write.object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Status::invalid("", "Namespace", name, &errors));
        }
        let (Some((old, _)), Policies { enforce: new, .. }) = (old, new) else { return Ok(()) };
        let relaxed = new.version == old.enforce.version && new.level <= old.enforce.level;
        if new != old.enforce && new.level != Level::Privileged && !relaxed {
            let pods = self.lookup.list("pods", &write.attributes.name);
            write.warnings.extend(existing(&write.attributes.name, new, &pods));
        }
        Ok(())
    }
}

/// `EvaluatePodsInNamespace`
fn existing(namespace: &str, policy: Policy, pods: &[Arc<Object>]) -> Vec<String> {
    let mut out = Vec::new();
    // by what is wrong: the first of them, and how many
    let mut wrong: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let reasons: Vec<String> = violations(policy, &pod.tree()).into_iter().map(|v| v.reason).collect();
        if !reasons.is_empty() {
            let (_, count) = wrong.entry(reasons.join(", ")).or_insert_with(|| (pod.name().to_owned(), 0));
            *count += 1;
        }
    }
    if pods.len() > PODS_MAX {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !wrong.is_empty() {
        out.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{policy}\""
        ));
    }
    let mut lines: Vec<String> = wrong
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            n => format!("{name} (and {} other pods): {reasons}", n - 1),
        })
        .collect();
    lines.sort();
    out.extend(lines);
    out
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }
    fn handles(&self, a: &Attributes) -> bool {
        let ours = match (&*a.resource, &*a.subresource) {
            ("pods", "" | "ephemeralcontainers" | "resize") => a.group.is_empty(),
            ("namespaces", "") => a.group.is_empty(),
            (plural, "") => PODS.iter().any(|(_, of, _)| *of == plural),
            _ => false,
        };
        ours && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if !matches!(write.operation(), Operation::Create | Operation::Update) {
            return Ok(());
        }
        match &*write.attributes.resource {
            "namespaces" => self.namespace(write),
            "pods" => self.workload(write, true),
            _ => self.workload(write, false),
        }
    }
}

#[cfg(test)]
mod tests;
