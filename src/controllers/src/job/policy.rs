//! `podFailurePolicy` and `successPolicy`: upstream's `pod_failure_policy.go` and `success_policy.go`.

use std::collections::BTreeSet;

use api::k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyRule};
use api::k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes;
use crate::pods;

/// What a failed pod does to the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    FailJob(String),
    FailIndex,
    Ignore,
    /// It counts towards `backoffLimit`.
    Count,
}

/// The first matching rule's action; `Count` without a policy.
pub fn action(spec: &JobSpec, pod: &Pod) -> Action {
    for (i, rule) in spec.pod_failure_policy.iter().flat_map(|p| &p.rules).enumerate() {
        let Some(why) = exit_code(rule, pod).or_else(|| condition(rule, pod)) else { continue };
        return match rule.action.as_str() {
            "FailJob" => Action::FailJob(format!("{why} matching FailJob rule at index {i}")),
            "FailIndex" => Action::FailIndex,
            "Ignore" => Action::Ignore,
            _ => Action::Count,
        };
    }
    Action::Count
}

fn name(pod: &Pod) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

fn exit_code(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let on = rule.on_exit_codes.as_ref()?;
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let matches = |c: &ContainerStatus| {
        let code = c.state.as_ref()?.terminated.as_ref()?.exit_code;
        let wanted = on.container_name.as_ref().is_none_or(|n| *n == c.name);
        let listed = on.values.contains(&code);
        let hit = if on.operator == "In" { listed } else { !listed };
        (code != 0 && wanted && hit)
            .then(|| format!("Container {} for pod {} failed with exit code {code}", c.name, name(pod)))
    };
    all.filter_map(matches).next()
}

fn condition(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    rule.on_pod_conditions.iter().flatten().find_map(|on| {
        let has = pods::condition(pod, &on.type_)?;
        let wanted = on.status.as_deref().unwrap_or("True");
        (has.status == wanted).then(|| format!("Pod {} has condition {}", name(pod), on.type_))
    })
}

/// The message of the first success rule that holds.
pub fn success(spec: &JobSpec, completed: &BTreeSet<u32>) -> Option<String> {
    let completions = spec.completions.and_then(|n| u32::try_from(n).ok())?;
    spec.success_policy.iter().flat_map(|p| &p.rules).enumerate().find_map(|(i, rule)| {
        let chosen = rule.succeeded_indexes.as_deref().map(|t| indexes::parse(t, completions));
        let done = chosen.as_ref().map_or(completed.len(), |c| c.intersection(completed).count());
        let needed = match (rule.succeeded_count, &chosen) {
            (Some(n), _) => usize::try_from(n).unwrap_or(0),
            (None, Some(c)) => c.len(),
            (None, None) => return None,
        };
        (done >= needed).then(|| format!("Matched rules at index {i}"))
    })
}
