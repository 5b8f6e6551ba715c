//! `taint`: `key=value:Effect` sets, `key-` and `key:Effect-` remove.

use api::Value;
use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, list, text};
use crate::print::{DryRun, done};
use crate::session::{MERGE, Session};

#[derive(clap::Args)]
pub struct Flags {
    /// nodes NAME… KEY[=VALUE]:EFFECT… KEY[:EFFECT]-…
    args: Vec<String>,
    /// Change taints that are there
    #[arg(long)]
    overwrite: bool,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Only nodes with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    output: Output,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Taint {
    key: String,
    value: String,
    /// Empty in a removal: every effect.
    effect: String,
}

impl Taint {
    fn parse(spec: &str) -> Result<Taint> {
        let (key, effect) = match spec.split(':').collect::<Vec<_>>().as_slice() {
            [key] => (*key, ""),
            [key, effect] => (*key, *effect),
            _ => return Err(Error::other(format!("invalid taint spec: {spec}"))),
        };
        let (key, value) = key.split_once('=').unwrap_or((key, ""));
        if key.is_empty() || value.contains('=') {
            return Err(Error::other(format!("invalid taint spec: {spec}")));
        }
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            return Err(Error::other(format!("invalid taint effect: {effect}, unsupported taint effect")));
        }
        Ok(Taint { key: key.into(), value: value.into(), effect: effect.into() })
    }
    fn is(&self, v: &Value) -> bool {
        text(v, "/key") == self.key && (self.effect.is_empty() || text(v, "/effect") == self.effect)
    }
    fn tree(&self) -> Value {
        let mut v = json!({"key": self.key, "effect": self.effect});
        if !self.value.is_empty() {
            v["value"] = self.value.as_str().into();
        }
        v
    }
    fn name(&self) -> String {
        if self.effect.is_empty() { self.key.clone() } else { format!("{}:{}", self.key, self.effect) }
    }
}

/// The taints to set and to remove.
fn parse(specs: &[String]) -> Result<(Vec<Taint>, Vec<Taint>)> {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for spec in specs {
        match spec.strip_suffix('-') {
            Some(removed) => remove.push(Taint::parse(removed)?),
            None => {
                let taint = Taint::parse(spec)?;
                if taint.effect.is_empty() {
                    return Err(Error::other(format!("invalid taint spec: {spec}")));
                }
                if add.iter().any(|t: &Taint| t.key == taint.key && t.effect == taint.effect) {
                    return Err(Error::other(format!("duplicated taints with the same key and effect: {spec}")));
                }
                add.push(taint);
            }
        }
    }
    let both = add.iter().find(|a| remove.iter().any(|r| r.is(&a.tree())));
    if let Some(both) = both {
        return Err(Error::other(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            both.name()
        )));
    }
    Ok((add, remove))
}

/// The new taints and the word for what was done: upstream's `reorganizeTaints`.
fn reorganize(old: &[Value], add: &[Taint], remove: &[Taint], overwrite: bool) -> Result<(Vec<Value>, &'static str)> {
    let mut new: Vec<Value> = add.iter().map(Taint::tree).collect();
    new.extend(old.iter().filter(|o| !add.iter().any(|a| a.is(o))).cloned());
    let added = new.len() != old.len();
    let mut missing = Vec::new();
    for taint in remove {
        let before = new.len();
        new.retain(|v| !taint.is(v));
        if new.len() == before {
            missing.push(format!("taint {:?} not found", taint.name()));
        }
    }
    match missing.as_slice() {
        [] => {}
        [one] => return Err(Error::other(one.clone())),
        many => return Err(Error::other(format!("[{}]", many.join(", ")))),
    }
    let what = match () {
        () if overwrite || (added && !remove.is_empty()) => "modified",
        () if added => "tainted",
        () => "untainted",
    };
    Ok((new, what))
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let is_spec = |a: &String| a.contains('=') || a.contains(':') || a.ends_with('-');
    let first = flags.args.iter().position(is_spec).unwrap_or(flags.args.len());
    let (objects, specs) = flags.args.split_at(first);
    if objects.is_empty() {
        return Err(Error::other("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    if specs.is_empty() {
        return Err(Error::other("at least one taint update is required"));
    }
    let (add, remove) = parse(specs)?;
    if objects.len() == 1 && !objects[0].contains('/') && !flags.all && flags.selector.is_none() {
        return Err(Error::other("resource(s) were provided, but no name was specified"));
    }
    let select = Select { selector: flags.selector.clone(), ..Select::default() };
    let mut failed = Failed::default();
    for info in s.infos(objects, &Files::default(), &select, &mut failed).await? {
        if info.mapping.kind != "Node" {
            return Err(Error::other(format!(
                "invalid resource type {}, only node types are supported",
                info.mapping.plural
            )));
        }
        let old = list(&info.object, "/spec/taints");
        let taken: Vec<&str> = add.iter().filter(|a| old.iter().any(|o| a.is(o))).map(|a| a.key.as_str()).collect();
        if !flags.overwrite && !taken.is_empty() {
            failed.keep_later(Err::<(), _>(Error::other(format!(
                "node {} already has {} taint(s) with same effect(s) and --overwrite is false",
                info.name,
                taken.join(",")
            ))));
            continue;
        }
        let Some((new, what)) = failed.keep_later(reorganize(old, &add, &remove, flags.overwrite)) else { continue };
        let patch = json!({"spec": {"taints": if new.is_empty() { Value::Null } else { new.into() }}});
        let result = match dry_run.client() {
            true => Ok(info.object.clone()),
            false => {
                info.patch(s, MERGE, &patch, &[("fieldManager", "kubectl-taint"), ("dryRun", dry_run.query())]).await
            }
        };
        if let Some(object) = failed.keep_later(result) {
            done(flags.output.output.as_deref(), &object, what, dry_run)?;
        }
    }
    failed.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(text: &str) -> Result<(Vec<Taint>, Vec<Taint>)> {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn forms() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
        };
        let (add, remove) =
            specs("a=b:NoSchedule c:NoExecute d=:PreferNoSchedule e- f:NoSchedule- g=:NoSchedule-").unwrap();
        assert_eq!(
            add,
            [taint("a", "b", "NoSchedule"), taint("c", "", "NoExecute"), taint("d", "", "PreferNoSchedule")]
        );
        assert_eq!(remove, [taint("e", "", ""), taint("f", "", "NoSchedule"), taint("g", "", "NoSchedule")]);
        for bad in ["a=b", "a:Nope", "a=b:NoSchedule a:NoSchedule-", "a:b:c"] {
            assert!(specs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn taints_change() {
        let old = [json!({"key": "a", "effect": "NoSchedule"}), json!({"key": "a", "effect": "NoExecute"})];
        let run = |text: &str, overwrite| {
            let (add, remove) = specs(text).unwrap();
            reorganize(&old, &add, &remove, overwrite).map(|(new, what)| (new.len(), what)).ok()
        };
        assert_eq!(run("b:NoSchedule", false), Some((3, "tainted")));
        assert_eq!(run("a-", false), Some((0, "untainted")));
        assert_eq!(run("a:NoExecute-", false), Some((1, "untainted")));
        assert_eq!(run("b:NoSchedule a:NoExecute-", false), Some((2, "modified")));
        assert_eq!(run("a=x:NoSchedule", true), Some((2, "modified")));
        assert_eq!(run("z-", false), None);
    }
}
