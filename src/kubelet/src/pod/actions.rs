//! What is to be done for a pod now: a pure function of its spec and of what is known. Upstream's `computePodActions`.
//!
//! It is level-triggered: each round does what can be done at once, then looks again.

use std::collections::{BTreeMap, BTreeSet};

use api::k8s_openapi::api::core::v1::PodSpec;

use super::observe::{Observed, RuntimePod, State, label};
use super::spec::{Class, should_restart};

/// What the worker itself knows of the current run of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Health {
    pub id: String,
    /// Its startup probe, if any, has succeeded.
    pub started: bool,
    /// Its readiness probe, if any, succeeds.
    pub ready: bool,
    pub unhealthy: Option<Unhealthy>,
}

/// A liveness or startup probe has failed for good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unhealthy {
    /// `liveness`, `startup`
    pub probe: &'static str,
    pub grace_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Waiting {
    pub reason: String,
    pub message: String,
}

/// What is known beside spec and runtime.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By container name.
    pub health: BTreeMap<String, Health>,
    /// Container ids whose postStart hook still runs.
    pub hooks: BTreeSet<String>,
    /// Container ids that are being stopped.
    pub killing: BTreeSet<String>,
    /// Why a container is not started, by name.
    pub waiting: BTreeMap<String, Waiting>,
}

impl Facts {
    /// Started, its postStart hook and its startup probe behind it.
    pub fn is_started(&self, o: &Observed<'_>) -> bool {
        let State::Running(c) = o.state else { return false };
        if self.hooks.contains(&c.id) {
            return false;
        }
        match self.health.get(o.name()) {
            Some(h) if h.id == c.id => h.started,
            _ => o.spec.container.startup_probe.is_none(),
        }
    }
    pub fn is_ready(&self, o: &Observed<'_>) -> bool {
        let State::Running(c) = o.state else { return false };
        if !self.is_started(o) || self.killing.contains(&c.id) && o.spec.container.readiness_probe.is_some() {
            return false;
        }
        match self.health.get(o.name()) {
            Some(h) if h.id == c.id => h.ready,
            _ => o.spec.container.readiness_probe.is_none(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kill {
    pub id: String,
    pub name: String,
    pub message: String,
    pub grace_seconds: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Actions {
    /// Nothing is left to run: stop what still does (sidecars), and the sandbox.
    pub finish: bool,
    /// Make a sandbox with this attempt number; containers follow in the next round.
    pub create_sandbox: Option<u32>,
    /// Names, in order.
    pub start: Vec<String>,
    pub kill: Vec<Kill>,
}

pub(crate) fn compute_actions(spec: &PodSpec, rt: &RuntimePod, observed: &[Observed<'_>], facts: &Facts) -> Actions {
    let mut actions = Actions::default();
    let wanted = |o: &Observed<'_>| match o.exit_code() {
        None => true,
        Some(code) => should_restart(spec, &o.spec, code),
    };
    let regular = || observed.iter().filter(|o| o.spec.class == Class::Regular);
    if init_failed(spec, observed) || !regular().any(wanted) {
        return Actions { finish: true, ..actions };
    }
    if rt.ready_sandbox().is_none() {
        let never = spec.restart_policy.as_deref() == Some("Never");
        if never && rt.sandbox().is_some() && regular().any(|o| o.state != State::New) {
            return Actions { finish: true, ..actions };
        }
        actions.create_sandbox = Some(rt.sandbox().map_or(0, |s| s.config.attempt + 1));
        return actions;
    }
    for o in observed.iter().filter(|o| o.spec.class == Class::Ephemeral) {
        if o.state == State::New {
            actions.start.push(o.name().into());
        }
    }
    if !init(spec, observed, facts, &mut actions) {
        return actions;
    }
    for o in regular() {
        match o.state {
            State::Running(c) if facts.killing.contains(&c.id) => {}
            State::Running(c) => {
                if let Some(kill) = must_die(o, &c.id, facts) {
                    actions.kill.push(kill);
                } else if facts.hooks.contains(&c.id) {
                    break; // the next container starts after this one's postStart hook
                }
            }
            State::Created(_) => actions.start.push(o.name().into()),
            State::New => actions.start.push(o.name().into()),
            State::Exited(_) | State::Lost { .. } if wanted(o) => actions.start.push(o.name().into()),
            State::Exited(_) | State::Lost { .. } => {}
        }
    }
    actions
}

/// A plain init container has failed and will not be tried again.
pub(crate) fn init_failed(spec: &PodSpec, observed: &[Observed<'_>]) -> bool {
    let ran = observed.iter().any(|o| o.spec.class == Class::Regular && o.state != State::New);
    !ran && observed
        .iter()
        .filter(|o| o.spec.class == Class::Init)
        .any(|o| o.exit_code().is_some_and(|code| code != 0 && !should_restart(spec, &o.spec, code)))
}

/// Adds what the init containers need; answers whether the regular ones may run.
fn init(spec: &PodSpec, observed: &[Observed<'_>], facts: &Facts, actions: &mut Actions) -> bool {
    let past = observed.iter().any(|o| o.spec.class == Class::Regular && o.in_sandbox);
    for o in observed {
        let name = || o.name().to_owned();
        match o.spec.class {
            Class::Sidecar => {
                match o.state {
                    State::Running(c) if o.in_sandbox => {
                        if !facts.killing.contains(&c.id)
                            && let Some(kill) = must_die(o, &c.id, facts)
                        {
                            actions.kill.push(kill);
                        }
                    }
                    _ => actions.start.push(name()),
                }
                if !past && !facts.is_started(o) {
                    return false;
                }
            }
            Class::Init if !past => match o.state {
                State::Running(_) if o.in_sandbox => return false,
                State::Exited(c) if o.in_sandbox && c.exit_code == 0 => {}
                State::Exited(c) if o.in_sandbox && !should_restart(spec, &o.spec, c.exit_code) => return false,
                _ => {
                    actions.start.push(name());
                    return false;
                }
            },
            _ => {}
        }
    }
    true
}

fn must_die(o: &Observed<'_>, id: &str, facts: &Facts) -> Option<Kill> {
    let name = o.name();
    let kill = |message: String, grace_seconds| Kill { id: id.into(), name: name.into(), message, grace_seconds };
    let was = o.current()?.annotations.get(label::IMAGE);
    if was.is_some_and(|w| Some(w) != o.spec.container.image.as_ref()) {
        return Some(kill(format!("Container {name} definition changed, will be restarted"), None));
    }
    let health = facts.health.get(name).filter(|h| h.id == id)?;
    let unhealthy = health.unhealthy.as_ref()?;
    let message = format!("Container {name} failed {} probe, will be restarted", unhealthy.probe);
    Some(kill(message, unhealthy.grace_seconds))
}
