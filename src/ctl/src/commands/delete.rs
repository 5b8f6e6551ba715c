//! `delete`: by files, names, selectors or all; waits until the objects are gone.

use std::time::Duration;

use api::Value;
use http::Method;
use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info, duration, text};
use crate::print::DryRun;
use crate::session::{JSON, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE[,TYPE] NAME… or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    output: Output,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Seconds that an object has to end; -1: its own
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// With --grace-period=0: do not wait for the node
    #[arg(long)]
    force: bool,
    /// --grace-period=1
    #[arg(long)]
    now: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: bool,
    /// How long to wait; 0: as long as it takes
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// background, orphan or foreground: what happens to dependents
    #[arg(long, default_value = "background", num_args = 0..=1, require_equals = true, default_missing_value = "background")]
    cascade: String,
    /// Objects that are not there are no error
    #[arg(long)]
    ignore_not_found: bool,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Delete what this path names
    #[arg(long)]
    raw: Option<String>,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    if let Some(path) = &flags.raw {
        let answer = s.send(Method::DELETE, path, JSON, None).await?;
        println!("{answer}");
        return Ok(());
    }
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let name_only = match flags.output.output.as_deref() {
        None => false,
        Some("name") => true,
        Some(other) => {
            return Err(Error::other(format!("unexpected -o output mode: {other}. We only support '-o name'")));
        }
    };
    let mut grace = flags.grace_period;
    if flags.now {
        if grace != -1 {
            return Err(Error::other("--now and --grace-period cannot be specified together"));
        }
        grace = 1;
    }
    if grace == 0 && !flags.force {
        // upstream keeps the object until the node has let go of it
        grace = 1;
    }
    if flags.force && grace < 0 {
        grace = 0;
    }
    if flags.force && grace > 0 {
        return Err(Error::other("--force and --grace-period greater than 0 cannot be specified together"));
    }
    if flags.force {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let policy = match flags.cascade.as_str() {
        "background" | "true" => "Background",
        "orphan" | "false" => "Orphan",
        "foreground" => "Foreground",
        other => {
            return Err(Error::other(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let mut failed = Failed::default();
    let infos = infos(s, &flags, &mut failed).await?;
    if infos.is_empty() && failed.is_empty() && !flags.ignore_not_found {
        println!("No resources found");
        return Ok(());
    }
    let mut gone = Vec::new();
    for info in &infos {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        if grace >= 0 {
            options["gracePeriodSeconds"] = grace.into();
        }
        let path = with_query(&info.path(), &[("dryRun", dry_run.query())]);
        let answer = match dry_run.client() {
            true if info.source.is_empty() => info.live(s).await,
            true => Ok(info.object.clone()),
            false => s.send(Method::DELETE, &path, JSON, Some(&options)).await,
        };
        if flags.ignore_not_found && answer.as_ref().is_err_and(Error::is_not_found) {
            continue;
        }
        let Some(answer) = failed.keep_later(answer.map_err(|e| e.when("deleting", &info.source))) else { continue };
        if name_only {
            println!("{}", info.id());
        } else {
            let how = if flags.force { "force deleted" } else { "deleted" };
            println!("{} {:?} {how}{}", info.mapping.short(), info.name, dry_run.suffix());
        }
        gone.push((info, uid(&answer)));
    }
    if flags.wait && dry_run == DryRun::None {
        let timeout = duration(&flags.timeout)?.filter(|t| !t.is_zero());
        for (info, uid) in gone {
            let waited = wait_gone(s, info, uid, timeout).await;
            failed.keep_later(waited);
        }
    }
    failed.end()
}

async fn infos(s: &Session, flags: &Flags, failed: &mut Failed) -> Result<Vec<Info>> {
    if !flags.files.filename.is_empty() {
        return s.local_some(&flags.files, failed).await;
    }
    let targets = s.targets(&flags.args).await?;
    if targets.is_empty() {
        return Err(Error::other(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    let picks = flags.all || flags.select.selector.is_some() || flags.select.field_selector.is_some();
    if targets.iter().any(|t| t.name.is_some()) {
        if picks && flags.select.selector.is_some() {
            return Err(Error::other("name cannot be provided when a selector is specified"));
        }
        let known = targets.into_iter().map(|t| {
            let namespace = s.namespace_of(&t.mapping, false).to_owned();
            Info {
                mapping: t.mapping,
                namespace,
                name: t.name.unwrap_or_default(),
                object: Value::Null,
                source: String::new(),
            }
        });
        return Ok(known.collect());
    }
    if !picks {
        return Err(Error::other("resource(s) were provided, but no name was specified"));
    }
    s.infos(&flags.args, &Files::default(), &flags.select, failed).await
}

/// The uid of what was deleted: of the object, or of the `Status` that names it.
fn uid(answer: &Value) -> String {
    let of = |p: &str| text(answer, p).to_owned();
    if answer["kind"] == "Status" { of("/details/uid") } else { of("/metadata/uid") }
}

async fn wait_gone(s: &Session, info: &Info, uid: String, timeout: Option<Duration>) -> Result<()> {
    let gone = |object: Option<&Value>| {
        Ok(match object {
            Some(o) if uid.is_empty() || text(o, "/metadata/uid") == uid => None,
            _ => Some(()),
        })
    };
    match s.until(&info.mapping, &info.namespace, &info.name, timeout, gone).await {
        Ok(Some(())) => Ok(()),
        Ok(None) => {
            Err(Error::other(format!("timed out waiting for the condition on {}/{}", info.mapping.plural, info.name)))
        }
        // may delete but not look
        Err(Error::Status(status)) if matches!(status.code, 403..=405) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Deletes an object, in the background, and waits until it is gone. That it never was is fine.
pub async fn delete_and_wait(s: &Session, info: &Info) -> Result<()> {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    match s.send(Method::DELETE, &info.path(), JSON, Some(&options)).await {
        Ok(answer) => wait_gone(s, info, uid(&answer), None).await,
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}
