//! `apply`: client-side with the last-applied annotation, or `--server-side`; and `diff`, which shows what it would change.

use std::process::Stdio;

use api::Value;
use http::Method;
use serde_json::json;

use super::{delete, last_applied, migrate};
use crate::cli::{Files, Output};
use crate::error::{Error, Result};
use crate::merge;
use crate::objects::{Failed, Info, text};
use crate::print::{DryRun, Printer, hide_managed_fields, yaml};
use crate::session::{APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Session, with_query};

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    kind: Option<last_applied::Kind>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Let the server merge
    #[arg(long)]
    server_side: bool,
    /// With --server-side, take over what other managers own
    #[arg(long)]
    force_conflicts: bool,
    /// Who applies
    #[arg(long)]
    field_manager: Option<String>,
    /// Delete and create again what cannot be changed
    #[arg(long)]
    force: bool,
    /// Overwrite what others changed meanwhile
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    overwrite: bool,
    /// strict (true), warn or ignore (false): what happens to unknown fields
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    validate: String,
    /// Only objects with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Wait until deleted objects are gone
    #[arg(long)]
    wait: bool,
    #[arg(long)]
    /// Show managedFields in json and yaml
    show_managed_fields: bool,
}

/// `maxPatchRetry`
const MIGRATION_TRIES: usize = 5;

/// `--validate` as the query parameter `fieldValidation`.
pub fn field_validation(text: &str) -> Result<&'static str> {
    match text {
        "true" | "strict" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "false" | "ignore" => Ok("Ignore"),
        other => Err(Error::other(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        ))),
    }
}

