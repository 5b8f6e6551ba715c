//! What the runtime knows of one pod, and how each container of the spec stands by it.

use api::k8s_openapi::api::core::v1::{ContainerStatus as ApiStatus, Pod, PodSpec, PodStatus};
use runtime::{ContainerState, ContainerStatus, Runtime, SandboxStatus};

use super::spec::{ContainerSpec, containers};
use crate::Result;

pub(crate) mod label {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER: &str = "io.kubernetes.container.name";
    /// The image as the spec names it: when it changes, the container is made anew.
    pub const IMAGE: &str = "io.kubernetes.container.image";
    pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// The newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuntimePod {
    pub sandboxes: Vec<SandboxStatus>,
    pub containers: Vec<ContainerStatus>,
}

impl RuntimePod {
    pub async fn read(runtime: &dyn Runtime, uid: &str) -> Result<RuntimePod> {
        let mut sandboxes = runtime.sandboxes_of(uid).await?;
        sandboxes.sort_by_key(|s| std::cmp::Reverse((s.config.attempt, s.created_nanos)));
        let mut containers = Vec::new();
        for s in &sandboxes {
            match runtime.containers(Some(&s.id)).await {
                Ok(more) => containers.extend(more),
                Err(runtime::Error::NotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        containers.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_nanos)));
        Ok(RuntimePod { sandboxes, containers })
    }

    pub fn sandbox(&self) -> Option<&SandboxStatus> {
        self.sandboxes.first()
    }
    pub fn ready_sandbox(&self) -> Option<&SandboxStatus> {
        self.sandbox().filter(|s| s.ready)
    }
    /// What must be stopped before the pod can go; a container that never started goes with its sandbox.
    pub fn alive(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.iter().filter(|c| c.state == ContainerState::Running)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum State<'a> {
    /// It never ran.
    New,
    /// Made, but not started: a start that was cut off.
    Created(&'a ContainerStatus),
    Running(&'a ContainerStatus),
    Exited(&'a ContainerStatus),
    /// The API server knows of a run that the runtime does not know.
    Lost {
        exit_code: i32,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Observed<'a> {
    pub spec: ContainerSpec<'a>,
    pub state: State<'a>,
    /// The run before the current one, if the runtime still knows it.
    pub last: Option<&'a ContainerStatus>,
    /// As the API server last heard of it.
    pub reported: Option<&'a ApiStatus>,
    /// Whether the current run belongs to the sandbox that is ready.
    pub in_sandbox: bool,
}

impl<'a> Observed<'a> {
    pub fn name(&self) -> &str {
        &self.spec.container.name
    }
    pub fn current(&self) -> Option<&'a ContainerStatus> {
        match self.state {
            State::Created(c) | State::Running(c) | State::Exited(c) => Some(c),
            State::New | State::Lost { .. } => None,
        }
    }
    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Exited(c) => Some(c.exit_code),
            State::Lost { exit_code } => Some(exit_code),
            _ => None,
        }
    }
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }
    /// The number of the next run.
    pub fn next_attempt(&self) -> u32 {
        match (self.current(), self.reported) {
            (Some(c), _) => c.attempt + 1,
            (None, Some(r)) if matches!(self.state, State::Lost { .. }) => r.restart_count.max(0) as u32 + 1,
            _ => 0,
        }
    }
}

pub(crate) fn reported<'a>(status: Option<&'a PodStatus>, name: &str) -> Option<&'a ApiStatus> {
    let s = status?;
    [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|c| c.name == name)
}

pub(crate) fn observe<'a>(pod: &'a Pod, spec: &'a PodSpec, rt: &'a RuntimePod) -> Vec<Observed<'a>> {
    let sandbox = rt.ready_sandbox().map(|s| s.id.as_str());
    let observed = containers(spec).into_iter().map(|c| {
        let name = c.container.name.clone();
        let mut runs = rt.containers.iter().filter(|r| r.name == name);
        let reported = reported(pod.status.as_ref(), &name);
        let current = runs.next();
        let state = match current {
            Some(r) => match r.state {
                ContainerState::Created => State::Created(r),
                ContainerState::Running => State::Running(r),
                ContainerState::Exited => State::Exited(r),
            },
            None => lost(reported),
        };
        let in_sandbox = current.is_some_and(|r| Some(r.sandbox.as_str()) == sandbox);
        Observed { spec: c, state, last: runs.find(|r| r.state == ContainerState::Exited), reported, in_sandbox }
    });
    observed.collect()
}

fn lost(reported: Option<&ApiStatus>) -> State<'static> {
    let Some(r) = reported else { return State::New };
    let ended = |s: &Option<api::k8s_openapi::api::core::v1::ContainerState>| {
        s.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code)
    };
    if let Some(exit_code) = ended(&r.state).or_else(|| ended(&r.last_state)) {
        return State::Lost { exit_code };
    }
    if r.container_id.as_deref().is_some_and(|id| !id.is_empty()) {
        return State::Lost { exit_code: 137 };
    }
    State::New
}
