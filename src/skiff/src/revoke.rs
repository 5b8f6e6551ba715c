//! `skiff node revoke`: the certificates that a machine has had so far count no more.

use anyhow::Result;
use api::Status;
use jiff::Timestamp;
use serde_json::json;

use crate::admin::Admin;
use crate::flags::NodeCommand;
use crate::paths::Paths;

const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const NAME: &str = "revoked-nodes";

pub async fn run(command: NodeCommand) -> Result<()> {
    let NodeCommand::Revoke { data, nodes } = command;
    let admin = Admin::open(&Paths::of(&data.data_dir))?;
    // certificates tell whole seconds: all of this one are refused, and we return when it is over
    let now = Timestamp::now();
    let next = Timestamp::from_second(now.as_second() + 1)?;
    let entries: serde_json::Map<_, _> = nodes.iter().map(|n| (n.clone(), next.to_string().into())).collect();
    let tree = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": entries});
    let done = admin.call("PATCH", &format!("{CONFIG_MAPS}/{NAME}"), Some(&json!({"data": entries}))).await;
    match done {
        Err(error) if error.downcast_ref::<Status>().is_some_and(Status::is_not_found) => {
            admin.call("POST", CONFIG_MAPS, Some(&tree)).await?;
        }
        done => drop(done?),
    }
    tokio::time::sleep(next.duration_since(Timestamp::now()).try_into().unwrap_or_default()).await;
    nodes.iter().for_each(|n| println!("{n}"));
    Ok(())
}