pub async fn run(s: &Session, mut flags: Flags) -> Result<()> {
    if let Some(kind) = flags.kind.take() {
        return last_applied::run(s, kind).await;
    }
    if flags.files.filename.is_empty() {
        return Err(Error::other("must specify one of -f and -k"));
    }
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    if dry_run.client() && flags.server_side {
        return Err(Error::other(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    if flags.force_conflicts && !flags.server_side {
        return Err(Error::other("--force-conflicts only works with --server-side"));
    }
    let mut printer = Printer::parse(flags.output.output.as_deref(), false)?;
    let selector = api::labels::Selector::parse(flags.selector.as_deref().unwrap_or_default());
    let selector = selector.map_err(|e| Error::other(e.to_string()))?;
    let mut failed = Failed::default();
    let mut results = Vec::new();
    let mut infos = Vec::new();
    let mut count = 0;
    // what the server does not know yet (a CRD's objects beside the CRD) must not stop the rest
    for document in crate::manifest::read(&flags.files)? {
        count += 1;
        infos.extend(failed.keep_later(s.info(document.tree, document.source).await));
    }
    if count == 0 {
        return Err(Error::other("no objects passed to apply"));
    }
    for info in infos {
        if !selected(&selector, &info.object) {
            continue;
        }
        let applied = if flags.server_side {
            server_side(s, &flags, &info, dry_run).await.map(|o| (o, "serverside-applied"))
        } else {
            client_side(s, &flags, &info, dry_run, true).await
        };
        let Some((object, what)) = failed.keep_later(applied) else { continue };
        if matches!(printer, None | Some(Printer::Name)) {
            match printer {
                None => println!("{} {what}{}", info.id(), dry_run.suffix()),
                Some(_) => println!("{}", info.id()),
            }
        } else {
            results.push(object);
        }
    }
    if let Some(printer) = &mut printer
        && !results.is_empty()
    {
        let mut all = match results.as_mut_slice() {
            [one] => one.take(),
            _ => json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": results}),
        };
        if !flags.show_managed_fields {
            hide_managed_fields(&mut all);
        }
        print!("{}", printer.print(&all)?);
    }
    failed.end()
}

fn selected(selector: &api::labels::Selector, object: &Value) -> bool {
    let labels: std::collections::BTreeMap<String, String> = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect();
    selector.matches(&labels)
}

async fn server_side(s: &Session, flags: &Flags, info: &Info, dry_run: DryRun) -> Result<Value> {
    let mut object = info.object.clone();
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    let query = [
        ("fieldManager", flags.field_manager.as_deref().unwrap_or("kubectl")),
        ("force", if flags.force_conflicts { "true" } else { "false" }),
        ("fieldValidation", field_validation(&flags.validate)?),
        ("dryRun", dry_run.query()),
    ];
    let result = info.patch(s, APPLY, &object, &query).await;
    let applied = result.map_err(|e| match e.status().is_some_and(api::Status::is_conflict) {
        true => Error::Plain(format!(
            "{}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts",
            e.to_string().replacen("Error from server (Conflict)", "error", 1)
        )),
        false => e,
    })?;
    // what client-side apply owned is the applier's now, so that what the configuration has dropped goes
    let mut now = applied.clone();
    for _ in 0..MIGRATION_TRIES {
        let patch = migrate::patch(&now, query[0].1).filter(|_| dry_run == DryRun::None);
        let Some(patch) = patch else { return Ok(applied) };
        match info.patch(s, JSON_PATCH, &patch, &[]).await {
            Ok(_) => return info.patch(s, APPLY, &object, &query).await,
            Err(e) if e.status().is_some_and(api::Status::is_conflict) => now = info.live(s).await?,
            Err(e) => {
                eprintln!(
                    "Warning: server rejected managed fields migration to Server-Side Apply. This is non-fatal and will be retried next time you apply. Error: {e}"
                );
                break;
            }
        }
    }
    Ok(applied)
}

/// The object with itself as its last-applied annotation.
pub fn with_last_applied(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(annotations) = bare.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(meta) = bare["metadata"].as_object_mut() {
        meta.entry("annotations").or_insert_with(|| json!({}));
    }
    let text = format!("{}\n", crate::print::html_safe(&bare.to_string()));
    bare["metadata"]["annotations"][LAST_APPLIED] = text.into();
    bare
}

/// `annotate`: leave the last-applied annotation, which `diff` does not.
async fn client_side(
    s: &Session,
    flags: &Flags,
    info: &Info,
    dry_run: DryRun,
    annotate: bool,
) -> Result<(Value, &'static str)> {
    let modified = if annotate { with_last_applied(&info.object) } else { info.object.clone() };
    let manager = flags.field_manager.as_deref().unwrap_or("kubectl-client-side-apply");
    let query = [
        ("fieldManager", manager),
        ("fieldValidation", field_validation(&flags.validate)?),
        ("dryRun", dry_run.query()),
    ];
    let live = if info.name.is_empty() { Err(api::Status::not_found("", "", "").into()) } else { info.live(s).await };
    let live = match live {
        Ok(live) => live,
        Err(e) if e.is_not_found() && dry_run.client() => return Ok((modified, "created")),
        Err(e) if e.is_not_found() => {
            return Ok((create(s, info, &modified, &query).await?, "created"));
        }
        Err(e) => return Err(e),
    };
    let original = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    if original.is_none() && !text(&live, "/metadata/deletionTimestamp").is_empty() {
        return Err(Error::other(format!("{} is being deleted", info.id())));
    }
    if original.is_none() && annotate {
        eprintln!(
            "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
            info.mapping.plural, info.name
        );
    }
    let original = original.and_then(|o| serde_json::from_str(o).ok()).unwrap_or(Value::Null);
    let (content_type, patch) = patch(info, &original, &modified, &live);
    if patch.as_object().is_some_and(serde_json::Map::is_empty) && !dry_run.client() {
        return Ok((live, "unchanged"));
    }
    if dry_run.client() {
        let mut merged = live;
        match merge::schema_of(&info.mapping.group, &info.mapping.version, &info.mapping.kind) {
            Some(schema) if content_type == STRATEGIC => api::patch::strategic(&mut merged, &patch, schema)?,
            _ => api::patch::merge(&mut merged, &patch)?,
        }
        return Ok((merged, "configured"));
    }
    match info.patch(s, content_type, &patch, &query).await {
        Ok(object) => Ok((object, "configured")),
        Err(e) if flags.force && e.status().is_some_and(|s| s.code == 409 || s.code == 422) => {
            delete::delete_and_wait(s, info).await?;
            Ok((create(s, info, &modified, &query).await?, "configured"))
        }
        // the patch, as kubectl says it, and whose it was
        Err(Error::Status(mut status)) => {
            status.message = format!(
                "error when applying patch:\n{patch}\nto:\nResource: \"{}, Resource={}\", GroupVersionKind: \"{}, Kind={}\"\nName: {:?}, Namespace: {:?}\nfor: {:?}: error when patching {:?}: {}",
                info.mapping.api_version(),
                info.mapping.plural,
                info.mapping.api_version(),
                info.mapping.kind,
                info.name,
                info.namespace,
                info.source,
                info.source,
                status.message
            );
            Err(Error::Status(status))
        }
        Err(e) => Err(e),
    }
}

fn patch(info: &Info, original: &Value, modified: &Value, live: &Value) -> (&'static str, Value) {
    let m = &info.mapping;
    match merge::schema_of(&m.group, &m.version, &m.kind) {
        Some(schema) => (STRATEGIC, merge::strategic(original, modified, live, schema)),
        None => (MERGE, merge::json(original, modified, live)),
    }
}

async fn create(s: &Session, info: &Info, object: &Value, query: &[(&str, &str)]) -> Result<Value> {
    let path = with_query(&info.mapping.path(&info.namespace, ""), query);
    s.send(Method::POST, &path, JSON, Some(object)).await.map_err(|e| e.when("creating", &info.source))
}

#[derive(clap::Args)]
pub struct DiffFlags {
    #[command(flatten)]
    files: Files,
    /// Let the server merge
    #[arg(long)]
    server_side: bool,
    /// With --server-side, take over what other managers own
    #[arg(long)]
    force_conflicts: bool,
    /// Who applies
    #[arg(long)]
    field_manager: Option<String>,
}

/// `diff`: exit code 1 where there is a difference.
pub async fn diff(s: &Session, flags: DiffFlags) -> Result<()> {
    let apply = Flags {
        kind: None,
        files: flags.files,
        output: Output::default(),
        dry_run: Some("server".into()),
        server_side: flags.server_side,
        force_conflicts: flags.force_conflicts,
        field_manager: flags.field_manager,
        force: false,
        overwrite: true,
        validate: "warn".into(),
        selector: None,
        wait: false,
        show_managed_fields: false,
    };
    let folder = |name: &str| tempfile::Builder::new().prefix(name).tempdir();
    let sides = [folder("LIVE-")?, folder("MERGED-")?];
    for info in s.local(&apply.files).await? {
        let live = match info.live(s).await {
            Ok(live) => Some(live),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        };
        let merged = match apply.server_side {
            true => server_side(s, &apply, &info, DryRun::Server).await?,
            false => client_side(s, &apply, &info, DryRun::Server, false).await?.0,
        };
        let m = &info.mapping;
        let name = [m.group.as_str(), &m.version, &m.kind, &info.namespace, &info.name].join(".");
        let name = name.trim_start_matches('.').replace('/', "-");
        for (side, object) in sides.iter().zip([live, Some(merged)]) {
            if let Some(mut object) = object {
                hide_managed_fields(&mut object);
                std::fs::write(side.path().join(&name), yaml::to_string(&object))?;
            }
        }
    }
    let external = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_else(|_| "diff -u -N".into());
    let mut words = external.split_whitespace();
    let mut command = tokio::process::Command::new(words.next().unwrap_or("diff"));
    let status =
        command.args(words).args(sides.iter().map(tempfile::TempDir::path)).stdin(Stdio::null()).status().await?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Error::Exit(u8::try_from(code).unwrap_or(1))),
        None => Err(Error::other("diff was killed")),
    }
}
