//! A machine that goes down gives its pods time to end. Upstream's graceful node shutdown (`shutdownGracePeriod`,
//! `shutdownGracePeriodCriticalPods`), without logind: who stops the kubelet asks [`machine_is_stopping`] whether it is the
//! machine that stops, or only this process, whose pods then go on.
//!
//! A pod that was ended so has failed for good (`Terminated`), as upstream: its controller makes another one. On a node that
//! starts again without a server it does not run until the server is back; hence nothing happens unless it is asked for.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::admission::CRITICAL;
use crate::context::Context;
use crate::pod::mailbox::Order;
use crate::pod::manager::Mailboxes;
use crate::pod::status::Failure;

/// Only while the machine goes down: then a look now and then costs nothing.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn run(ctx: &Arc<Context>, mailboxes: &Mailboxes, period: Duration, critical: Duration) {
    tracing::warn!(seconds = period.as_secs(), "the machine goes down: pods are ended");
    ctx.shutting_down.send_replace(true);
    let critical = critical.min(period);
    for (last, time) in [(false, period - critical), (true, critical)] {
        let mut ending = Vec::new();
        for (uid, object) in mailboxes.active() {
            let priority = object.view::<Pod>().ok().and_then(|p| p.spec.as_ref()?.priority).unwrap_or(0);
            if !last && priority >= CRITICAL {
                continue;
            }
            let message = "Pod was terminated in response to imminent node shutdown.".to_owned();
            let failure = Failure { reason: "Terminated".into(), message, disrupted: Some("TerminationByKubelet") };
            mailboxes.order(&uid, Order { failure, grace_seconds: time.as_secs().max(1) as i64 });
            ending.push(uid);
        }
        let until = Instant::now() + time;
        while Instant::now() < until && ending.iter().any(|uid| mailboxes.is_there(uid)) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether the machine is on its way down, as far as systemd or OpenRC tell. Elsewhere the answer is no.
pub fn machine_is_stopping() -> bool {
    if Path::new("/run/systemd/system").exists() {
        let state = Command::new("systemctl").arg("is-system-running").output();
        return state.is_ok_and(|o| o.stdout.trim_ascii() == b"stopping");
    }
    let level = std::fs::read_to_string("/run/openrc/softlevel").unwrap_or_default();
    matches!(level.trim(), "shutdown" | "reboot")
}

#[cfg(test)]
mod tests {
    use crate::tests::{Node1, condition, one};
    use api::Resource;
    use api::k8s_openapi::api::core::v1::Node;
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn pods_end_the_critical_last_and_none_starts() {
        let n = Node1::new();
        let mut critical = one(json!({"name": "critical"}));
        critical["priority"] = json!(2_000_000_000);
        n.pod("a", one(json!({"name": "plain"})));
        n.pod("b", critical);
        n.phase("a", "Running").await;
        n.phase("b", "Running").await;
        n.calls();
        n.kubelet.shut_down(Duration::from_secs(30), Duration::from_secs(10)).await;
        let stops: Vec<_> = n.calls().into_iter().filter(|c| c.starts_with("stop")).collect();
        assert_eq!(stops, ["stop plain 20", "stop critical 10"]);
        let ended = n.phase("a", "Failed").await;
        assert_eq!(ended["status"]["reason"], "Terminated");
        assert_eq!(condition(&ended, "DisruptionTarget"), "True");
        n.pod("late", one(json!({})));
        assert_eq!(n.phase("late", "Failed").await["status"]["reason"], "NodeShutdown");
        let ready = || condition(&n.api.tree(&Node::gvr(), "", "node1"), "Ready").clone();
        n.eventually("told", || ready() == "False").await;
    }
}
