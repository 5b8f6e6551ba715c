//! The pod conditions that the kubelet owns. Upstream's `status/generate.go`.

use api::k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::spec::{Class, containers};

pub(crate) struct Inputs<'a> {
    pub spec: &'a PodSpec,
    pub phase: &'a str,
    pub statuses: &'a [ContainerStatus],
    pub initialized: bool,
    /// The sandbox is up and has its addresses.
    pub sandbox_ready: bool,
    pub now: Time,
}

struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes(reason: &'static str) -> Verdict {
        Verdict { status: true, reason, message: String::new() }
    }
    fn no(reason: &'static str, message: impl Into<String>) -> Verdict {
        Verdict { status: false, reason, message: message.into() }
    }
}

const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// All conditions: the owned ones anew, others as they are.
pub(crate) fn conditions(pod: &Pod, i: &Inputs<'_>) -> Vec<PodCondition> {
    let old: &[PodCondition] = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let containers_ready = containers_ready(i);
    let verdicts = [
        if i.sandbox_ready { Verdict::yes("") } else { Verdict::no("", "") },
        initialized(i),
        ready(i, old, &containers_ready),
        containers_ready,
        Verdict::yes(""),
    ];
    let owned = OWNED.iter().zip(verdicts).map(|(kind, v)| {
        let was = old.iter().find(|c| c.type_ == *kind);
        let status = if v.status { "True" } else { "False" };
        let since = was.filter(|w| w.status == status).and_then(|w| w.last_transition_time.clone());
        let text = |s: String| (!s.is_empty()).then_some(s);
        PodCondition {
            type_: (*kind).into(),
            status: status.into(),
            reason: text(v.reason.into()),
            message: text(v.message),
            last_probe_time: None,
            last_transition_time: Some(since.unwrap_or_else(|| i.now.clone())),
            observed_generation: pod.metadata.generation,
        }
    });
    let others = old.iter().filter(|c| !OWNED.contains(&c.type_.as_str())).cloned();
    owned.chain(others).collect()
}

fn names_of<'a>(i: &'a Inputs<'_>, of: impl Fn(Class, Option<&ContainerStatus>) -> bool + 'a) -> Vec<String> {
    let status = |name: &str| i.statuses.iter().find(|s| s.name == name);
    containers(i.spec)
        .iter()
        .filter(|c| of(c.class, status(&c.container.name)))
        .map(|c| c.container.name.clone())
        .collect()
}

fn initialized(i: &Inputs<'_>) -> Verdict {
    if i.phase == "Succeeded" {
        return Verdict::yes("PodCompleted");
    }
    if i.initialized {
        return Verdict::yes("");
    }
    let incomplete = names_of(i, |class, s| match class {
        Class::Init => !s.is_some_and(|s| s.ready),
        Class::Sidecar => s.is_none_or(|s| s.started != Some(true)),
        _ => false,
    });
    if incomplete.is_empty() {
        return Verdict::yes("");
    }
    Verdict::no("ContainersNotInitialized", format!("containers with incomplete status: [{}]", incomplete.join(" ")))
}

fn containers_ready(i: &Inputs<'_>) -> Verdict {
    match i.phase {
        "Succeeded" => return Verdict::no("PodCompleted", ""),
        "Failed" => return Verdict::no("PodFailed", ""),
        _ => {}
    }
    let counted = |class| matches!(class, Class::Regular | Class::Sidecar);
    let unknown = names_of(i, |class, s| counted(class) && s.is_none());
    let unready = names_of(i, |class, s| counted(class) && s.is_some_and(|s| !s.ready));
    let mut messages = Vec::new();
    for (what, names) in [("unknown", unknown), ("unready", unready)] {
        if !names.is_empty() {
            messages.push(format!("containers with {what} status: [{}]", names.join(" ")));
        }
    }
    if messages.is_empty() { Verdict::yes("") } else { Verdict::no("ContainersNotReady", messages.join(", ")) }
}

fn ready(i: &Inputs<'_>, old: &[PodCondition], containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict::no(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in i.spec.readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match old.iter().find(|c| c.type_ == *name) {
            None => missing.push(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
            Some(c) if c.status != "True" => {
                missing.push(format!("the status of pod readiness gate {name:?} is not \"True\", but {}", c.status))
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { Verdict::yes("") } else { Verdict::no("ReadinessGatesNotReady", missing.join(", ")) }
}
