//! `certificate approve` and `certificate deny`.

use api::Value;
use http::Method;
use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::objects::{Failed, Info, list, text};
use crate::print::{DryRun, done};
use crate::session::{JSON, Session};

/// How often an approval is tried that others come between.
const TRIES: usize = 10;

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Let requests be signed
    Approve(Decision),
    /// Refuse requests
    Deny(Decision),
}

#[derive(clap::Args)]
struct Decision {
    /// The requests
    names: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    output: Output,
    /// Update the request even if it has been decided so before
    #[arg(long)]
    force: bool,
}

/// What a decision writes, and what it may not meet.
struct Words {
    condition: &'static str,
    other: &'static str,
    reason: &'static str,
    message: &'static str,
    done: &'static str,
}

const APPROVE: Words = Words {
    condition: "Approved",
    other: "Denied",
    reason: "KubectlApprove",
    message: "This CSR was approved by kubectl certificate approve.",
    done: "approved",
};
const DENY: Words = Words {
    condition: "Denied",
    other: "Approved",
    reason: "KubectlDeny",
    message: "This CSR was denied by kubectl certificate deny.",
    done: "denied",
};

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let (decision, words) = match flags.what {
        What::Approve(decision) => (decision, APPROVE),
        What::Deny(decision) => (decision, DENY),
    };
    if decision.names.is_empty() && decision.files.filename.is_empty() && decision.select.selector.is_none() {
        return Err(Error::other("one or more CSRs must be specified as <name> or -f <filename>"));
    }
    let mut args = vec!["certificatesigningrequests".to_owned()];
    args.extend(decision.names.iter().map(|n| n.rsplit('/').next().unwrap_or(n).to_owned()));
    let mut failed = Failed::default();
    for info in s.infos(&args, &decision.files, &decision.select, &mut failed).await? {
        let decided = decide(s, info, &words, decision.force).await;
        if let Some(object) = failed.keep_later(decided) {
            done(decision.output.output.as_deref(), &object, words.done, DryRun::None)?;
        }
    }
    failed.end()
}

async fn decide(s: &Session, info: Info, words: &Words, force: bool) -> Result<Value> {
    let mut object = info.object.clone();
    for _ in 1..TRIES {
        let decided = with_condition(&mut object, words)?;
        if decided && !force {
            return Ok(object);
        }
        match s.send(Method::PUT, &format!("{}/approval", info.path()), JSON, Some(&object)).await {
            Err(Error::Status(status)) if status.is_conflict() => object = info.live(s).await?,
            answer => return answer,
        }
    }
    s.send(Method::PUT, &format!("{}/approval", info.path()), JSON, Some(&object)).await
}

/// Adds the condition; true if it was there.
fn with_condition(object: &mut Value, words: &Words) -> Result<bool> {
    let has = |kind: &str| list(object, "/status/conditions").iter().any(|c| c["type"] == kind);
    if has(words.other) {
        let name = text(object, "/metadata/name");
        return Err(Error::other(format!("certificate signing request {name:?} is already {}", words.other)));
    }
    if has(words.condition) {
        return Ok(true);
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({"type": words.condition, "status": "True", "reason": words.reason, "message": words.message,
        "lastUpdateTime": now});
    match object["status"].get_mut("conditions").and_then(Value::as_array_mut) {
        Some(all) => all.push(condition),
        None => object["status"]["conditions"] = json!([condition]),
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_stand() {
        let mut csr = json!({"metadata": {"name": "a"}, "status": {}});
        assert!(!with_condition(&mut csr, &APPROVE).unwrap());
        assert_eq!(csr["status"]["conditions"][0]["reason"], "KubectlApprove");
        assert!(with_condition(&mut csr, &APPROVE).unwrap());
        let error = with_condition(&mut csr, &DENY).unwrap_err();
        assert_eq!(error.to_string(), "error: certificate signing request \"a\" is already Approved");
    }
}
