//! A resize in place: what a running container may use is changed where it runs, or by a restart where its `resizePolicy` asks for
//! one. Upstream's `doPodResizeAction`. What holds is the runtime's to tell, so a kubelet that was started anew knows it, too.

use std::sync::Arc;
use std::time::Duration;

use api::Object;
use api::k8s_openapi::api::core::v1::{Container, PodCondition, PodSpec};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::{ContainerStatus, Resources};

use super::observe::{Observed, RuntimePod, State};
use super::resources;
use super::spec::Class;
use super::worker::Worker;
use crate::Result;

/// Why the containers are not as wide as the spec says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trouble {
    /// The node never has that much.
    pub infeasible: Option<String>,
    pub error: Option<String>,
}

pub(crate) const CONDITIONS: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

impl Trouble {
    /// Upstream's conditions of it, for as long as there is any.
    pub fn add_to(&self, all: &mut Vec<PodCondition>, now: &Time, generation: Option<i64>) {
        let told = [("Infeasible", &self.infeasible), ("Error", &self.error)];
        for (kind, (reason, message)) in CONDITIONS.into_iter().zip(told) {
            let was = all.iter().position(|c| c.type_ == kind).map(|i| all.remove(i));
            let Some(message) = message else { continue };
            let since = was.filter(|c| c.reason.as_deref() == Some(reason)).and_then(|c| c.last_transition_time);
            all.push(PodCondition {
                type_: kind.into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(message.clone()),
                last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
                observed_generation: generation,
                ..PodCondition::default()
            });
        }
    }
}

/// Whether the kernel holds a container to this already.
pub(crate) fn holds(has: &Resources, wanted: &Resources) -> bool {
    cpu(has) == cpu(wanted) && has.memory_limit_bytes == wanted.memory_limit_bytes
}

fn cpu(r: &Resources) -> (u64, Option<i64>) {
    (r.cpu_shares, r.cpu_quota_us)
}

fn needs_restart(c: &Container, has: &Resources, wanted: &Resources) -> bool {
    let asked = |resource: &str| {
        let policies = c.resize_policy.iter().flatten();
        policies.filter(|p| p.resource_name == resource).any(|p| p.restart_policy == "RestartContainer")
    };
    asked("cpu") && cpu(has) != cpu(wanted) || asked("memory") && has.memory_limit_bytes != wanted.memory_limit_bytes
}

/// Room for both: a pod's limits grow before its containers' and shrink after them.
fn wide(has: &Resources, wanted: &Resources) -> Resources {
    Resources {
        cpu_quota_us: has.cpu_quota_us.zip(wanted.cpu_quota_us).map(|(a, b)| a.max(b)),
        memory_limit_bytes: has.memory_limit_bytes.zip(wanted.memory_limit_bytes).map(|(a, b)| a.max(b)),
        ..wanted.clone()
    }
}

