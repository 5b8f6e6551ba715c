//! `status` of a pod as the API shows it: a pure function of spec, runtime and what the worker knows.

use std::net::IpAddr;

use api::k8s_openapi::api::core::v1::{
    ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus as ApiStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus, VolumeMountStatus,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;
use runtime::ContainerStatus;

use super::actions::{Facts, Waiting};
use super::conditions::{self, conditions};
use super::observe::{Observed, RuntimePod, State};
use super::resize::{self, Trouble};
use super::spec::Class;
use super::{phase, qos, resources};

/// Why a pod was ended for good by the kubelet: `DeadlineExceeded`, `Evicted`, …
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Failure {
    pub reason: String,
    pub message: String,
    /// The reason of the condition `DisruptionTarget`, where the node is to blame.
    pub disrupted: Option<&'static str>,
}

pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub rt: &'a RuntimePod,
    pub observed: &'a [Observed<'a>],
    pub facts: &'a Facts,
    pub ips: &'a [String],
    pub host_ips: &'a [IpAddr],
    /// It ends: deleted, failed by the kubelet, or nothing is left to run.
    pub terminal: bool,
    pub failure: Option<&'a Failure>,
    pub resizing: &'a Trouble,
    /// Of an ended container: its termination message.
    pub message: &'a dyn Fn(&ContainerStatus) -> String,
    pub now: Timestamp,
}

pub(crate) fn seconds(t: Timestamp) -> Time {
    Time(Timestamp::from_second(t.as_second()).unwrap_or(t))
}

pub(crate) fn from_nanos(nanos: i64) -> Option<Time> {
    (nanos > 0).then(|| Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok().map(Time)).flatten()
}

pub(crate) const ID_PREFIX: &str = "skiff://";

pub(crate) fn generate(i: &Inputs<'_>) -> PodStatus {
    let old = i.pod.status.as_ref();
    let started = i.observed.iter().any(|o| o.spec.class == Class::Regular && o.state != State::New);
    let statuses: Vec<(Class, ApiStatus)> =
        i.observed.iter().map(|o| (o.spec.class, container(i, o, started))).collect();
    let of = |classes: &[Class]| {
        let v: Vec<_> = statuses.iter().filter(|(c, _)| classes.contains(c)).map(|(_, s)| s.clone()).collect();
        (!v.is_empty()).then_some(v)
    };
    let all: Vec<ApiStatus> = statuses.iter().map(|(_, s)| s.clone()).collect();
    let initialized = started || init_done(&statuses);
    let running = i.observed.iter().any(Observed::is_running);
    let was = old.and_then(|s| s.phase.as_deref()).filter(|p| matches!(*p, "Succeeded" | "Failed"));
    let computed = match was {
        Some(p) => p,
        None if i.failure.is_some() => "Failed",
        None => phase::phase(i.spec, &all, initialized, i.terminal && !running),
    };
    // a terminal phase is told once nothing runs any more
    let phase = match computed {
        "Succeeded" | "Failed" if running && was.is_none() => {
            if started {
                "Running"
            } else {
                "Pending"
            }
        }
        p => p,
    };
    let sandbox_ready = i.rt.ready_sandbox().is_some() && !i.ips.is_empty();
    let now = seconds(i.now);
    let inputs =
        conditions::Inputs { spec: i.spec, phase, statuses: &all, initialized, sandbox_ready, now: now.clone() };
    let kept = |f: fn(&PodStatus) -> &Option<String>| old.and_then(|s| f(s).clone());
    let pod_ips: Vec<PodIP> = i.ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
    let pod_ips = if pod_ips.is_empty() && i.rt.ready_sandbox().is_none() {
        // an ended pod keeps the address that it had
        old.and_then(|s| s.pod_ips.clone())
    } else {
        (!pod_ips.is_empty()).then_some(pod_ips)
    };
    let mut told = with_disruption(conditions(i.pod, &inputs), i);
    i.resizing.add_to(&mut told, &now, i.pod.metadata.generation);
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(told),
        message: i.failure.map(|f| f.message.clone()).or_else(|| kept(|s| &s.message)),
        reason: i.failure.map(|f| f.reason.clone()).or_else(|| kept(|s| &s.reason)),
        host_ip: i.host_ips.first().map(ToString::to_string),
        host_ips: Some(i.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: pod_ips.as_ref().and_then(|v| v.first()).map(|p| p.ip.clone()),
        pod_ips,
        start_time: old.and_then(|s| s.start_time.clone()).or(Some(now)),
        init_container_statuses: of(&[Class::Init, Class::Sidecar]),
        container_statuses: of(&[Class::Regular]),
        ephemeral_container_statuses: of(&[Class::Ephemeral]),
        qos_class: kept(|s| &s.qos_class).or_else(|| Some(qos::class(i.spec).into())),
        observed_generation: i.pod.metadata.generation,
        ..old.cloned().unwrap_or_default()
    }
}

/// Upstream's `DisruptionTarget` of evictions and node shutdowns.
fn with_disruption(mut all: Vec<PodCondition>, i: &Inputs<'_>) -> Vec<PodCondition> {
    const KIND: &str = "DisruptionTarget";
    let Some((failure, reason)) = i.failure.and_then(|f| Some((f, f.disrupted?))) else { return all };
    let is = |c: &PodCondition| c.type_ == KIND && c.status == "True" && c.reason.as_deref() == Some(reason);
    if !all.iter().any(is) {
        all.retain(|c| c.type_ != KIND);
        all.push(PodCondition {
            type_: KIND.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(seconds(i.now)),
            observed_generation: i.pod.metadata.generation,
            ..PodCondition::default()
        });
    }
    all
}

