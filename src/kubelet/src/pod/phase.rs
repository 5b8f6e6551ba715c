//! `status.phase` from the container statuses. Upstream's `getPhase`.

use api::k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodSpec};

use super::spec::{Class, containers};

/// `terminal`: the pod was told to end for good, nothing restarts.
pub(crate) fn phase(spec: &PodSpec, statuses: &[ContainerStatus], initialized: bool, terminal: bool) -> &'static str {
    let status = |name: &str| statuses.iter().find(|s| s.name == name);
    let ended = |s: &Option<ContainerState>| s.as_ref().and_then(|s| s.terminated.as_ref().map(|t| t.exit_code));
    let (mut pending_init, mut failed_init) = (0, 0);
    let (mut running, mut waiting, mut stopped, mut succeeded, mut unknown) = (0, 0, 0, 0, 0);
    for c in containers(spec) {
        let s = status(&c.container.name);
        let state = s.and_then(|s| s.state.as_ref());
        match c.class {
            Class::Ephemeral => {}
            Class::Sidecar => {
                if s.is_none_or(|s| s.started != Some(true)) {
                    pending_init += 1;
                }
            }
            Class::Init => match s.and_then(|s| ended(&s.state).or_else(|| ended(&s.last_state))) {
                Some(0) => {}
                Some(_) => failed_init += 1,
                None => pending_init += 1,
            },
            Class::Regular => match state {
                Some(ContainerState { running: Some(_), .. }) => running += 1,
                Some(ContainerState { terminated: Some(t), .. }) => {
                    stopped += 1;
                    succeeded += usize::from(t.exit_code == 0);
                }
                Some(ContainerState { waiting: Some(_), .. }) => {
                    if s.is_some_and(|s| ended(&s.last_state).is_some()) {
                        stopped += 1;
                    } else {
                        waiting += 1;
                    }
                }
                _ => unknown += 1,
            },
        }
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if failed_init > 0 && policy == "Never" {
        return "Failed";
    }
    if terminal && running == 0 {
        return if stopped > 0 && stopped == succeeded && waiting == 0 && unknown == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if !initialized && (pending_init > 0 || failed_init > 0) {
        return "Pending";
    }
    if waiting > 0 || unknown > 0 {
        return "Pending";
    }
    match (running, stopped) {
        (1.., _) => "Running",
        (0, 1..) if policy == "Always" => "Running",
        (0, 1..) if stopped == succeeded => "Succeeded",
        (0, 1..) if policy == "Never" => "Failed",
        (0, 1..) => "Running",
        _ => "Pending",
    }
}
