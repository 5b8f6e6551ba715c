//! One pod's worker: it sleeps until something about the pod has changed, then does what [`compute_actions`] says and tells
//! the API server how the pod is. It never waits for a pull, a hook or a container's end: side tasks do, and wake it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::Object;
use api::k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use runtime::ContainerStatus;
use tokio::time::Instant;

use super::actions::{Actions, Facts, Waiting, compute_actions};
use super::backoff::Backoff;
use super::mailbox::Mailbox;
use super::observe::{Observed, RuntimePod, observe};
use super::resize::Trouble;
use super::spec::spec_of;
use super::status::{self, Failure};
use super::{container, kill, sandbox, sysctls, termination, write};
use crate::Result;
use crate::context::Context;
use crate::objects::{InNamespace, revisions, used};
use crate::probe::Probes;
use crate::volume::{self, Volumes};

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

pub(crate) struct Worker {
    pub(super) ctx: Arc<Context>,
    pub(super) known: Known,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) volumes: Volumes,
    pub(super) backoff: Backoff,
    /// Why containers wait, by name.
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// After a failed set-up: when to try again, and how long that was, by container (or `""` for the pod's).
    pub(super) retries: HashMap<String, (Instant, Duration)>,
    pub(super) probes: Probes,
    pub(super) failure: Option<Failure>,
    /// What an order to end allows at most.
    pub(super) grace_limit: Option<i64>,
    /// When a status that differs in its generation only is written.
    generation_due: Option<Instant>,
    /// When containers of an ending pod are killed.
    pub(super) end_by: Option<Instant>,
    /// Nothing of it is left on the node.
    pub(super) cleaned: bool,
    pub(super) messages: HashMap<String, String>,
    last_status: Option<PodStatus>,
    pub(super) wake_at: Option<Instant>,
    pub(super) resizing: Trouble,
}

const GENERATION_DELAY: Duration = Duration::from_millis(300);

/// Whether the worker goes on.
#[derive(PartialEq)]
pub(super) enum Next {
    Wait,
    Over,
}

impl Worker {
    /// `failure`: it was refused.
    pub fn new(ctx: Arc<Context>, known: Known, mailbox: Arc<Mailbox>, failure: Option<Failure>) -> Worker {
        let volumes = Volumes::new(ctx.config.pod_dir(&known.uid), ctx.mounter.clone());
        let probes = Probes::new(ctx.clone(), mailbox.clone());
        Worker {
            ctx,
            known,
            mailbox,
            volumes,
            backoff: Backoff::default(),
            waiting: BTreeMap::new(),
            retries: HashMap::new(),
            probes,
            failure,
            grace_limit: None,
            generation_due: None,
            end_by: None,
            cleaned: false,
            messages: HashMap::new(),
            last_status: None,
            wake_at: None,
            resizing: Trouble::default(),
        }
    }

