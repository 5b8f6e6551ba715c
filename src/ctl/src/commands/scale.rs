//! `scale`: through the scale subresource, like every kind that has one.

use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, duration};
use crate::print::{DryRun, done};
use crate::session::{MERGE, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME… or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    output: Output,
    /// How many
    #[arg(long, allow_hyphen_values = true)]
    replicas: Option<i64>,
    /// Only if there are this many now
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    current_replicas: i64,
    /// Only if the object is still this one
    #[arg(long)]
    resource_version: Option<String>,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// How long to wait until there are as many; 0: not at all
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let replicas = flags.replicas.filter(|r| *r >= 0).ok_or_else(|| {
        Error::other("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    })?;
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let wait = duration(&flags.timeout)?.filter(|t| !t.is_zero());
    let named = flags.args.len() != 1 || flags.args[0].contains('/') || !flags.files.filename.is_empty();
    if !named && !flags.all && flags.select.selector.is_none() {
        return Err(Error::other("resource(s) were provided, but no name was specified"));
    }
    let mut missing = Failed::silent();
    let infos = s.infos(&flags.args, &flags.files, &flags.select, &mut missing).await?;
    if infos.is_empty() {
        return Err(Error::other(format!("no objects passed to scale {}", missing.texts())));
    }
    let mut failed = missing.aloud();
    for info in infos {
        if !info.mapping.subresources.iter().any(|s| s == "scale") {
            failed.keep_later(Err::<(), _>(Error::Plain(
                "Error from server (NotFound): the server could not find the requested resource".into(),
            )));
            continue;
        }
        let path = format!("{}/scale", info.path());
        let scaled = async {
            if flags.current_replicas >= 0 || flags.resource_version.is_some() {
                let now = s.get(&path).await?;
                let count = now["spec"]["replicas"].as_i64().unwrap_or(0);
                if flags.current_replicas >= 0 && count != flags.current_replicas {
                    return Err(Error::other(format!(
                        "Expected replicas to be {}, was {count}",
                        flags.current_replicas
                    )));
                }
                let version = now["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                if flags.resource_version.as_deref().is_some_and(|v| v != version) {
                    return Err(Error::other(format!(
                        "Expected resource version to be {}, was {version}",
                        flags.resource_version.as_deref().unwrap_or_default()
                    )));
                }
            }
            if !dry_run.client() {
                let patch = json!({"spec": {"replicas": replicas}});
                let query = [("fieldManager", "kubectl"), ("dryRun", dry_run.query())];
                s.send(http::Method::PATCH, &with_query(&path, &query), MERGE, Some(&patch)).await?;
            }
            Ok(())
        };
        if failed.keep_later(scaled.await).is_none() {
            continue;
        }
        if wait.is_some() && dry_run == DryRun::None {
            let reached = s.until(&info.mapping, &info.namespace, &info.name, wait, |o| {
                let status = |o: &api::Value, p| o.pointer(p).and_then(api::Value::as_i64).unwrap_or(0);
                Ok(o.filter(|o| {
                    status(o, "/status/replicas") == replicas
                        && status(o, "/status/observedGeneration") >= status(o, "/metadata/generation")
                })
                .map(|_| ()))
            });
            if failed.keep_later(reached.await).is_some_and(|r| r.is_none()) {
                failed.keep_later(Err::<(), _>(Error::other("timed out waiting for the condition")));
                continue;
            }
        }
        let object = if flags.output.output.is_some() && dry_run == DryRun::None {
            info.live(s).await?
        } else {
            info.object.clone()
        };
        done(flags.output.output.as_deref(), &object, "scaled", dry_run)?;
    }
    failed.end()
}
