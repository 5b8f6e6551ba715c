//! The end of a pod: its containers are stopped within the grace period, sidecars last; then sandbox, network and volumes go,
//! and a deleted pod's object with them. Upstream's `SyncTerminatingPod` and `SyncTerminatedPod`.

use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use api::{Object, Resource};
use client::{DeleteOptions, Precondition, Target};
use tokio::time::Instant;

use super::observe::{RuntimePod, label, observe};
use super::sandbox;
use super::spec::{Class, grace_seconds};
use super::worker::{Next, Worker};
use crate::Result;
use crate::network::PodKey;

impl Worker {
    /// `deleted`: the object is to go. `gone`: it has gone already.
    pub(super) async fn end(
        &mut self,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        deleted: bool,
        gone: bool,
    ) -> Result<Next> {
        let rt = RuntimePod::read(&*self.ctx.runtime, &self.known.uid).await?;
        let observed = observe(pod, spec, &rt);
        let ips = self.ips(spec, &rt);
        self.probes.end_liveness();
        if !self.cleaned {
            let grace = match (deleted, pod.metadata.deletion_grace_period_seconds) {
                (true, Some(s)) => s.max(1),
                _ => grace_seconds(spec),
            };
            let grace = self.grace_limit.map_or(grace, |limit| grace.min(limit));
            let by = Instant::now() + Duration::from_secs(grace.max(0) as u64);
            let by = self.end_by.map_or(by, |old| old.min(by));
            self.end_by = Some(by);
            if self.stop_containers(Some(object), &rt, &observed, &ips, by) {
                self.tell_unless(gone, object, pod, spec, &rt, &observed);
                return Ok(Next::Wait);
            }
        }
        let facts = self.facts(&rt);
        if !gone && !self.tell_with(object, pod, spec, &rt, &observed, &facts, true) {
            return Ok(Next::Wait); // the write wakes us
        }
        self.probes.end();
        if !self.cleaned {
            self.clean(&rt, Some(&sandbox::key(object, spec))).await?;
        }
        if gone {
            self.remove_logs();
            return Ok(Next::Over);
        }
        if deleted {
            let precondition = Precondition { uid: Some(self.known.uid.clone()), revision: None };
            let options = DeleteOptions { grace_seconds: Some(0), precondition, ..DeleteOptions::default() };
            let target = Target::one(Pod::gvr(), &self.known.namespace, &self.known.name);
            match self.ctx.client.delete(&target, &options).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() || e.is_conflict() => {
                    self.remove_logs();
                    return Ok(Next::Over);
                }
                Err(e) => return Err(e.into()),
            }
            // finalizers may hold it; the informer tells when it has gone
        }
        Ok(Next::Wait)
    }

    /// Of a pod that only the runtime knows.
    pub(super) async fn end_unknown(&mut self) -> Result<Next> {
        let rt = RuntimePod::read(&*self.ctx.runtime, &self.known.uid).await?;
        let told = rt.containers.iter().find_map(|c| c.annotations.get(label::GRACE)?.parse().ok());
        let by = *self.end_by.get_or_insert_with(|| Instant::now() + Duration::from_secs(told.unwrap_or(30)));
        if self.stop_containers(None, &rt, &[], &[], by) {
            return Ok(Next::Wait);
        }
        let key = PodKey {
            namespace: self.known.namespace.clone(),
            name: self.known.name.clone(),
            uid: self.known.uid.clone(),
            host_ports: Vec::new(),
        };
        self.clean(&rt, Some(&key)).await?;
        self.remove_logs();
        Ok(Next::Over)
    }

    /// Stops what runs: the sidecars, in reverse order, once nothing else does. Answers whether anything still runs.
    fn stop_containers(
        &self,
        object: Option<&Arc<Object>>,
        rt: &RuntimePod,
        observed: &[super::observe::Observed<'_>],
        ips: &[String],
        by: Instant,
    ) -> bool {
        let order = |name: &str| {
            let at = observed.iter().position(|o| o.name() == name && o.spec.class == Class::Sidecar);
            at.map_or(0, |p| observed.len() - p)
        };
        let alive: Vec<_> = rt.alive().collect();
        let Some(turn) = alive.iter().map(|c| order(&c.name)).min() else { return false };
        for c in alive.into_iter().filter(|c| order(&c.name) == turn) {
            let spec = observed.iter().find(|o| o.name() == c.name).map(|o| &*o.spec.container);
            let left = by.saturating_duration_since(Instant::now());
            self.kill(object, Some(c), spec, ips, &format!("Stopping container {}", c.name), left);
        }
        true
    }

    fn tell_unless(
        &mut self,
        gone: bool,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        rt: &RuntimePod,
        observed: &[super::observe::Observed<'_>],
    ) {
        if !gone {
            let facts = self.facts(rt);
            self.tell_with(object, pod, spec, rt, observed, &facts, true);
        }
    }

    async fn clean(&mut self, rt: &RuntimePod, key: Option<&PodKey>) -> Result<()> {
        for s in &rt.sandboxes {
            self.ctx.runtime.stop_sandbox(&s.id).await?;
        }
        if let Some(key) = key.filter(|_| rt.sandboxes.iter().any(|s| !s.config.host_network)) {
            self.ctx.network.teardown(key).await?;
        }
        for s in &rt.sandboxes {
            self.ctx.runtime.remove_sandbox(&s.id).await?;
        }
        self.volumes.teardown()?;
        self.ctx.objects.release(&self.known.uid);
        self.cleaned = true;
        Ok(())
    }

    fn remove_logs(&self) {
        let dir = self.ctx.config.pod_log_dir(&self.known.namespace, &self.known.name, &self.known.uid);
        let _ = std::fs::remove_dir_all(dir);
    }
}
