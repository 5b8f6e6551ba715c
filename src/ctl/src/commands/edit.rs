//! `edit`: objects in the user's editor, opened again with the reason when they are refused.

use std::fmt::Write as _;
use std::process::Stdio;

use api::Value;
use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::commands::apply::with_last_applied;
use crate::error::{Error, Result};
use crate::merge;
use crate::objects::{Failed, Info};
use crate::print::{DryRun, Printer, done, hide_managed_fields, yaml};
use crate::session::{MERGE, STRATEGIC, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME… or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    /// yaml or json
    #[command(flatten)]
    output: Output,
    /// Keep the configuration for a later apply
    #[arg(long)]
    save_config: bool,
    /// Edit what is left out elsewhere too
    #[arg(long)]
    show_managed_fields: bool,
    /// status or scale
    #[arg(long)]
    subresource: Option<String>,
    /// Who changes
    #[arg(long, default_value = "kubectl-edit")]
    field_manager: String,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    validate: Option<String>,
}

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let mut failed = Failed::default();
    let mut infos = s.infos(&flags.args, &flags.files, &flags.select, &mut failed).await?;
    if !flags.show_managed_fields {
        infos.iter_mut().for_each(|i| hide_managed_fields(&mut i.object));
    }
    edit(&infos, flags.output.output.as_deref(), failed, async |info, object| save(s, &flags, info, object).await).await
}

/// Opens `infos` in the editor until what comes back can be saved, or nothing is to be.
pub async fn edit(
    infos: &[Info],
    output: Option<&str>,
    failed: Failed,
    save: impl AsyncFn(&Info, Value) -> Result<()>,
) -> Result<()> {
    if infos.is_empty() {
        return failed.end();
    }
    let json = match output {
        None | Some("yaml") => false,
        Some("json") => true,
        Some(other) => return Err(Error::other(format!("The flag 'output' must be one of yaml|json, not {other:?}"))),
    };
    let original = shown(infos, json)?;
    let mut text = original.clone();
    let mut problems = String::new();
    loop {
        let file =
            tempfile::Builder::new().prefix("kubectl-edit-").suffix(if json { ".json" } else { ".yaml" }).tempfile()?;
        std::fs::write(file.path(), format!("{HEADER}{problems}{text}"))?;
        editor(file.path()).await?;
        let edited = without_comments(&std::fs::read_to_string(file.path())?);
        let keep = |file: tempfile::NamedTempFile| -> Result<()> {
            let (_, path) = file.keep().map_err(|e| Error::other(e.to_string()))?;
            eprintln!("A copy of your changes has been stored to {:?}", path.display().to_string());
            Ok(())
        };
        if edited.trim().is_empty() {
            eprintln!("Edit cancelled, saved file was empty.");
            return failed.end();
        }
        if edited.trim_end() == original.trim_end() {
            eprintln!("Edit cancelled, no changes made.");
            return failed.end();
        }
        if !problems.is_empty() && edited == text {
            keep(file)?;
            return Err(Error::other("Edit cancelled, no valid changes were saved."));
        }
        problems.clear();
        match objects(&edited, infos.len()) {
            Err(why) => {
                // the whole file is opened again
                problems = comment(&why);
                eprintln!("{why}");
            }
            Ok(objects) => {
                let mut left = Vec::new();
                for (info, object) in infos.iter().zip(objects) {
                    if let Err(e) = save(info, object).await {
                        eprintln!("{e}");
                        problems += &reasons(info, &e);
                        left.push(info.clone());
                    }
                }
                if left.is_empty() {
                    return failed.end();
                }
                if left.len() != infos.len() || infos.len() > 1 {
                    // what is saved is not shown again; what is left starts from its edited text only when it is alone
                    keep(file)?;
                    return Err(Error::Exit(1));
                }
            }
        }
        text = edited;
    }
}

fn shown(infos: &[Info], json: bool) -> Result<String> {
    let object = match infos {
        [one] => one.object.clone(),
        many => {
            json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": many.iter().map(|i| &i.object).collect::<Vec<_>>()})
        }
    };
    if !json {
        return Ok(yaml::to_string(&object));
    }
    match Printer::parse(Some("json"), false)? {
        Some(mut printer) => printer.print(&object),
        None => Ok(String::new()),
    }
}

