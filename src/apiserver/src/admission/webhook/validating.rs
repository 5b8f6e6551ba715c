//! Validating webhooks, all at once. Upstream's `webhook/validating/dispatcher.go`.

use api::Status;
use futures::future::join_all;

use super::{Failed, Hook, review};
use crate::admission::Write;
use crate::admission::extension::Extensions;
use crate::admission::scene::Scene;
use crate::audit::annotate;

pub async fn admit(x: &Extensions, hooks: &[Hook], s: &Scene<'_>, w: &mut Write<'_>) -> Result<(), Status> {
    let mut calls = Vec::new();
    for hook in hooks {
        if let Some(wanted) = hook.wanted(x, s, w.object).await? {
            let at = calls.len();
            calls.push(async move { (hook, at, hook.call(x, s, &wanted, false).await) });
        }
    }
    let mut first = Ok(());
    for (hook, at, done) in join_all(calls).await {
        let refused = match done {
            Ok(verdict) => {
                w.warnings.extend(verdict.warnings);
                (!verdict.allowed).then(|| review::refusal(&hook.name, &verdict.status))
            }
            Err(Failed::Refused(status)) => Some(status),
            Err(Failed::Call(why)) if hook.ignore => {
                tracing::warn!(webhook = hook.name, error = why, "failed calling webhook, failing open");
                annotate(&format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}"), &hook.name);
                None
            }
            Err(Failed::Call(why)) => {
                tracing::warn!(webhook = hook.name, error = why, "failed calling webhook, failing closed");
                Some(Status::internal(why))
            }
        };
        if let (Some(status), Ok(())) = (refused, &first) {
            first = Err(status);
        }
    }
    first
}
