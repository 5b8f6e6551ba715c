//! Mutating webhooks, one after the other. Upstream's `webhook/mutating/dispatcher.go`.

use api::{Status, Value, patch};
use serde_json::json;

use super::{Failed, Hook, review};
use crate::admission::Write;
use crate::admission::extension::Extensions;
use crate::admission::scene::{Invocation, Scene, Views};
use crate::audit::{annotate, is_recorded};

pub async fn admit(x: &Extensions, hooks: &[Hook], s: &Scene<'_>, w: &mut Write<'_>) -> Result<(), Status> {
    let second = w.again.second;
    w.again.webhooks.begin(second, w.object);
    for (i, hook) in hooks.iter().enumerate() {
        let Some(wanted) = hook.wanted(x, s, w.object).await? else { continue };
        // what did not run in the first round does not in the second
        if second && !w.again.webhooks.is_due(&hook.id) {
            continue;
        }
        let round = format!("round_{}_index_{i}", usize::from(second));
        let done = run(x, hook, s, wanted, w, &round).await;
        let changed = matches!(done, Ok(true));
        if is_recorded() {
            let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
            annotate(&format!("mutation.webhook.admission.k8s.io/{round}"), &note.to_string());
        }
        if changed {
            w.again.webhooks.require();
            w.again.wanted = true;
        }
        if hook.again {
            w.again.webhooks.remember(&hook.id);
        }
        match done {
            Ok(_) => {}
            Err(Failed::Refused(status)) => return Err(status),
            Err(Failed::Call(why)) if hook.ignore => {
                tracing::warn!(webhook = hook.name, error = why, "failed calling webhook, failing open");
                annotate(&format!("failed-open.mutation.webhook.admission.k8s.io/{round}"), &hook.name);
            }
            Err(Failed::Call(why)) => {
                tracing::warn!(webhook = hook.name, error = why, "failed calling webhook, failing closed");
                return Err(Status::internal(why));
            }
        }
    }
    w.again.webhooks.end(w.object);
    Ok(())
}

/// Calls one webhook and applies its patch; whether that changed anything.
async fn run(
    x: &Extensions,
    hook: &Hook,
    s: &Scene<'_>,
    wanted: (Invocation, Views),
    w: &mut Write<'_>,
    round: &str,
) -> Result<bool, Failed> {
    let verdict = hook.call(x, s, &wanted, true).await?;
    w.warnings.extend(verdict.warnings);
    if !verdict.allowed {
        return Err(Failed::Refused(review::refusal(&hook.name, &verdict.status)));
    }
    let Some(bytes) = verdict.patch else { return Ok(false) };
    let internal = |e: &dyn std::fmt::Display| Failed::Refused(Status::internal(e));
    let operations: Value = serde_json::from_slice(&bytes).map_err(|e| internal(&e))?;
    if operations.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    let (invocation, Views { object: before, .. }) = wanted;
    if before.is_null() {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(internal(&why));
    }
    let mut after = before.clone();
    patch::json(&mut after, &operations).map_err(|e| internal(&e))?;
    if is_recorded() {
        let note = json!({"configuration": hook.configuration, "webhook": hook.name, "patch": operations, "patchType": "JSONPatch"});
        annotate(&format!("patch.webhook.admission.k8s.io/{round}"), &note.to_string());
    }
    if after == before {
        return Ok(false);
    }
    s.put_back(after, &invocation.kind, w.object).await.map_err(Failed::Refused)?;
    Ok(true)
}