/// The objects of an edited text: one, or a list's.
fn objects(text: &str, count: usize) -> std::result::Result<Vec<Value>, String> {
    let mut tree = api::decode::yaml(text.as_bytes())?.tree;
    let objects = match tree.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if count > 1 => items,
        Some(items) => {
            tree["items"] = items;
            vec![tree]
        }
        None => vec![tree],
    };
    if objects.len() == count {
        Ok(objects)
    } else {
        Err(format!("{count} objects were to edit, {} are there", objects.len()))
    }
}

/// An edited object must still be the one that was shown.
pub fn same_object(info: &Info, edited: &Value) -> Result<()> {
    let same = |pointer: &str| info.object.pointer(pointer) == edited.pointer(pointer);
    match ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"].into_iter().all(same) {
        true => Ok(()),
        false => Err(Error::other("At least one of apiVersion, kind and name was changed")),
    }
}

async fn save(s: &Session, flags: &Flags, info: &Info, mut edited: Value) -> Result<()> {
    same_object(info, &edited)?;
    if flags.save_config {
        edited = with_last_applied(&edited);
    }
    let m = &info.mapping;
    let (content_type, patch) = match merge::schema_of(&m.group, &m.version, &m.kind) {
        Some(schema) => (STRATEGIC, merge::strategic(&info.object, &edited, &info.object, schema)),
        None => (MERGE, merge::json(&info.object, &edited, &info.object)),
    };
    if patch.as_object().is_some_and(serde_json::Map::is_empty) {
        info.say("skipped");
        return Ok(());
    }
    let mut path = info.path();
    if let Some(sub) = &flags.subresource {
        path = format!("{path}/{sub}");
    }
    let path = with_query(&path, &[("fieldManager", &flags.field_manager), ("fieldValidation", "Strict")]);
    let saved = s.send(http::Method::PATCH, &path, content_type, Some(&patch)).await?;
    done(None, &saved, "edited", DryRun::None)
}

/// Why an object was refused, for the head of the file.
fn reasons(info: &Info, error: &Error) -> String {
    let mut out = format!("# {} {:?} was not valid:\n", info.mapping.resource(), info.name);
    match error.status() {
        Some(status) if !status.causes.is_empty() => {
            for cause in &status.causes {
                let _ = writeln!(out, "# * {}: {}", cause.field, cause.message.replace('\n', "\n# "));
            }
        }
        Some(status) => {
            let _ = writeln!(out, "# * {}", status.message.replace('\n', "\n# "));
        }
        None => {
            let _ = writeln!(out, "# * {}", error.to_string().replace('\n', "\n# "));
        }
    }
    out + "#\n"
}

fn comment(why: &str) -> String {
    format!("# The edited file had a syntax error: {}\n#\n", why.replace('\n', "\n# "))
}

fn without_comments(text: &str) -> String {
    // only the head: a '#' further down may belong to a value
    let body: Vec<&str> = text.lines().skip_while(|l| l.starts_with('#') || l.trim().is_empty()).collect();
    if body.is_empty() { String::new() } else { body.join("\n") + "\n" }
}

/// `KUBE_EDITOR`, `EDITOR`, or vi, through the shell where it has arguments.
async fn editor(file: &std::path::Path) -> Result<()> {
    let editor = ["KUBE_EDITOR", "EDITOR"].into_iter().find_map(|v| std::env::var(v).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    let shell = format!("{editor} \"$1\"");
    let status = tokio::process::Command::new("/bin/sh")
        .args(["-c", &shell, "sh"])
        .arg(file)
        .stdin(Stdio::inherit())
        .status()
        .await
        .map_err(|e| Error::other(format!("unable to launch the editor {editor:?}: {e}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::other(format!("there was a problem with the editor {editor:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(without_comments("# a\n#\na: b\n# kept\n"), "a: b\n# kept\n");
        assert_eq!(without_comments("# a\n\n"), "");
        assert_eq!(objects("a: b", 1).unwrap(), [json!({"a": "b"})]);
        assert_eq!(objects("items: [{a: 1}, {b: 2}]", 2).unwrap().len(), 2);
        assert!(objects("a: [", 1).is_err());
    }
}
