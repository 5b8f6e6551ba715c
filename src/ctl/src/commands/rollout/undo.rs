//! `rollout undo`: the pod template of an earlier revision again.

use api::Value;
use serde_json::{Map, json};

use super::On;
use super::history::{Revision, revisions};
use crate::commands::describe;
use crate::error::{Error, Result};
use crate::objects::{Failed, Info};
use crate::print::DryRun;
use crate::session::{JSON_PATCH, STRATEGIC, Session};

#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    on: On,
    /// The revision; 0: the last but one
    #[arg(long, default_value_t = 0)]
    to_revision: i64,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

/// What belongs to a revision and not to the deployment that goes back to it.
const KEPT: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let mut failed = Failed::default();
    for info in flags.on.infos(s, &mut failed).await? {
        let undone = undo(s, &info, flags.to_revision, dry_run).await;
        failed.keep_later(undone);
    }
    failed.end()
}

async fn undo(s: &Session, info: &Info, to: i64, dry_run: DryRun) -> Result<()> {
    let all = revisions(s, info).await?;
    if info.object["spec"]["paused"] == true {
        return Err(Error::other(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    let found = match to {
        0 if all.len() < 2 => {
            let kind = info.mapping.kind.to_lowercase();
            return Err(Error::other(match kind.as_str() {
                "deployment" => format!("no rollout history found for deployment {:?}", info.name),
                _ => "no last revision to roll back to".to_owned(),
            }));
        }
        0 => &all[all.len() - 2],
        to => all
            .iter()
            .find(|r| r.number == to)
            .ok_or_else(|| Error::other(format!("unable to find specified revision {to} in history")))?,
    };
    let mut template = found.template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    if dry_run.client() {
        info.say(&format!("{}{}", describe::pod_template(&template), dry_run.suffix()));
        return Ok(());
    }
    if info.object["spec"]["template"] == template {
        info.say(&format!("skipped rollback (current template already matches revision {})", found.number));
        return Ok(());
    }
    let query = [("fieldManager", "kubectl-rollout"), ("dryRun", dry_run.query())];
    if info.mapping.kind == "Deployment" {
        let patch = json!([
            {"op": "replace", "path": "/spec/template", "value": template},
            {"op": "replace", "path": "/metadata/annotations", "value": annotations(info, found)},
        ]);
        info.patch(s, JSON_PATCH, &patch, &query).await?;
    } else {
        info.patch(s, STRATEGIC, &found.object["data"], &query).await?;
    }
    info.say(&format!("rolled back{}", dry_run.suffix()));
    Ok(())
}

/// The revision's annotations, but the deployment's own bookkeeping.
fn annotations(info: &Info, revision: &Revision) -> Map<String, Value> {
    let of = |o: &Value| o["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let mut all = of(&revision.object);
    all.retain(|k, _| !KEPT.contains(&k.as_str()));
    all.extend(of(&info.object).into_iter().filter(|(k, _)| KEPT.contains(&k.as_str())));
    all
}
