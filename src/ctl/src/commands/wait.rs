//! `wait`: for a condition, a value, or the end of objects, by watch.

use std::time::Duration;

use api::Value;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::jsonpath::{self, Template};
use crate::objects::{Failed, Info, duration, list, text};
use crate::print::{DryRun, done};
use crate::session::Session;

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
    /// delete, create, condition=NAME[=VALUE] or jsonpath=PATH[=VALUE]
    #[arg(long = "for")]
    condition: String,
    /// How long to wait; 0: look once; negative: a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
    /// All objects of the type
    #[arg(long)]
    all: bool,
}

enum For {
    Delete,
    Create,
    Condition(String, String),
    Path(Template, Option<String>),
}

fn parse(text: &str) -> Result<For> {
    let lower = text.to_lowercase();
    if lower == "delete" {
        return Ok(For::Delete);
    }
    if lower == "create" {
        return Ok(For::Create);
    }
    if let Some(rest) = text.strip_prefix("condition=") {
        let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(For::Condition(name.to_lowercase(), value.to_lowercase()));
    }
    if let Some(rest) = text.strip_prefix("jsonpath=") {
        let rest = rest.trim_matches('\'');
        // the value stands behind the closing brace
        let (path, value) = match rest.rfind('}') {
            Some(end) => (&rest[..=end], rest[end + 1..].strip_prefix('=')),
            None => rest.split_once('=').map_or((rest, None), |(p, v)| (p, Some(v))),
        };
        let template = Template::relaxed(path).map_err(Error::other)?;
        return Ok(For::Path(template, value.map(|v| v.trim_matches('"').to_owned())));
    }
    Err(Error::other(format!("unrecognized condition: {text:?}")))
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let wanted = parse(&flags.condition)?;
    let timeout = match duration(&flags.timeout)? {
        None => Duration::from_secs(7 * 24 * 3600),
        Some(t) => t,
    };
    let mut failed = Failed::default();
    if matches!(wanted, For::Create) {
        return created(s, &flags, timeout).await;
    }
    let named =
        flags.args.len() > 1 || flags.args.first().is_some_and(|a| a.contains('/')) || !flags.files.filename.is_empty();
    if !named && !flags.all && flags.select.selector.is_none() && flags.select.field_selector.is_none() {
        return Err(Error::other("resource(s) were provided, but no name was specified"));
    }
    // what is gone already need not be waited for
    let mut missing = Failed::silent();
    let infos = match matches!(wanted, For::Delete) {
        true => s.infos(&flags.args, &flags.files, &flags.select, &mut missing).await?,
        false => s.infos(&flags.args, &flags.files, &flags.select, &mut failed).await?,
    };
    if infos.is_empty() && failed.is_empty() && !matches!(wanted, For::Delete) {
        return Err(Error::other("no matching resources found"));
    }
    let deadline = tokio::time::Instant::now() + timeout;
    for info in infos {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now()).max(Duration::from_millis(1));
        let waited = one(
            s,
            &flags,
            &wanted,
            &info,
            if timeout.is_zero() { Duration::from_secs(5) } else { left },
            timeout.is_zero(),
        )
        .await;
        failed.keep_later(waited);
    }
    failed.end()
}

async fn one(s: &Session, flags: &Flags, wanted: &For, info: &Info, left: Duration, once: bool) -> Result<()> {
    let uid = text(&info.object, "/metadata/uid").to_owned();
    let met = |o: Option<&Value>| -> Result<Option<Option<Value>>> {
        let done = match (wanted, o) {
            (For::Delete, None) => return Ok(Some(None)),
            (For::Delete, Some(o)) if text(o, "/metadata/uid") != uid => return Ok(Some(None)),
            (For::Delete, Some(_)) | (For::Create, _) => false,
            (_, None) => {
                return Err(Error::Plain(format!(
                    "Error from server (NotFound): {} {:?} not found",
                    info.mapping.resource(),
                    info.name
                )));
            }
            (For::Condition(name, value), Some(o)) => condition(o, name, value),
            (For::Path(template, value), Some(o)) => {
                let found = template.find(o).unwrap_or_default();
                match value {
                    None => found.iter().any(|v| !v.is_null()),
                    Some(value) => found.len() == 1 && jsonpath::text(&found[0]) == *value,
                }
            }
        };
        if !done && once {
            return Err(timed_out(info));
        }
        Ok(done.then(|| o.cloned()))
    };
    match s.until(&info.mapping, &info.namespace, &info.name, Some(left), met).await? {
        None => Err(timed_out(info)),
        Some(object) => {
            let object = object.unwrap_or_else(|| info.object.clone());
            done(flags.output.output.as_deref(), &object, "condition met", DryRun::None)
        }
    }
}

fn timed_out(info: &Info) -> Error {
    Error::other(format!("timed out waiting for the condition on {}/{}", info.mapping.plural, info.name))
}

/// Whether a condition is so, and of this generation.
fn condition(o: &Value, name: &str, value: &str) -> bool {
    let generation = o["metadata"]["generation"].as_i64().unwrap_or(0);
    let old = |v: &Value| v["observedGeneration"].as_i64().is_some_and(|g| g < generation);
    let found = list(o, "/status/conditions").iter().find(|c| text(c, "/type").to_lowercase() == name);
    found.is_some_and(|c| {
        text(c, "/status").to_lowercase() == value
            && !old(c)
            && !(c.get("observedGeneration").is_none() && old(&o["status"]))
    })
}

/// Waits for objects by name that may not be there yet.
async fn created(s: &Session, flags: &Flags, timeout: Duration) -> Result<()> {
    for target in s.targets(&flags.args).await? {
        let namespace = s.namespace_of(&target.mapping, false).to_owned();
        let name = target.name.unwrap_or_default();
        let found = s.until(&target.mapping, &namespace, &name, Some(timeout), |o| Ok(o.cloned())).await?;
        let mut object = found.ok_or_else(|| {
            Error::other(format!("timed out waiting for the condition on {}/{name}", target.mapping.plural))
        })?;
        object["apiVersion"] = target.mapping.api_version().into();
        object["kind"] = target.mapping.kind.as_str().into();
        done(flags.output.output.as_deref(), &object, "condition met", DryRun::None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions() {
        let o = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "conditions": [
            {"type": "Available", "status": "True", "observedGeneration": 2}, {"type": "Ready", "status": "True"}]}});
        assert!(condition(&o, "available", "true"));
        assert!(!condition(&o, "ready", "true"), "of an older generation");
        assert!(!condition(&o, "available", "false"));
        assert!(matches!(parse("condition=Ready").unwrap(), For::Condition(n, v) if n == "ready" && v == "true"));
        assert!(matches!(parse("jsonpath={.status.phase}=Running").unwrap(), For::Path(_, Some(v)) if v == "Running"));
        assert!(matches!(parse("jsonpath={.status.x}").unwrap(), For::Path(_, None)));
        assert!(parse("x").is_err());
    }
}
