//! `apply view-last-applied`, `apply edit-last-applied` and `apply set-last-applied`: the configuration that client-side apply keeps.

use serde_json::json;

use super::apply::{LAST_APPLIED, with_last_applied};
use super::edit;
use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::Failed;
use crate::print::{DryRun, done, yaml};
use crate::session::{MERGE, Session};

#[derive(clap::Subcommand)]
pub enum Kind {
    /// Show the configuration that was applied last
    #[command(name = "view-last-applied")]
    View(View),
    /// Edit it
    #[command(name = "edit-last-applied")]
    Edit(Edit),
    /// Make it what files say
    #[command(name = "set-last-applied")]
    Set(Set),
}

#[derive(clap::Args)]
pub struct View {
    /// TYPE NAME or TYPE/NAME
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// yaml or json
    #[arg(short, long, default_value = "yaml")]
    output: String,
}

#[derive(clap::Args)]
pub struct Edit {
    /// TYPE NAME… or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    /// yaml or json
    #[command(flatten)]
    output: Output,
    /// Who changes
    #[arg(long, default_value = "kubectl-client-side-apply")]
    field_manager: String,
}

#[derive(clap::Args)]
pub struct Set {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// Also where there is none yet
    #[arg(long)]
    create_annotation: bool,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

pub async fn run(s: &Session, kind: Kind) -> Result<()> {
    match kind {
        Kind::View(flags) => view(s, flags).await,
        Kind::Edit(flags) => edit_annotations(s, flags).await,
        Kind::Set(flags) => set(s, flags).await,
    }
}

fn missing(path: &str) -> Error {
    Error::other(format!("no last-applied-configuration annotation found on resource: {path}"))
}

async fn view(s: &Session, flags: View) -> Result<()> {
    if !matches!(flags.output.as_str(), "yaml" | "json") {
        return Err(Error::other(format!(
            "Unexpected -o output mode: {}, the flag 'output' must be one of yaml|json",
            flags.output
        )));
    }
    let mut failed = Failed::default();
    for info in s.infos(&flags.args, &flags.files, &flags.select, &mut failed).await? {
        let annotation = info.object["metadata"]["annotations"][LAST_APPLIED].as_str();
        let Some(annotation) = annotation else {
            failed.keep_later(Err::<(), _>(missing(&info.name)));
            continue;
        };
        let tree: api::Value = serde_json::from_str(annotation)?;
        match flags.output.as_str() {
            "json" => println!("{}", serde_json::to_string_pretty(&tree)?),
            _ => print!("{}", yaml::to_string(&tree)),
        }
    }
    failed.end()
}

/// What is shown in the editor is the annotation's configuration; what comes back replaces it, and nothing else.
async fn edit_annotations(s: &Session, flags: Edit) -> Result<()> {
    let mut failed = Failed::default();
    let mut infos = s.infos(&flags.args, &flags.files, &flags.select, &mut failed).await?;
    let live = infos.len();
    infos.retain_mut(|info| match annotation(&info.object) {
        Some(tree) => {
            info.object = tree;
            true
        }
        None => false,
    });
    if infos.is_empty() && live > 0 {
        return Err(Error::other(
            "no last-applied-configuration annotation found on resources, to create the annotation, use command `kubectl apply set-last-applied --create-annotation`",
        ));
    }
    edit::edit(&infos, flags.output.output.as_deref(), failed, async |info, edited| {
        edit::same_object(info, &edited)?;
        if edited == info.object {
            info.say("skipped");
            return Ok(());
        }
        let configuration = with_last_applied(&edited)["metadata"]["annotations"][LAST_APPLIED].clone();
        let patch = json!({"metadata": {"annotations": {LAST_APPLIED: configuration}}});
        let saved = info.patch(s, MERGE, &patch, &[("fieldManager", &flags.field_manager)]).await?;
        done(None, &saved, "edited", DryRun::None)
    })
    .await
}

/// The configuration that was applied last.
fn annotation(object: &api::Value) -> Option<api::Value> {
    serde_json::from_str(object["metadata"]["annotations"][LAST_APPLIED].as_str()?).ok()
}

async fn set(s: &Session, flags: Set) -> Result<()> {
    if flags.files.filename.is_empty() {
        return Err(Error::other("must specify one of -f and -k"));
    }
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let mut failed = Failed::default();
    for info in s.local(&flags.files).await? {
        let Some(live) = failed.keep_later(info.live(s).await) else { continue };
        let now = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default().to_owned();
        if now.is_empty() && !flags.create_annotation {
            let why = format!(
                "no last-applied-configuration annotation found on resource: {}, to create the annotation, run the command with \
                 --create-annotation",
                info.name
            );
            failed.keep_later(Err::<(), _>(Error::other(why)));
            continue;
        }
        let wanted = with_last_applied(&info.object)["metadata"]["annotations"][LAST_APPLIED].clone();
        let object = match wanted == now.as_str() || dry_run.client() {
            true => live,
            false => {
                let patch = json!({"metadata": {"annotations": {LAST_APPLIED: wanted}}});
                let query = [("fieldManager", "kubectl-last-applied"), ("dryRun", dry_run.query())];
                info.patch(s, MERGE, &patch, &query).await?
            }
        };
        done(flags.output.output.as_deref(), &object, "configured", dry_run)?;
    }
    failed.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_is_a_configuration() {
        let object = with_last_applied(&json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}));
        assert_eq!(annotation(&object).map(|tree| tree["data"]["a"].clone()), Some("1".into()));
        assert_eq!(annotation(&json!({"metadata": {"name": "x"}})), None);
    }
}