    /// Returns when the pod is gone from the API server and from the node.
    pub async fn run(mut self) {
        loop {
            self.wake_at = None;
            match self.sync().await {
                Ok(Next::Over) => return,
                Ok(Next::Wait) => {}
                Err(crate::Error::Api(error)) if client::is_unreachable(&error) => {
                    let _ = self.ctx.reach.learn::<()>(Err(error));
                    tokio::select! {
                        () = self.ctx.reach.back() => {}
                        () = self.mailbox.woken() => {}
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(pod = self.known.name, namespace = self.known.namespace, %error, "sync failed");
                    let delay = self.retry_later("");
                    self.wake_in(delay);
                }
            }
            match self.wake_at {
                Some(at) => tokio::select! {
                    () = self.mailbox.woken() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.mailbox.woken().await,
            }
        }
    }

    pub(super) fn wake_in(&mut self, delay: Duration) {
        self.wake(Instant::now() + delay);
    }
    pub(super) fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }

    /// Doubles from 1 s to a minute.
    pub(super) fn retry_later(&mut self, what: &str) -> Duration {
        let last = self.retries.get(what).map(|(_, d)| *d);
        let delay = last.map_or(Duration::from_secs(1), |d| (d * 2).min(Duration::from_secs(60)));
        self.retries.insert(what.into(), (Instant::now() + delay, delay));
        delay
    }

    async fn sync(&mut self) -> Result<Next> {
        let (object, gone) = self.mailbox.with(|i| (i.object.clone(), i.gone));
        let Some(object) = object else { return self.end_unknown().await };
        let pod = object.view::<Pod>()?;
        let spec = spec_of(pod);
        let spec = if self.ctx.config.hollow { std::borrow::Cow::Owned(crate::hollow::simple(&spec)) } else { spec };
        if gone || object.meta().is_deleting() {
            return self.end(&object, pod, &spec, true, gone).await;
        }
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        self.check_failure(pod, &spec);
        if self.failure.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
            return self.end(&object, pod, &spec, false, false).await;
        }
        if self.cleaned {
            return Ok(Next::Wait);
        }
        // each round does something, so a handful is plenty; what is left comes with the next wake
        for round in 0..8 {
            let rt = RuntimePod::read(&*self.ctx.runtime, &self.known.uid).await?;
            let observed = observe(pod, &spec, &rt);
            self.probes.follow(&object, &spec, &observed, &self.ips(&spec, &rt));
            let facts = self.facts(&rt);
            let actions = compute_actions(&spec, &rt, &observed, &facts);
            if actions.finish {
                return self.end(&object, pod, &spec, false, false).await;
            }
            if round == 0 {
                // the first thing that is told is that the pod has been seen
                self.tell(&object, pod, &spec, &rt, &observed, false);
            }
            if !self.act(&object, pod, &spec, &rt, &observed, actions).await? {
                let facts = self.facts(&rt);
                let clean = self.tell_with(&object, pod, &spec, &rt, &observed, &facts, false);
                if clean {
                    self.sweep(&rt).await;
                }
                return Ok(Next::Wait);
            }
        }
        self.mailbox.wake();
        Ok(Next::Wait)
    }

