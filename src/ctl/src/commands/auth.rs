//! `auth can-i`, `auth whoami`; `auth reconcile` is [`super::reconcile`].

use api::Value;
use http::Method;
use serde_json::json;

use super::reconcile;
use crate::cli::Output;
use crate::commands::describe::config::rule_rows;
use crate::error::{Error, Result};
use crate::objects::{list, text};
use crate::print::{Printer, tabs};
use crate::session::{JSON, Session};

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Whether one may do something
    CanI {
        /// VERB [TYPE[/NAME] | URL]
        args: Vec<String>,
        /// All that one may do
        #[arg(long)]
        list: bool,
        /// Only the exit code
        #[arg(short, long)]
        quiet: bool,
        /// In all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// A subresource
        #[arg(long, default_value = "")]
        subresource: String,
        #[arg(long)]
        no_headers: bool,
    },
    /// Give roles and bindings what files ask for
    Reconcile(reconcile::Flags),
    /// Who one is
    Whoami {
        #[command(flatten)]
        output: Output,
    },
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    match flags.what {
        What::Reconcile(flags) => reconcile::run(s, flags).await,
        What::Whoami { output } => whoami(s, output.output.as_deref()).await,
        What::CanI { list: true, no_headers, .. } => list_all(s, no_headers).await,
        What::CanI { args, quiet, all_namespaces, subresource, .. } => {
            let (allowed, reason) = can_i(s, &args, all_namespaces, &subresource).await?;
            if !quiet {
                println!("{}{reason}", if allowed { "yes" } else { "no" });
            }
            if allowed { Ok(()) } else { Err(Error::Exit(1)) }
        }
    }
}

async fn can_i(s: &Session, args: &[String], all_namespaces: bool, subresource: &str) -> Result<(bool, String)> {
    let [verb, rest @ ..] = args else {
        return Err(Error::other(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
        ));
    };
    let (target, given) = match rest {
        [target] => (target.as_str(), ""),
        [target, name] => (target.as_str(), name.as_str()),
        _ => {
            return Err(Error::other(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            ));
        }
    };
    let spec = if target.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": target}})
    } else {
        let (kind, name) = target.split_once('/').unwrap_or((target, given));
        let (group, resource, namespaced) = match s.mapping(kind).await {
            Ok(m) => (m.group, m.plural, m.namespaced),
            Err(_) if kind == "*" => ("*".into(), "*".into(), true),
            Err(_) => {
                eprintln!("Warning: the server doesn't have a resource type '{kind}'\n");
                (String::new(), kind.to_owned(), true)
            }
        };
        if !namespaced && s.global.namespace.is_none() && !all_namespaces {
            let place = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
            eprintln!("Warning: resource '{resource}' is not namespace scoped{place}\n");
        }
        let namespace = if all_namespaces || !namespaced { "" } else { &s.namespace };
        json!({"resourceAttributes": {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": namespace}})
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer =
        s.send(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON, Some(&review)).await?;
    let allowed = answer["status"]["allowed"] == true;
    let mut reason = String::new();
    if !allowed {
        for part in [text(&answer, "/status/reason"), text(&answer, "/status/evaluationError")] {
            if !part.is_empty() {
                reason += &format!(" - {part}");
            }
        }
    }
    Ok((allowed, reason))
}

async fn list_all(s: &Session, no_headers: bool) -> Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": s.namespace}});
    let answer =
        s.send(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", JSON, Some(&review)).await?;
    let mut out =
        if no_headers { String::new() } else { "Resources\tNon-Resource URLs\tResource Names\tVerbs\n".to_owned() };
    let rules = [list(&answer, "/status/resourceRules"), list(&answer, "/status/nonResourceRules")].concat();
    rule_rows(&json!({"rules": rules})).iter().for_each(|r| out += &format!("{r}\n"));
    print!("{}", tabs::table(&out));
    Ok(())
}

async fn whoami(s: &Session, output: Option<&str>) -> Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}});
    let answer = s.send(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", JSON, Some(&review)).await?;
    if let Some(mut printer) = Printer::parse(output, false)? {
        print!("{}", printer.print(&answer)?);
        return Ok(());
    }
    let user = &answer["status"]["userInfo"];
    let mut out = format!("ATTRIBUTE\tVALUE\nUsername\t{}\n", text(user, "/username"));
    if !text(user, "/uid").is_empty() {
        out += &format!("UID\t{}\n", text(user, "/uid"));
    }
    let brackets =
        |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    out += &format!("Groups\t[{}]\n", brackets(&user["groups"]));
    for (key, value) in user["extra"].as_object().into_iter().flatten() {
        out += &format!("Extra: {key}\t[{}]\n", brackets(value));
    }
    print!("{}", tabs::table(&out));
    Ok(())
}
