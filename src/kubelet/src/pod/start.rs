//! Starting one container: back-off, image, configuration, creation, postStart. Upstream's `startContainer`.

use std::sync::Arc;
use std::time::Duration;

use api::Object;
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use runtime::Image;
use tokio::time::Instant;

use super::actions::Waiting;
use super::backoff::go_duration;
use super::mailbox::Pull;
use super::observe::{Observed, RuntimePod, State};
use super::spec::{Class, format_pod};
use super::worker::Worker;
use super::{container, hooks};

impl Worker {
    /// Answers whether it was started, or anything else done. What stands in the way is in `self.waiting`.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn start(
        &mut self,
        object: &Arc<Object>,
        pod: &Pod,
        spec: &PodSpec,
        rt: &RuntimePod,
        o: &Observed<'_>,
        observed: &[Observed<'_>],
        ips: &[String],
    ) -> bool {
        let c: &Container = &o.spec.container;
        let Some(sandbox) = rt.ready_sandbox() else { return false };
        if let State::Created(s) = o.state {
            let _ = self.ctx.runtime.remove_container(&s.id).await;
        }
        let failed_at = match o.state {
            State::Exited(s) => Some(self.ctx.instant(s.finished_nanos)),
            _ => None,
        };
        if let Some(failed) = failed_at
            && let Some((left, delay)) = self.backoff.wait(&c.name, failed)
        {
            self.wake_in(left);
            let message = format!(
                "back-off {} restarting failed container={} pod={}",
                go_duration(delay),
                c.name,
                format_pod(pod)
            );
            let waiting = Waiting { reason: "CrashLoopBackOff".into(), message };
            if self.waiting.get(&c.name) != Some(&waiting) {
                let text = format!("Back-off restarting failed container {} in pod {}", c.name, format_pod(pod));
                self.ctx.warning(object, Some(&c.name), "BackOff", text);
                self.waiting.insert(c.name.clone(), waiting);
            }
            return false;
        }
        if let Some((at, _)) = self.retries.get(&c.name).copied()
            && at > Instant::now()
            && self.waiting.get(&c.name).is_some_and(|w| w.reason != "CreateContainerConfigError")
        {
            self.wake(at);
            return false;
        }
        let ran = o.current().map(|s| s.image_id.as_str()).or(o.reported.map(|r| r.image_id.as_str()));
        let Some(image) = self.image(object, spec, c, ran).await else { return false };
        let target = o
            .spec
            .target
            .and_then(|t| observed.iter().find(|x| x.name() == t).and_then(Observed::current).map(|s| s.id.clone()));
        let attempt = o.next_attempt();
        let config = container::config(&container::Inputs {
            ctx: &self.ctx,
            pod,
            spec,
            container: c,
            attempt,
            image: &image,
            ips,
            volumes: &self.volumes,
            target,
        });
        let config = match config {
            Ok(config) => config,
            Err(e) => return self.not_started(object, c, "CreateContainerConfigError", &e.to_string()),
        };
        if let Some(failed) = failed_at {
            self.backoff.next(&c.name, failed);
        }
        let id = match self.ctx.runtime.create_container(&sandbox.id, config).await {
            Ok(id) => id,
            Err(e) => return self.not_started(object, c, "CreateContainerError", &e.to_string()),
        };
        self.ctx.normal(object, Some(&c.name), "Created", "Container created");
        let hook = c.lifecycle.as_ref().and_then(|l| l.post_start.clone()).filter(|_| o.spec.class != Class::Ephemeral);
        if hook.is_some() {
            self.mailbox.with(|i| i.hooking.insert(id.clone()));
        }
        if let Err(e) = self.ctx.runtime.start_container(&id).await {
            self.mailbox.with(|i| i.hooking.remove(&id));
            return self.not_started(object, c, "RunContainerError", &e.to_string());
        }
        self.ctx.normal(object, Some(&c.name), "Started", "Container started");
        self.waiting.remove(&c.name);
        self.retries.remove(&c.name);
        self.mailbox.with(|i| i.pulls.remove(&c.name));
        if let Some(hook) = hook {
            let (ctx, mailbox, c, ip) = (self.ctx.clone(), self.mailbox.clone(), c.clone(), ips.first().cloned());
            let object = object.clone();
            let grace = super::spec::grace_seconds(spec).max(0) as u64;
            tokio::spawn(async move {
                let result = hooks::run(&ctx, &hook, &c, &id, ip.as_deref()).await;
                if let Err(text) = result {
                    ctx.warning(&object, Some(&c.name), "FailedPostStartHook", format!("PostStartHook failed: {text}"));
                    let status =
                        ctx.runtime.containers(None).await.unwrap_or_default().into_iter().find(|s| s.id == id);
                    if let Some(status) = status {
                        let message = "FailedPostStartHook".into();
                        let victim = super::kill::Victim { pod: Some(object), container: Some(c), status, ip, message };
                        super::kill::kill(&ctx, &mailbox, victim, Duration::from_secs(grace));
                    }
                }
                mailbox.update(|i| i.hooking.remove(&id));
            });
        }
        true
    }

