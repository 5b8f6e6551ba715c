//! `create` from files or by generators, and `replace`.

mod config;
mod ingress;
mod policy;
mod rbac;
mod token;
mod workload;

use api::Value;
use http::Method;
use serde_json::json;

use super::apply::{LAST_APPLIED, field_validation, with_last_applied};
use super::delete;
use crate::cli::{Files, Output};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info};
use crate::print::{DryRun, done};
use crate::session::{JSON, Session, with_query};

/// How to create: of every form.
#[derive(clap::Args, Clone, Default)]
pub struct How {
    #[command(flatten)]
    pub output: Output,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    pub dry_run: Option<String>,
    /// Keep the configuration for a later apply
    #[arg(long)]
    pub save_config: bool,
    /// Who creates
    #[arg(long, default_value = "kubectl-create")]
    pub field_manager: String,
    /// strict (true), warn or ignore (false): what happens to unknown fields
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    pub validate: String,
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    kind: Option<Kind>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    how: How,
    /// Post the file to this path
    #[arg(long)]
    raw: Option<String>,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// A deployment of images
    #[command(alias = "deploy")]
    Deployment(workload::Deployment),
    /// A job
    Job(workload::Job),
    /// A cron job
    #[command(alias = "cj")]
    Cronjob(workload::CronJob),
    /// A namespace
    #[command(alias = "ns")]
    Namespace(config::Named),
    /// A service account
    #[command(alias = "sa")]
    Serviceaccount(config::Named),
    /// A config map
    #[command(alias = "cm")]
    Configmap(config::ConfigMap),
    /// A secret
    Secret(config::Secret),
    /// A service
    #[command(alias = "svc")]
    Service(workload::Service),
    /// An ingress
    #[command(alias = "ing")]
    Ingress(ingress::Ingress),
    /// A role
    Role(rbac::Role),
    /// A cluster role
    Clusterrole(rbac::Role),
    /// A role binding
    Rolebinding(rbac::Binding),
    /// A cluster role binding
    Clusterrolebinding(rbac::Binding),
    /// A resource quota
    #[command(alias = "resourcequota")]
    Quota(policy::Quota),
    /// A priority class
    #[command(alias = "pc")]
    Priorityclass(policy::PriorityClass),
    /// A pod disruption budget
    #[command(alias = "pdb")]
    Poddisruptionbudget(policy::DisruptionBudget),
    /// A token of a service account
    Token(token::Token),
}

impl Flags {
    /// Whether `--user` names subjects.
    pub fn binds(&self) -> bool {
        matches!(self.kind, Some(Kind::Rolebinding(_) | Kind::Clusterrolebinding(_)))
    }
}

pub async fn run(s: &Session, flags: Flags, users: &[String]) -> Result<()> {
    let Some(kind) = flags.kind else { return from_files(s, &flags.files, &flags.how, flags.raw.as_deref()).await };
    let (object, how) = match kind {
        Kind::Deployment(f) => (f.object()?, f.how),
        Kind::Job(f) => (f.object(s).await?, f.how),
        Kind::Cronjob(f) => (f.object(), f.how),
        Kind::Namespace(f) => (f.namespace(), f.how),
        Kind::Serviceaccount(f) => (f.service_account(), f.how),
        Kind::Configmap(f) => (f.object()?, f.how),
        Kind::Secret(f) => f.object()?,
        Kind::Service(f) => f.object()?,
        Kind::Ingress(f) => (f.object()?, f.how),
        Kind::Role(f) => (f.role(s).await?, f.how),
        Kind::Clusterrole(f) => (f.cluster_role(s).await?, f.how),
        Kind::Rolebinding(f) => (f.role_binding(users)?, f.how),
        Kind::Clusterrolebinding(f) => (f.cluster_role_binding(users)?, f.how),
        Kind::Quota(f) => (f.object()?, f.how),
        Kind::Priorityclass(f) => (f.object(), f.how),
        Kind::Poddisruptionbudget(f) => (f.object()?, f.how),
        Kind::Token(f) => return f.run(s).await,
    };
    generated(s, object, &how, "created").await.map(drop)
}

