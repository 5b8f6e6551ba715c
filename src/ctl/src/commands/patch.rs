//! `patch`: a patch of the user's own, strategic, merge or JSON.

use http::Method;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::merge;
use crate::objects::Failed;
use crate::print::{DryRun, done};
use crate::session::{JSON_PATCH, MERGE, STRATEGIC, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME or TYPE/NAME
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// The patch, JSON or YAML
    #[arg(short, long)]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long)]
    patch_file: Option<String>,
    /// strategic, merge or json
    #[arg(long = "type", default_value = "strategic")]
    kind: String,
    /// status, scale, …
    #[arg(long)]
    subresource: Option<String>,
    /// Patch what the file says, without a server
    #[arg(long)]
    local: bool,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Who changes
    #[arg(long, default_value = "kubectl-patch")]
    field_manager: String,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    let text = match (&flags.patch, &flags.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|e| Error::other(format!("unable to read patch file: {e}")))?
        }
        _ => return Err(Error::other("must specify --patch or --patch-file containing the contents of the patch")),
    };
    let content_type = match flags.kind.to_lowercase().as_str() {
        "strategic" => STRATEGIC,
        "merge" => MERGE,
        "json" => JSON_PATCH,
        other => return Err(Error::other(format!("--type must be one of [json merge strategic], not {other:?}"))),
    };
    let patch =
        api::decode::yaml(text.as_bytes()).map_err(|e| Error::other(format!("unable to parse {text:?}: {e}")))?.tree;
    let mut failed = Failed::default();
    let infos = match flags.local {
        true => s.local(&flags.files).await?,
        false => s.infos(&flags.args, &flags.files, &Select::default(), &mut failed).await?,
    };
    for info in infos {
        let result = if flags.local || dry_run.client() {
            let mut object = info.object.clone();
            let m = &info.mapping;
            match (content_type, merge::schema_of(&m.group, &m.version, &m.kind)) {
                (STRATEGIC, Some(schema)) => api::patch::strategic(&mut object, &patch, schema)?,
                (JSON_PATCH, _) => api::patch::json(&mut object, &patch)?,
                _ => api::patch::merge(&mut object, &patch)?,
            }
            Ok(object)
        } else {
            let mut path = info.path();
            if let Some(sub) = &flags.subresource {
                path = format!("{path}/{sub}");
            }
            let query = [("fieldManager", flags.field_manager.as_str()), ("dryRun", dry_run.query())];
            s.send(Method::PATCH, &with_query(&path, &query), content_type, Some(&patch)).await
        };
        let Some(object) = failed.keep_later(result) else { continue };
        let same = object["metadata"]["resourceVersion"] == info.object["metadata"]["resourceVersion"]
            && object == info.object;
        done(flags.output.output.as_deref(), &object, if same { "patched (no change)" } else { "patched" }, dry_run)?;
    }
    failed.end()
}