    /// Answers whether anything was done, so that it pays to look again.
    async fn act(
        &mut self,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        rt: &RuntimePod,
        observed: &[Observed<'_>],
        actions: Actions,
    ) -> Result<bool> {
        let ips = self.ips(spec, rt);
        for k in &actions.kill {
            let Some(o) = observed.iter().find(|o| o.current().is_some_and(|c| c.id == k.id)) else { continue };
            let grace = k.grace_seconds.unwrap_or_else(|| super::spec::grace_seconds(spec)).max(0) as u64;
            self.kill(Some(object), o.current(), Some(&o.spec.container), &ips, &k.message, Duration::from_secs(grace));
        }
        let resized = self.resize(object, spec, rt, observed, &ips).await;
        if actions.create_sandbox.is_none() && actions.start.is_empty() {
            self.refresh_volumes(object, pod, spec, &ips).await;
            return Ok(resized);
        }
        if let Some((at, _)) = self.retries.get("").filter(|(at, _)| *at > Instant::now()).copied() {
            // an object that was missing may be there by now
            if self.volumes.is_mounted(spec) || !self.mount(object, pod, spec, &ips).await {
                self.wake(at);
                return Ok(false);
            }
        } else if !self.mount(object, pod, spec, &ips).await {
            return Ok(false);
        }
        if let Some(attempt) = actions.create_sandbox {
            if spec.host_network != Some(true) && !self.ctx.network.ready() {
                // the manager wakes everyone when it is
                let text = "network is not ready: container runtime network not ready";
                self.ctx.warning(object, None, "NetworkNotReady", text);
                return Ok(false);
            }
            if let Err(e) = sandbox::run(&self.ctx, object, pod, spec, attempt).await {
                self.ctx.warning(object, None, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {e}"));
                let delay = self.retry_later("");
                self.wake_in(delay);
                return Ok(false);
            }
            self.retries.remove("");
            return Ok(true);
        }
        if let Some(s) = rt.ready_sandbox().filter(|s| s.ips.is_empty() && s.netns.is_some())
            && spec.host_network != Some(true)
        {
            // the set-up was cut off
            sandbox::connect(&self.ctx, object, spec, s).await?;
            return Ok(true);
        }
        container::shared_files(&self.ctx, pod, spec, &ips)?;
        let mut done = false;
        for name in &actions.start {
            let Some(o) = observed.iter().find(|o| o.name() == name) else { continue };
            let started = self.start(object, pod, spec, rt, o, observed, &ips).await;
            done |= started;
            if started && o.spec.container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some()) {
                break;
            }
        }
        Ok(done)
    }

    /// Makes all volumes; answers whether they are there.
    async fn mount(&mut self, object: &Arc<Object>, pod: &Pod, spec: &PodSpec, ips: &[String]) -> bool {
        match self.sync_volumes(pod, spec, ips).await {
            Ok(()) => {
                self.retries.remove("");
                true
            }
            Err(e) => {
                let due = self.retries.get("").is_none_or(|(at, _)| *at <= Instant::now());
                if due {
                    self.ctx.warning(object, None, "FailedMount", e.to_string());
                    let delay = self.retry_later("");
                    self.wake_in(delay);
                }
                false
            }
        }
    }

    /// Of a running pod: what cannot be renewed stays as it is.
    async fn refresh_volumes(&mut self, object: &Arc<Object>, pod: &Pod, spec: &PodSpec, ips: &[String]) {
        if let Err(error) = self.sync_volumes(pod, spec, ips).await {
            let due = self.retries.get("refresh").is_none_or(|(at, _)| *at <= Instant::now());
            if due {
                self.ctx.warning(object, None, "FailedMount", error.to_string());
                let delay = self.retry_later("refresh");
                self.wake_in(delay);
            }
        } else {
            self.retries.remove("refresh");
        }
    }

    async fn sync_volumes(&mut self, pod: &Pod, spec: &PodSpec, ips: &[String]) -> Result<()> {
        let what = used(spec);
        let namespace = self.known.namespace.clone();
        self.ctx.objects.follow(&self.known.uid, &namespace, &what, &self.ctx.reach).await;
        let ctx = self.ctx.clone();
        let facts = ctx.fields(ips);
        let lookup = InNamespace { objects: &ctx.objects, namespace: &namespace };
        let revisions = revisions(&ctx.objects, &namespace, &what);
        let inputs =
            volume::Inputs { client: &ctx.client, pod, spec, facts: &facts, lookup: &lookup, revisions: &revisions };
        let done = self.volumes.sync(&inputs).await;
        if let Some(at) = self.volumes.due() {
            self.wake(at);
        }
        done
    }

    /// The pod's addresses, as far as they are known.
    pub(super) fn ips(&self, spec: &PodSpec, rt: &RuntimePod) -> Vec<String> {
        if spec.host_network == Some(true) {
            return match rt.ready_sandbox() {
                Some(_) => self.ctx.config.node_ips.iter().map(ToString::to_string).collect(),
                None => Vec::new(),
            };
        }
        rt.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default()
    }

    pub(super) fn facts(&self, rt: &RuntimePod) -> Facts {
        self.mailbox.with(|i| {
            let alive = |id: &String| rt.alive().any(|c| c.id == *id);
            i.hooks.retain(|id, _| alive(id));
            Facts {
                health: i.health.clone(),
                hooks: i.hooking.iter().filter(|id| alive(id)).cloned().collect(),
                killing: i.killing.keys().cloned().collect(),
                waiting: self.waiting.clone(),
            }
        })
    }

    pub(super) fn kill(
        &self,
        pod: Option<&Arc<Object>>,
        status: Option<&ContainerStatus>,
        c: Option<&api::k8s_openapi::api::core::v1::Container>,
        ips: &[String],
        message: &str,
        grace: Duration,
    ) {
        let Some(status) = status else { return };
        let victim = kill::Victim {
            pod: pod.cloned(),
            container: c.cloned(),
            status: status.clone(),
            ip: ips.first().cloned(),
            message: message.into(),
        };
        kill::kill(&self.ctx, &self.mailbox, victim, grace);
    }

    fn check_failure(&mut self, pod: &Pod, spec: &PodSpec) {
        if self.failure.is_some() {
            return;
        }
        if let Some(order) = self.mailbox.with(|i| i.order.clone()) {
            (self.failure, self.grace_limit) = (Some(order.failure), Some(order.grace_seconds));
            return;
        }
        let status = pod.status.as_ref();
        if status.is_none_or(|s| s.start_time.is_none()) {
            self.failure = sysctls::forbidden(spec);
        }
        let Some(limit) = spec.active_deadline_seconds else { return };
        let Some(start) = status.and_then(|s| s.start_time.as_ref()) else { return };
        let left = start.0.as_second() + limit - self.ctx.clock.now().as_second();
        if left > 0 {
            self.wake_in(Duration::from_secs(left as u64));
            return;
        }
        self.failure = Some(Failure {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
            disrupted: None,
        });
    }

    /// Removes what earlier runs have left: sandboxes that are not the pod's any more, and all but the last two runs of
    /// each container.
    async fn sweep(&mut self, rt: &RuntimePod) {
        let Some(current) = rt.ready_sandbox() else { return };
        for s in rt.sandboxes.iter().filter(|s| s.id != current.id) {
            let _ = self.ctx.runtime.stop_sandbox(&s.id).await;
            let _ = self.ctx.runtime.remove_sandbox(&s.id).await;
        }
        let mut runs: HashMap<&str, u32> = HashMap::new();
        for c in rt.containers.iter().filter(|c| c.sandbox == current.id) {
            let n = runs.entry(c.name.as_str()).or_default();
            *n += 1;
            if *n > 2 && c.state != runtime::ContainerState::Running {
                let _ = self.ctx.runtime.remove_container(&c.id).await;
                let _ = std::fs::remove_file(&c.log_path);
                self.messages.remove(&c.id);
            }
        }
    }

    fn tell(
        &mut self,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        rt: &RuntimePod,
        observed: &[Observed<'_>],
        terminal: bool,
    ) -> bool {
        let facts = self.facts(rt);
        self.tell_with(object, pod, spec, rt, observed, &facts, terminal)
    }

    /// Starts to write the status if it differs; answers whether the API server has it already.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn tell_with(
        &mut self,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        rt: &RuntimePod,
        observed: &[Observed<'_>],
        facts: &Facts,
        terminal: bool,
    ) -> bool {
        for c in observed.iter().flat_map(|o| o.current().into_iter().chain(o.last)) {
            if c.state == runtime::ContainerState::Exited && !self.messages.contains_key(&c.id) {
                self.messages.insert(c.id.clone(), termination::message(c));
            }
        }
        let ips = self.ips(spec, rt);
        let wanted = status::generate(&status::Inputs {
            pod,
            spec,
            rt,
            observed,
            facts,
            ips: &ips,
            host_ips: &self.ctx.config.node_ips,
            terminal,
            failure: self.failure.as_ref(),
            resizing: &self.resizing,
            message: &|c| self.messages.get(&c.id).cloned().unwrap_or_default(),
            now: self.ctx.clock.now(),
        });
        if pod.status.as_ref() == Some(&wanted) {
            return !self.mailbox.with(|i| i.writing);
        }
        let (writing, written) = self.mailbox.with(|i| (i.writing, i.written));
        if writing {
            return false;
        }
        if pod.status.as_ref().is_some_and(|old| status::of_new_generation(old, &wanted)) {
            // one write for all of it
            let due = *self.generation_due.get_or_insert_with(|| Instant::now() + GENERATION_DELAY);
            if Instant::now() < due {
                self.wake(due);
                return true;
            }
        }
        self.generation_due = None;
        if self.last_status.as_ref() == Some(&wanted) && written == Some(object.revision()) {
            return true; // the API server keeps it in another form
        }
        self.last_status = Some(wanted.clone());
        self.mailbox.with(|i| i.writing = true);
        let (ctx, mailbox, object) = (self.ctx.clone(), self.mailbox.clone(), object.clone());
        tokio::spawn(async move {
            let result = ctx.reach.learn(write::status(&ctx.client, object, wanted).await);
            match result {
                Ok(fresh) => {
                    mailbox.with(|i| i.written = Some(fresh.revision()));
                    mailbox.offer(fresh);
                }
                Err(e) if e.is_not_found() => mailbox.with(|i| i.gone = true),
                // the worker then finds what is to be told by that time
                Err(error) if client::is_unreachable(&error) => ctx.reach.back().await,
                Err(error) => {
                    tracing::warn!(%error, "a pod's status was not written");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            mailbox.update(|i| i.writing = false);
        });
        false
    }
}
