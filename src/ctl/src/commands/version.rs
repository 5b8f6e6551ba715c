//! `version`, `api-resources`, `api-versions`.

use api::Value;
use serde_json::json;

use crate::cli::{Global, Output};
use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::objects::{list, text};
use crate::print::{Printer, tabs};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// Only this program's
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    output: Output,
}

/// The kubectl whose words we use.
const KUBECTL: &str = "1.32";

pub async fn run(global: Global, flags: Flags) -> Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    let git = format!("v{KUBECTL}.0+skiff-{ours}");
    let (major, minor) = KUBECTL.split_once('.').unwrap_or((KUBECTL, ""));
    let mut all = json!({
        "clientVersion": {
            "major": major, "minor": minor, "gitVersion": git, "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", a => a }),
        },
        "kustomizeVersion": "",
    });
    let mut failure = None;
    if !flags.client {
        match server(global).await {
            Ok(version) => all["serverVersion"] = version,
            Err(e) => failure = Some(e),
        }
    }
    match flags.output.output.as_deref() {
        None => {
            println!("Client Version: {git}");
            if let Some(server) = all["serverVersion"]["gitVersion"].as_str() {
                println!("Server Version: {server}");
            }
        }
        Some(format @ ("json" | "yaml")) => {
            if let Some(mut printer) = Printer::parse(Some(format), false)? {
                print!("{}", printer.print(&all)?);
            }
        }
        Some(_) => return Err(Error::other("--output must be 'yaml' or 'json'")),
    }
    failure.map_or(Ok(()), Err)
}

async fn server(global: Global) -> Result<Value> {
    Session::open(global).await?.get("/version").await
}

#[derive(clap::Args)]
pub struct ResourcesFlags {
    /// name or wide
    #[command(flatten)]
    output: Output,
    /// Only this group
    #[arg(long)]
    api_group: Option<String>,
    /// Only with or without a namespace
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only what has all these verbs
    #[arg(long, value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only of all these categories
    #[arg(long, value_delimiter = ',')]
    categories: Vec<String>,
    #[arg(long)]
    no_headers: bool,
    /// name or kind
    #[arg(long)]
    sort_by: Option<String>,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    cached: bool,
}

pub async fn resources(s: &Session, flags: ResourcesFlags) -> Result<()> {
    let all = &s.mappings().await?.all;
    // of each group only its preferred version
    let preferred = |m: &Mapping| {
        all.iter().find(|o| o.group == m.group && o.plural == m.plural).is_some_and(|o| o.version == m.version)
    };
    let mut rows: Vec<&Mapping> = all
        .iter()
        .filter(|m| preferred(m) && !m.verbs.is_empty())
        .filter(|m| flags.api_group.as_ref().is_none_or(|g| *g == m.group))
        .filter(|m| flags.namespaced.is_none_or(|n| n == m.namespaced))
        .filter(|m| flags.verbs.iter().all(|v| m.can(v)))
        .filter(|m| flags.categories.iter().all(|c| m.categories.contains(c)))
        .collect();
    match flags.sort_by.as_deref() {
        Some("kind") => rows.sort_by_key(|m| m.kind.clone()),
        Some("name") => rows.sort_by_key(|m| m.plural.clone()),
        _ => rows.sort_by_key(|m| (m.group.clone(), m.plural.clone())),
    }
    let wide = match flags.output.output.as_deref() {
        None => false,
        Some("wide") => true,
        Some("name") => {
            rows.iter().for_each(|m| println!("{}", m.resource()));
            return Ok(());
        }
        Some(other) => return Err(Error::other(format!("--output {other} is not available"))),
    };
    let mut out = String::new();
    if !flags.no_headers {
        out += "NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND";
        out += if wide { "\tVERBS\tCATEGORIES\n" } else { "\n" };
    }
    for m in rows {
        out += &format!("{}\t{}\t{}\t{}\t{}", m.plural, m.short_names.join(","), m.api_version(), m.namespaced, m.kind);
        if wide {
            let mut verbs = m.verbs.clone();
            verbs.sort();
            out += &format!("\t{}\t{}", verbs.join(","), m.categories.join(","));
        }
        out.push('\n');
    }
    print!("{}", tabs::table(&out));
    Ok(())
}

pub async fn versions(s: &Session) -> Result<()> {
    let core = s.get("/api").await?;
    let groups = s.get("/apis").await?;
    let mut all: Vec<String> = list(&core, "/versions").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let of = list(&groups, "/groups").iter().flat_map(|g| list(g, "/versions"));
    all.extend(of.map(|v| text(v, "/groupVersion").to_owned()));
    all.sort();
    all.iter().for_each(|v| println!("{v}"));
    Ok(())
}