    fn not_started(&mut self, object: &Arc<Object>, c: &Container, reason: &str, message: &str) -> bool {
        let waiting = Waiting { reason: reason.into(), message: message.into() };
        let news = self.waiting.get(&c.name) != Some(&waiting);
        if news || self.retries.get(&c.name).is_none_or(|(at, _)| *at <= Instant::now()) {
            self.ctx.warning(object, Some(&c.name), "Failed", format!("Error: {message}"));
            self.retry_later(&c.name);
        }
        if let Some((at, _)) = self.retries.get(&c.name).copied() {
            self.wake(at);
        }
        self.waiting.insert(c.name.clone(), waiting);
        false
    }

    /// The image, if it is there; else a pull is started, or waited for. `ran`: the id of the one that it ran with before.
    async fn image(&mut self, object: &Arc<Object>, spec: &PodSpec, c: &Container, ran: Option<&str>) -> Option<Image> {
        let name = c.image.clone().unwrap_or_default();
        let mut policy = c.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let here = match self.ctx.runtime.image(&name).await {
            Ok(found) => found,
            Err(e) => {
                self.not_started(object, c, "ErrImageInspect", &format!("Failed to inspect image {name:?}: {e}"));
                return None;
            }
        };
        if policy == "Always" && self.ctx.reach.is_away() && here.as_ref().is_some_and(|i| Some(i.id.as_str()) == ran) {
            // cut off from its servers a node is mostly cut off from registries too: what ran may run again
            policy = "IfNotPresent";
        }
        let pull = self.mailbox.with(|i| i.pulls.get(&c.name).cloned());
        match pull {
            Some(Pull::Running) => return None,
            Some(Pull::Done(id)) => return self.ctx.runtime.image(&id).await.ok().flatten().or(here),
            Some(Pull::Failed { reason, message, at }) => {
                let key = format!("image:{name}");
                if let (Some(image), false) = (&here, policy == "Always") {
                    self.mailbox.with(|i| i.pulls.remove(&c.name));
                    return Some(image.clone());
                }
                match self.backoff.wait(&key, at) {
                    None => {
                        self.mailbox.with(|i| i.pulls.remove(&c.name));
                    }
                    Some((left, _)) => {
                        // the error itself shows for a second first
                        let shown = at + Duration::from_secs(1);
                        if Instant::now() < shown {
                            self.wake(shown);
                            self.waiting.insert(c.name.clone(), Waiting { reason: reason.into(), message });
                            return None;
                        }
                        self.wake_in(left);
                        let waiting = Waiting {
                            reason: "ImagePullBackOff".into(),
                            message: format!("Back-off pulling image {name:?}: {reason}: {message}"),
                        };
                        if self.waiting.get(&c.name) != Some(&waiting) {
                            self.ctx.normal(
                                object,
                                Some(&c.name),
                                "BackOff",
                                format!("Back-off pulling image {name:?}"),
                            );
                            self.ctx.warning(object, Some(&c.name), "Failed", "Error: ImagePullBackOff");
                            self.waiting.insert(c.name.clone(), waiting);
                        }
                        return None;
                    }
                }
            }
            None => {}
        }
        match (here, policy) {
            (Some(image), "IfNotPresent" | "Never") => {
                let text = format!("Container image {name:?} already present on machine");
                if !self.waiting.contains_key(&c.name) {
                    self.ctx.normal(object, Some(&c.name), "Pulled", text);
                }
                Some(image)
            }
            (None, "Never") => {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                let waiting = Waiting { reason: "ErrImageNeverPull".into(), message: message.clone() };
                if self.waiting.insert(c.name.clone(), waiting.clone()) != Some(waiting) {
                    self.ctx.warning(object, Some(&c.name), "ErrImageNeverPull", message);
                    self.ctx.warning(object, Some(&c.name), "Failed", "Error: ErrImageNeverPull");
                }
                let delay = self.retry_later(&c.name);
                self.wake_in(delay);
                None
            }
            _ => {
                self.pull(object, spec, c, name, policy == "Always");
                None
            }
        }
    }

    fn pull(&mut self, object: &Arc<Object>, spec: &PodSpec, c: &Container, image: String, always: bool) {
        self.mailbox.with(|i| i.pulls.insert(c.name.clone(), Pull::Running));
        self.backoff.next(&format!("image:{image}"), Instant::now());
        self.ctx.normal(object, Some(&c.name), "Pulling", format!("Pulling image {image:?}"));
        let (ctx, mailbox, object, spec) = (self.ctx.clone(), self.mailbox.clone(), object.clone(), spec.clone());
        let name = c.name.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let pulled = ctx.puller.pull(&ctx, &spec, object.namespace(), &image, always).await;
            let outcome = match pulled {
                Ok(id) => {
                    let took = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
                    let text = format!("Successfully pulled image {image:?} in {took}s ({took}s including waiting).");
                    ctx.normal(&object, Some(&name), "Pulled", text);
                    Pull::Done(id)
                }
                Err(e) => {
                    let message = e.to_string();
                    ctx.warning(&object, Some(&name), "Failed", format!("Failed to pull image {image:?}: {message}"));
                    ctx.warning(&object, Some(&name), "Failed", "Error: ErrImagePull");
                    Pull::Failed { reason: "ErrImagePull", message, at: Instant::now() }
                }
            };
            mailbox.update(|i| i.pulls.insert(name, outcome));
        });
    }
}
