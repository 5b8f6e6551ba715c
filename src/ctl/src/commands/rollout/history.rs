//! `rollout history`: the revisions of a workload.

use api::Value;

use super::On;
use crate::commands::describe;
use crate::error::{Error, Result};
use crate::objects::{Failed, Info, text};
use crate::print::tabs::align;
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    on: On,
    /// This revision in detail
    #[arg(long, default_value_t = 0)]
    revision: i64,
}

/// One revision: its number, why, and the pod template.
pub struct Revision {
    pub number: i64,
    pub cause: String,
    pub template: Value,
    /// The `ReplicaSet` or `ControllerRevision`.
    pub object: Value,
}

const CAUSE: &str = "kubernetes.io/change-cause";
const NUMBER: &str = "deployment.kubernetes.io/revision";

/// The revisions of an object, oldest first.
pub async fn revisions(s: &Session, info: &Info) -> Result<Vec<Revision>> {
    let kind = match info.mapping.kind.as_str() {
        "Deployment" => "replicasets.apps",
        "DaemonSet" | "StatefulSet" => "controllerrevisions.apps",
        other => return Err(Error::other(format!("no history viewer has been implemented for {other:?}"))),
    };
    let mapping = s.mapping(kind).await?;
    let list = s.list(&mapping, &info.namespace, &[]).await?;
    let uid = text(&info.object, "/metadata/uid");
    let owned = |o: &&Value| {
        crate::objects::list(o, "/metadata/ownerReferences")
            .iter()
            .any(|r| text(r, "/uid") == uid && r["controller"] == true)
    };
    let mut all: Vec<Revision> =
        crate::objects::list(&list, "/items").iter().filter(owned).filter_map(|o| revision(info, o)).collect();
    all.sort_by_key(|r| r.number);
    Ok(all)
}

fn revision(info: &Info, o: &Value) -> Option<Revision> {
    let annotation = |key: &str| o["metadata"]["annotations"].get(key).and_then(Value::as_str).unwrap_or_default();
    let (number, template) = if info.mapping.kind == "Deployment" {
        (annotation(NUMBER).parse().ok()?, o["spec"]["template"].clone())
    } else {
        (o["revision"].as_i64()?, o["data"]["spec"]["template"].clone())
    };
    Some(Revision { number, cause: annotation(CAUSE).to_owned(), template, object: o.clone() })
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let mut failed = Failed::default();
    for info in flags.on.infos(s, &mut failed).await? {
        let shown = async {
            let all = revisions(s, &info).await?;
            if flags.revision > 0 {
                let found = all.iter().find(|r| r.number == flags.revision);
                let found = found.ok_or_else(|| Error::other("unable to find the specified revision"))?;
                let mut template = found.template.clone();
                if !found.cause.is_empty() {
                    template["metadata"]["annotations"][CAUSE] = found.cause.as_str().into();
                }
                info.say(&format!("with revision #{}\n{}", flags.revision, describe::pod_template(&template)));
                return Ok(());
            }
            let mut table = "REVISION\tCHANGE-CAUSE\n".to_owned();
            for r in &all {
                table += &format!("{}\t{}\n", r.number, if r.cause.is_empty() { "<none>" } else { &r.cause });
            }
            let table = if all.is_empty() { "No rollout history found.".to_owned() } else { align(&table) };
            info.say(&format!("\n{table}"));
            Ok(())
        };
        failed.keep_later(shown.await);
    }
    failed.end()
}
