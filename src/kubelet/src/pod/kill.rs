//! Stopping one container: preStop within the grace period, then the stop signal, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use api::Object;
use api::k8s_openapi::api::core::v1::Container;
use runtime::ContainerStatus;
use tokio::time::Instant;

use super::hooks;
use super::mailbox::Mailbox;
use crate::context::Context;

/// What a kill needs to know of its pod.
#[derive(Clone)]
pub(crate) struct Victim {
    pub pod: Option<Arc<Object>>,
    pub container: Option<Container>,
    pub status: ContainerStatus,
    pub ip: Option<String>,
    pub message: String,
}

/// Upstream's `minimumGracePeriodInSeconds`: what is left to the stop signal after a long preStop hook.
const LEAST: Duration = Duration::from_secs(2);

/// Starts to stop it in a task of its own, unless that is under way already with no more grace. The worker is woken when
/// it is over.
pub(crate) fn kill(ctx: &Arc<Context>, mailbox: &Arc<Mailbox>, victim: Victim, grace: Duration) {
    let deadline = Instant::now() + grace;
    let id = victim.status.id.clone();
    let first = mailbox.with(|i| match i.killing.get_mut(&id) {
        Some(old) if *old <= deadline + Duration::from_millis(500) => None,
        Some(old) => {
            *old = deadline;
            Some(false)
        }
        None => {
            i.killing.insert(id.clone(), deadline);
            Some(true)
        }
    });
    let Some(first) = first else { return };
    if first && let Some(pod) = &victim.pod {
        ctx.normal(pod, Some(&victim.status.name), "Killing", victim.message.clone());
    }
    let (ctx, mailbox) = (ctx.clone(), mailbox.clone());
    tokio::spawn(async move {
        let mut left = grace;
        if first && !grace.is_zero() {
            pre_stop(&ctx, &victim, grace).await;
            left = deadline.saturating_duration_since(Instant::now()).max(LEAST.min(grace));
        }
        if let Err(error) = ctx.runtime.stop_container(&id, left).await {
            match error {
                runtime::Error::NotFound(_) => {}
                error => {
                    tracing::warn!(container = victim.status.name, %error, "a container could not be stopped");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
        }
        mailbox.update(|i| i.killing.remove(&id));
    });
}

async fn pre_stop(ctx: &Context, v: &Victim, grace: Duration) {
    let Some(container) = &v.container else { return };
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return };
    let run = hooks::run(ctx, hook, container, &v.status.id, v.ip.as_deref());
    let why = match tokio::time::timeout(grace, run).await {
        Ok(Ok(())) => return,
        Ok(Err(text)) => text,
        Err(_) => "the hook did not end within the grace period".into(),
    };
    if let Some(pod) = &v.pod {
        ctx.warning(pod, Some(&container.name), "FailedPreStopHook", format!("PreStopHook failed: {why}"));
    }
}