/// Whether `new` is the first to tell of a generation, and of no new phase: what the change of the spec brings about, a
/// container made anew say, mostly follows within milliseconds.
pub(crate) fn of_new_generation(old: &PodStatus, new: &PodStatus) -> bool {
    old.observed_generation != new.observed_generation && old.phase == new.phase
}

fn init_done(statuses: &[(Class, ApiStatus)]) -> bool {
    statuses.iter().all(|(class, s)| match class {
        Class::Init => s.ready,
        Class::Sidecar => s.started == Some(true),
        _ => true,
    })
}

fn container(i: &Inputs<'_>, o: &Observed<'_>, started: bool) -> ApiStatus {
    let c = &o.spec.container;
    let current = o.current();
    let ended =
        |s: &ContainerStatus| ApiState { terminated: Some(terminated(s, (i.message)(s))), ..Default::default() };
    let kept = o.reported.and_then(|r| r.last_state.clone()).filter(|s| *s != ApiState::default());
    let mut last_state = o.last.map(ended).or(kept);
    let mut state = match o.state {
        State::Running(s) => ApiState {
            running: Some(ContainerStateRunning { started_at: from_nanos(s.started_nanos) }),
            ..Default::default()
        },
        State::Exited(s) => ended(s),
        State::Lost { exit_code } => lost(o, exit_code),
        State::New | State::Created(_) => waiting(&default_waiting(o, i, started)),
    };
    if let Some(w) = i.facts.waiting.get(&c.name)
        && !o.is_running()
        && !i.terminal
    {
        if state.terminated.is_some() {
            last_state = Some(state);
        }
        state = waiting(w);
    }
    let is_started = i.facts.is_started(o);
    let ready = match o.spec.class {
        Class::Init => o.exit_code() == Some(0),
        Class::Ephemeral => false,
        Class::Sidecar | Class::Regular => i.facts.is_ready(o),
    };
    let lost_count = o.reported.filter(|_| current.is_none()).map_or(0, |r| r.restart_count);
    let image_id = current.map(|s| s.image_id.clone()).or_else(|| o.reported.map(|r| r.image_id.clone()));
    let id =
        current.map(|s| format!("{ID_PREFIX}{}", s.id)).or_else(|| o.reported.and_then(|r| r.container_id.clone()));
    // the amount of memory is of no account here: it is the kernel's order of killing, which no resize changes
    let is_resized = |s: &ContainerStatus| resize::holds(&s.resources, &resources::container(i.spec, c, 1));
    let (requests, held) = match (o.state, o.reported) {
        (State::Running(s), Some(was)) if was.resources.is_some() && !is_resized(s) => {
            (was.allocated_resources.clone(), was.resources.clone())
        }
        _ => (c.resources.as_ref().and_then(|r| r.requests.clone()), c.resources.clone()),
    };
    ApiStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        image_id: image_id.unwrap_or_default(),
        container_id: id,
        ready,
        started: Some(is_started),
        restart_count: current.map_or(lost_count, |s| s.attempt as i32),
        state: Some(state),
        last_state: Some(last_state.unwrap_or_default()),
        allocated_resources: requests.filter(|_| o.spec.class != Class::Ephemeral),
        resources: held.filter(|_| o.spec.class != Class::Ephemeral),
        volume_mounts: mounts(c),
        ..Default::default()
    }
}

fn mounts(c: &api::k8s_openapi::api::core::v1::Container) -> Option<Vec<VolumeMountStatus>> {
    let all = c.volume_mounts.as_ref()?.iter().map(|m| VolumeMountStatus {
        mount_path: m.mount_path.clone(),
        name: m.name.clone(),
        read_only: m.read_only,
        recursive_read_only: m.read_only.unwrap_or(false).then(|| "Disabled".into()),
        ..Default::default()
    });
    Some(all.collect())
}

fn waiting(w: &Waiting) -> ApiState {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    ApiState {
        waiting: Some(ContainerStateWaiting { reason: text(&w.reason), message: text(&w.message) }),
        ..Default::default()
    }
}

fn default_waiting(o: &Observed<'_>, i: &Inputs<'_>, started: bool) -> Waiting {
    let init = i.spec.init_containers.as_ref().is_some_and(|c| !c.is_empty());
    let pending = init && !started && !matches!(o.spec.class, Class::Ephemeral);
    Waiting { reason: if pending { "PodInitializing" } else { "ContainerCreating" }.into(), message: String::new() }
}

fn lost(o: &Observed<'_>, exit_code: i32) -> ApiState {
    let reported = o.reported.and_then(|r| r.state.clone()).filter(|s| s.terminated.is_some());
    reported.unwrap_or_else(|| ApiState {
        terminated: Some(ContainerStateTerminated {
            exit_code,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn terminated(s: &ContainerStatus, message: String) -> ContainerStateTerminated {
    let reason = match s.reason.as_str() {
        "" if s.exit_code == 0 => "Completed",
        "" => "Error",
        r => r,
    };
    ContainerStateTerminated {
        container_id: Some(format!("{ID_PREFIX}{}", s.id)),
        exit_code: s.exit_code,
        reason: Some(reason.into()),
        message: (!message.is_empty()).then_some(message),
        started_at: from_nanos(s.started_nanos).or(Some(Time(Timestamp::UNIX_EPOCH))),
        finished_at: from_nanos(s.finished_nanos),
        signal: None,
    }
}
