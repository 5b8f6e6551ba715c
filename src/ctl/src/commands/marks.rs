//! `label` and `annotate`: `key=value` sets, `key-` removes.

use api::Value;
use serde_json::{Map, json};

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info};
use crate::print::{DryRun, done};
use crate::session::{MERGE, Session};

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME… KEY=VALUE… KEY-…
    #[arg(allow_hyphen_values = false)]
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    output: Output,
    /// Change values that are there
    #[arg(long)]
    overwrite: bool,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Show them
    #[arg(long)]
    list: bool,
    /// Only if the object is still this one
    #[arg(long)]
    resource_version: Option<String>,
    /// Change what the files say, without a server
    #[arg(long)]
    local: bool,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Who changes
    #[arg(long)]
    field_manager: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Which {
    Labels,
    Annotations,
}

impl Which {
    fn field(self) -> &'static str {
        if self == Which::Labels { "labels" } else { "annotations" }
    }
    fn singular(self) -> &'static str {
        if self == Which::Labels { "label" } else { "annotation" }
    }
    fn manager(self) -> &'static str {
        if self == Which::Labels { "kubectl-label" } else { "kubectl-annotate" }
    }
    /// What is said of a change.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Which::Labels => ("labeled", "unlabeled", "not labeled"),
            Which::Annotations => ("annotated", "annotated", "annotated"),
        }
    }
}

/// `key=value` or `key-`: what is set (`Some`) or removed.
type Change = (String, Option<String>);

/// The arguments that name objects, and those that change something.
fn split(args: &[String], which: Which) -> Result<(Vec<String>, Vec<Change>)> {
    let is_change = |a: &String| (a.contains('=') && !a.starts_with('=')) || a.ends_with('-');
    let first = args.iter().position(is_change).unwrap_or(args.len());
    let mut changes: Vec<Change> = Vec::new();
    for arg in &args[first..] {
        let change = match (arg.split_once('='), arg.strip_suffix('-')) {
            (Some((key, value)), _) => (key.to_owned(), Some(value.to_owned())),
            (None, Some(key)) => (key.to_owned(), None),
            _ => {
                return Err(Error::other(format!(
                    "unexpected argument {arg}: all objects must be given before {}",
                    which.field()
                )));
            }
        };
        if changes.iter().any(|c| c.0 == change.0 && c.1.is_some() != change.1.is_some()) {
            return Err(Error::other(format!(
                "can not both modify and remove the following {}(s) in the same command: {}",
                which.singular(),
                change.0
            )));
        }
        changes.push(change);
    }
    Ok((args[..first].to_vec(), changes))
}

pub async fn run(s: &Session, flags: Flags, which: Which) -> Result<()> {
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let (objects, changes) = split(&flags.args, which)?;
    if objects.is_empty() && flags.files.filename.is_empty() {
        return Err(Error::other("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    if changes.is_empty() && !flags.list {
        return Err(Error::other(format!("at least one {} update is required", which.singular())));
    }
    let selected = flags.all || flags.select.selector.is_some() || flags.select.field_selector.is_some();
    if objects.len() == 1 && !objects[0].contains('/') && !selected && !flags.list {
        return Err(Error::other("resource(s) were provided, but no name was specified"));
    }
    let mut failed = Failed::default();
    let infos = match flags.local {
        true => s.local(&flags.files).await?,
        false => s.infos(&objects, &flags.files, &flags.select, &mut failed).await?,
    };
    let several = infos.len() > 1;
    for info in infos {
        if flags.list {
            list(&info, which, several);
            continue;
        }
        let changed = change(s, &flags, &info, &changes, which, dry_run).await;
        failed.keep_later(changed);
    }
    failed.end()
}

fn list(info: &Info, which: Which, several: bool) {
    let indent = if several { " " } else { "" };
    if several {
        println!("Listing {} for {}.{}/{}:", which.field(), info.mapping.kind, info.mapping.group, info.name);
    }
    for (key, value) in info.object["metadata"][which.field()].as_object().into_iter().flatten() {
        println!("{indent}{key}={}", value.as_str().unwrap_or_default());
    }
}

async fn change(
    s: &Session,
    flags: &Flags,
    info: &Info,
    changes: &[Change],
    which: Which,
    dry_run: DryRun,
) -> Result<()> {
    let old = &info.object["metadata"][which.field()];
    let taken: Vec<String> = changes
        .iter()
        .filter_map(|(k, v)| {
            let (was, v) = (old.get(k)?.as_str()?, v.as_ref()?);
            (was != v).then(|| format!("'{k}' already has a value ({was})"))
        })
        .collect();
    if !flags.overwrite && !taken.is_empty() {
        return Err(Error::other(match which {
            Which::Labels => format!("{}, and --overwrite is false", taken.join("; ")),
            Which::Annotations => {
                format!("--overwrite is false but found the following declared annotation(s): {}", taken.join("; "))
            }
        }));
    }
    if which == Which::Labels {
        for (key, _) in changes.iter().filter(|(k, v)| v.is_none() && old.get(k).is_none()) {
            println!("label {key:?} not found.");
        }
    }
    let patch: Map<String, Value> =
        changes.iter().map(|(k, v)| (k.clone(), v.as_ref().map_or(Value::Null, |v| json!(v)))).collect();
    let mut patch = json!({"metadata": {(which.field()): patch}});
    if let Some(version) = &flags.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    let mut wanted = info.object.clone();
    api::patch::merge(&mut wanted, &patch)?;
    let differs = wanted["metadata"][which.field()] != *old;
    let manager = flags.field_manager.as_deref().unwrap_or(which.manager());
    let result = if flags.local || dry_run.client() {
        wanted
    } else {
        info.patch(s, MERGE, &patch, &[("fieldManager", manager), ("dryRun", dry_run.query())]).await?
    };
    let (set, removed, none) = which.words();
    let only_removed = changes.iter().all(|(_, v)| v.is_none());
    let what = match () {
        () if !differs => none,
        () if only_removed && !flags.overwrite => removed,
        () => set,
    };
    done(flags.output.output.as_deref(), &result, what, dry_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let args = |t: &str| t.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (objects, changes) = split(&args("pods x-1 a=b c- d="), Which::Labels).unwrap();
        assert_eq!(objects, ["pods", "x-1"]);
        assert_eq!(changes, [("a".into(), Some("b".into())), ("c".into(), None), ("d".into(), Some(String::new()))]);
        assert!(split(&args("pods x a=b y"), Which::Labels).is_err());
        assert!(split(&args("pods x a=b a-"), Which::Labels).is_err());
    }
}