/// Creates what a generator made, and says so.
pub async fn generated(s: &Session, mut object: Value, how: &How, what: &str) -> Result<Value> {
    let dry_run = DryRun::parse(how.dry_run.as_deref())?;
    if dry_run.client() {
        // without a server, so only a namespace that was asked for can be known
        if let Some(namespace) = s.global.namespace.as_ref().filter(|_| !cluster_wide(&object)) {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        if how.save_config {
            object = with_last_applied(&object);
        }
        done(how.output.output.as_deref(), &object, what, dry_run)?;
        return Ok(object);
    }
    let mut info = s.info(object, String::new()).await?;
    if how.save_config {
        info.object = with_last_applied(&info.object);
    }
    let created = post(s, &info, how, dry_run).await;
    let created = created.map_err(|e| {
        let kind = info.mapping.kind.to_lowercase();
        match e {
            Error::Status(status)
                if status.code != 422 && !matches!(kind.as_str(), "namespace" | "role" | "clusterrole") =>
            {
                Error::Plain(format!("error: failed to create {kind}: {}", status.message))
            }
            e => e,
        }
    })?;
    done(how.output.output.as_deref(), &created, what, dry_run)?;
    Ok(created)
}

fn cluster_wide(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Namespace" | "ClusterRole" | "ClusterRoleBinding" | "PriorityClass"))
}

async fn post(s: &Session, info: &Info, how: &How, dry_run: DryRun) -> Result<Value> {
    let query = [
        ("fieldManager", how.field_manager.as_str()),
        ("fieldValidation", field_validation(&how.validate)?),
        ("dryRun", dry_run.query()),
    ];
    let path = with_query(&info.mapping.path(&info.namespace, ""), &query);
    s.send(Method::POST, &path, JSON, Some(&info.object)).await
}

async fn from_files(s: &Session, files: &Files, how: &How, raw: Option<&str>) -> Result<()> {
    if files.filename.is_empty() {
        return Err(Error::other("must specify one of -f and -k"));
    }
    let dry_run = DryRun::parse(how.dry_run.as_deref())?;
    if let Some(path) = raw {
        for document in crate::manifest::read(files)? {
            println!("{}", s.send(Method::POST, path, JSON, Some(&document.tree)).await?);
        }
        return Ok(());
    }
    let mut failed = Failed::default();
    let documents = crate::manifest::read(files)?;
    if documents.is_empty() {
        return Err(Error::other("no objects passed to create"));
    }
    for document in documents {
        let Some(mut info) = failed.keep_later(s.info(document.tree, document.source).await) else { continue };
        if how.save_config {
            info.object = with_last_applied(&info.object);
        }
        let created = match dry_run.client() {
            true => Ok(info.object.clone()),
            false => post(s, &info, how, dry_run).await.map_err(|e| e.when("creating", &info.source)),
        };
        if let Some(object) = failed.keep_later(created) {
            done(how.output.output.as_deref(), &object, "created", dry_run)?;
        }
    }
    failed.end()
}

#[derive(clap::Args)]
pub struct ReplaceFlags {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    how: How,
    /// Delete and create again
    #[arg(long)]
    force: bool,
    /// With --force, seconds that an object has to end (accepted for compatibility)
    #[arg(long, hide = true, allow_hyphen_values = true)]
    grace_period: Option<i64>,
    /// status or scale
    #[arg(long)]
    subresource: Option<String>,
}

pub async fn replace(s: &Session, flags: ReplaceFlags) -> Result<()> {
    if flags.files.filename.is_empty() {
        return Err(Error::other("must specify one of -f and -k"));
    }
    let dry_run = DryRun::parse(flags.how.dry_run.as_deref())?;
    let mut failed = Failed::default();
    for mut info in s.local(&flags.files).await? {
        let known = info.object["metadata"]["annotations"].get(LAST_APPLIED).is_some();
        if flags.how.save_config || known {
            info.object = with_last_applied(&info.object);
        }
        if flags.force {
            delete::delete_and_wait(s, &info).await?;
            println!("{} {:?} deleted", info.mapping.short(), info.name);
        }
        let mut path = info.path();
        if let Some(sub) = &flags.subresource {
            path.push('/');
            path.push_str(sub);
        }
        let query = [
            ("fieldManager", "kubectl-replace"),
            ("fieldValidation", field_validation(&flags.how.validate)?),
            ("dryRun", dry_run.query()),
        ];
        let answer = match (dry_run.client(), flags.force) {
            (true, _) => Ok(info.object.clone()),
            (_, true) => post(s, &info, &flags.how, dry_run).await,
            _ => s.send(Method::PUT, &with_query(&path, &query), JSON, Some(&info.object)).await,
        };
        if let Some(object) = failed.keep_later(answer.map_err(|e| e.when("replacing", &info.source))) {
            done(flags.how.output.output.as_deref(), &object, "replaced", dry_run)?;
        }
    }
    failed.end()
}

/// `metadata` as Go's types print it before the server has seen it.
fn metadata(name: &str) -> Value {
    json!({"creationTimestamp": null, "name": name})
}

/// `k=v` pairs.
fn pairs(texts: &[String], flag: &str) -> Result<Vec<(String, String)>> {
    let pair = |t: &String| {
        t.split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .ok_or_else(|| Error::other(format!("invalid {flag} {t}, expected key=value")))
    };
    texts.iter().map(pair).collect()
}