impl Worker {
    /// Answers whether anything was changed.
    pub(super) async fn resize(
        &mut self,
        object: &Arc<Object>,
        spec: &PodSpec,
        rt: &RuntimePod,
        observed: &[Observed<'_>],
        ips: &[String],
    ) -> bool {
        let Some(sandbox) = rt.ready_sandbox() else { return false };
        let memory = self.ctx.machine.memory_bytes;
        let mut others = Vec::new();
        for o in observed.iter().filter(|o| o.in_sandbox && matches!(o.spec.class, Class::Regular | Class::Sidecar)) {
            let State::Running(c) = o.state else { continue };
            let wanted = resources::container(spec, &o.spec.container, memory);
            if !holds(&c.resources, &wanted) && !self.mailbox.with(|i| i.killing.contains_key(&c.id)) {
                others.push((o, c, wanted));
            }
        }
        let of_pod = resources::pod(spec);
        if others.is_empty() && holds(&sandbox.config.resources, &of_pod) {
            self.resizing = Trouble::default();
            return false;
        }
        self.resizing.infeasible = self.infeasible(spec);
        if self.resizing.infeasible.is_some() {
            return false;
        }
        let done = self.apply(object, spec, (&sandbox.id, &sandbox.config.resources, &of_pod), &others, ips).await;
        self.resizing.error = done.as_ref().err().map(ToString::to_string);
        if done.is_err() {
            let delay = self.retry_later("resize");
            self.wake_in(delay);
        } else {
            self.retries.remove("resize");
        }
        done.is_ok()
    }

    async fn apply(
        &self,
        object: &Arc<Object>,
        spec: &PodSpec,
        (sandbox, has, of_pod): (&str, &Resources, &Resources),
        containers: &[(&Observed<'_>, &ContainerStatus, Resources)],
        ips: &[String],
    ) -> Result<()> {
        let runtime = &self.ctx.runtime;
        let both = wide(has, of_pod);
        if !holds(has, &both) {
            runtime.update_resources(sandbox, both.clone()).await?;
        }
        for (o, c, wanted) in containers {
            if needs_restart(&o.spec.container, &c.resources, wanted) {
                let text = format!("Container {} resize requires restart", o.name());
                let grace = Duration::from_secs(super::spec::grace_seconds(spec).max(0) as u64);
                self.kill(Some(object), Some(c), Some(&o.spec.container), ips, &text, grace);
                continue;
            }
            if let Some(limit) =
                wanted.memory_limit_bytes.filter(|l| c.resources.memory_limit_bytes.is_none_or(|h| *l < h))
            {
                let used = runtime.stats(&c.id).await?.memory_working_set_bytes;
                if i64::try_from(used).is_ok_and(|used| used > limit) {
                    let text = format!(
                        "attempting to set container {} memory limit ({limit}) below current usage ({used})",
                        o.name()
                    );
                    return Err(crate::Error::Config(text));
                }
            }
            runtime.update_resources(&c.id, wanted.clone()).await?;
        }
        if !holds(&both, of_pod) {
            runtime.update_resources(sandbox, of_pod.clone()).await?;
        }
        Ok(())
    }

    fn infeasible(&self, spec: &PodSpec) -> Option<String> {
        let machine = &self.ctx.machine;
        let has = [("cpu", machine.cpus.saturating_mul(1000)), ("memory", machine.memory_bytes)];
        has.into_iter().find_map(|(resource, capacity)| {
            let milli = resources::total(spec, resource, false)?.0;
            let requested = if resource == "cpu" { milli } else { milli / 1000 };
            let text = || {
                format!("Node didn't have enough capacity: {resource}, requested: {requested}, capacity: {capacity}")
            };
            (requested > capacity).then(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(quota: Option<i64>, memory: Option<i64>) -> Resources {
        Resources { cpu_shares: 2, cpu_quota_us: quota, memory_limit_bytes: memory, ..Resources::default() }
    }

    #[test]
    fn pods_grow_before_and_shrink_after_their_containers() {
        let (small, large) = (r(Some(10), Some(100)), r(Some(20), Some(200)));
        for (has, wanted) in [(&small, &large), (&large, &small)] {
            assert_eq!(wide(has, wanted), large);
        }
        assert_eq!(wide(&r(None, None), &small), r(None, None), "what was without bounds stays so until the end");
        assert!(holds(&small, &Resources { oom_score_adj: Some(7), ..small.clone() }) && !holds(&small, &large));
    }

    #[test]
    fn trouble_is_told_as_long_as_it_lasts() {
        let time = |s: i64| Time(jiff::Timestamp::from_second(s).unwrap());
        let mut all = Vec::new();
        let trouble = Trouble { infeasible: Some("too much".into()), error: None };
        trouble.add_to(&mut all, &time(1), Some(2));
        trouble.add_to(&mut all, &time(5), Some(2));
        assert_eq!(
            (all.len(), all[0].type_.as_str(), all[0].reason.as_deref()),
            (1, "PodResizePending", Some("Infeasible"))
        );
        assert_eq!(all[0].last_transition_time, Some(time(1)));
        Trouble::default().add_to(&mut all, &time(6), Some(3));
        assert!(all.is_empty());
    }
}
