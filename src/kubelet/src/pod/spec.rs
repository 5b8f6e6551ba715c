//! A pod's containers of all classes as one list, and what their restart policies say.

use std::borrow::Cow;

use api::k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Regular,
    Ephemeral,
}

#[derive(Debug, Clone)]
pub(crate) struct ContainerSpec<'a> {
    pub class: Class,
    pub container: Cow<'a, Container>,
    /// `targetContainerName` of an ephemeral container.
    pub target: Option<&'a str>,
}

/// Init containers, regular ones, ephemeral ones, each in the order of the spec.
pub(crate) fn containers(spec: &PodSpec) -> Vec<ContainerSpec<'_>> {
    let init = spec.init_containers.iter().flatten().map(|c| {
        let class = if c.restart_policy.as_deref() == Some("Always") { Class::Sidecar } else { Class::Init };
        ContainerSpec { class, container: Cow::Borrowed(c), target: None }
    });
    let regular = spec.containers.iter().map(|c| ContainerSpec {
        class: Class::Regular,
        container: Cow::Borrowed(c),
        target: None,
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| ContainerSpec {
        class: Class::Ephemeral,
        container: Cow::Owned(as_container(c)),
        target: c.target_container_name.as_deref(),
    });
    init.chain(regular).chain(ephemeral).collect()
}

fn as_container(e: &EphemeralContainer) -> Container {
    Container {
        args: e.args.clone(),
        command: e.command.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        image: e.image.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        name: e.name.clone(),
        resources: e.resources.clone(),
        security_context: e.security_context.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        tty: e.tty,
        volume_devices: e.volume_devices.clone(),
        volume_mounts: e.volume_mounts.clone(),
        working_dir: e.working_dir.clone(),
        ..Container::default()
    }
}

pub(crate) fn spec_of(pod: &Pod) -> Cow<'_, PodSpec> {
    match &pod.spec {
        Some(s) => Cow::Borrowed(s),
        None => Cow::Owned(PodSpec::default()),
    }
}

/// Whether a container that ended with `exit_code` is to run again. Upstream's `ShouldContainerBeRestarted`.
pub(crate) fn should_restart(spec: &PodSpec, c: &ContainerSpec<'_>, exit_code: i32) -> bool {
    match c.class {
        Class::Ephemeral => false,
        Class::Sidecar => true,
        Class::Regular | Class::Init => {
            for rule in c.container.restart_policy_rules.iter().flatten().filter(|r| r.action == "Restart") {
                let Some(on) = &rule.exit_codes else { continue };
                let listed = on.values.iter().flatten().any(|v| *v == exit_code);
                if (on.operator == "In") == listed {
                    return true;
                }
            }
            let pods = spec.restart_policy.as_deref().unwrap_or("Always");
            match (c.container.restart_policy.as_deref().unwrap_or(pods), c.class) {
                ("Never", _) => false,
                ("OnFailure", _) | (_, Class::Init) => exit_code != 0,
                _ => true,
            }
        }
    }
}

/// `spec.terminationGracePeriodSeconds`
pub(crate) fn grace_seconds(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds.unwrap_or(30)
}

/// `name_namespace(uid)`, as upstream's messages name a pod.
pub(crate) fn format_pod(pod: &Pod) -> String {
    let m = &pod.metadata;
    let of = |s: &Option<String>| s.clone().unwrap_or_default();
    format!("{}_{}({})", of(&m.name), of(&m.namespace), of(&m.uid))
}
