//! `rollout`: status, history, undo, restart, pause and resume of deployments, daemon sets and stateful sets.

mod history;
mod status;
mod undo;

use api::Value;
use serde_json::json;

use crate::cli::{Files, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info};
use crate::session::{MERGE, STRATEGIC, Session};

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Wait until the rollout is through
    Status(status::Flags),
    /// The revisions
    History(history::Flags),
    /// Back to an earlier revision
    Undo(undo::Flags),
    /// Replace all pods
    Restart(On),
    /// Hold the rollout
    Pause(On),
    /// Go on with the rollout
    Resume(On),
}

/// What a rollout command is about.
#[derive(clap::Args)]
pub struct On {
    /// TYPE NAME or TYPE/NAME
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Only objects with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
}

impl On {
    async fn infos(&self, s: &Session, failed: &mut Failed) -> Result<Vec<Info>> {
        if self.args.is_empty() && self.files.filename.is_empty() {
            return Err(Error::other("required resource not specified"));
        }
        let select = Select { selector: self.selector.clone(), ..Select::default() };
        s.infos(&self.args, &self.files, &select, failed).await
    }
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    match flags.what {
        What::Status(f) => status::run(s, f).await,
        What::History(f) => history::run(s, f).await,
        What::Undo(f) => undo::run(s, f).await,
        What::Restart(on) => each(s, &on, restart).await,
        What::Pause(on) => each(s, &on, |info| pause(info, true)).await,
        What::Resume(on) => each(s, &on, |info| pause(info, false)).await,
    }
}

/// Sends each object the patch that `make` makes for it.
async fn each(s: &Session, on: &On, make: impl Fn(&Info) -> Result<(&'static str, Value, &'static str)>) -> Result<()> {
    let mut failed = Failed::default();
    for info in on.infos(s, &mut failed).await? {
        let done = async {
            let (content_type, patch, what) = make(&info)?;
            info.patch(s, content_type, &patch, &[("fieldManager", "kubectl-rollout")]).await?;
            info.say(what);
            Ok(())
        };
        failed.keep_later(done.await);
    }
    failed.end()
}

fn restart(info: &Info) -> Result<(&'static str, Value, &'static str)> {
    let kind = info.mapping.kind.as_str();
    if !matches!(kind, "Deployment" | "DaemonSet" | "StatefulSet") {
        return Err(Error::other(format!("{} {:?} restarting is not supported", info.mapping.resource(), info.name)));
    }
    if info.object["spec"]["paused"] == true {
        return Err(Error::other("can't restart paused deployment (run rollout resume first)"));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    Ok((STRATEGIC, json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}), "restarted"))
}

fn pause(info: &Info, pause: bool) -> Result<(&'static str, Value, &'static str)> {
    let paused = info.object["spec"]["paused"] == true;
    let subject = format!("{} {:?}", info.mapping.resource(), info.name);
    if info.mapping.kind != "Deployment" {
        return Err(Error::other(format!("{subject} {} is not supported", if pause { "pausing" } else { "resuming" })));
    }
    match (pause, paused) {
        (true, true) => Err(Error::other(format!("{subject} is already paused"))),
        (false, false) => Err(Error::other(format!("{subject} is not paused"))),
        (true, _) => Ok((MERGE, json!({"spec": {"paused": true}}), "paused")),
        (false, _) => Ok((MERGE, json!({"spec": {"paused": null}}), "resumed")),
    }
}
