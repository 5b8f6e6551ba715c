//! The objects of the configuration: upstream's `apf_controller` as far as it writes. The mandatory and the suggested ones are
//! made where they are missing and kept as they ship, unless an administrator has taken one over; every schema is told whether
//! its level exists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Object, Status, Value};
use client::{Client, Patch, Target, WriteOptions};
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;

use super::{LEVELS, SCHEMAS, defaults};
use crate::engine::meta;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// `true`: the object is kept as it ships.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The condition of a schema without its level.
const DANGLING: &str = "Dangling";

/// Until `stop`. Must be called within a runtime.
pub(crate) fn maintain(client: Arc<dyn Client>, store: Arc<Store>, stop: CancellationToken) {
    tokio::spawn(async move { stop.run_until_cancelled(keep(&*client, &store)).await });
}

async fn keep(client: &dyn Client, store: &Store) {
    loop {
        let revision = store.revision();
        if let Err(error) = once(client, store).await {
            tracing::warn!(%error, "the objects of priority and fairness");
            // whatever it was, it is not in these objects: another try is all there is
            tokio::time::sleep(Duration::from_secs(10)).await;
            continue;
        }
        let (Ok(mut a), Ok(mut b)) = (store.watch(LEVELS, revision), store.watch(SCHEMAS, revision)) else { continue };
        let changed = tokio::select! { e = a.next() => e.map(drop), e = b.next() => e.map(drop) };
        if matches!(changed, Err(store::Error::Closed)) {
            return;
        }
    }
}

type Objects = BTreeMap<String, Arc<Object>>;

fn all(store: &Store, resource: &str) -> Objects {
    store.snapshot(resource).iter().map(|o| (o.name().to_owned(), o.clone())).collect()
}

fn target(plural: &str, name: &str) -> Target {
    Target::one(Gvr::new(GROUP, "v1", plural), "", name)
}

async fn once(client: &dyn Client, store: &Store) -> Result<(), Status> {
    let (levels, schemas) = defaults();
    let shipped = [("PriorityLevelConfiguration", LEVELS, levels), ("FlowSchema", SCHEMAS, schemas)];
    for (kind, resource, specs) in shipped {
        let there = all(store, resource);
        let plural = resource.rsplit('/').next().unwrap_or(resource);
        let writes =
            specs.into_iter().map(|(name, spec)| ship(client, kind, plural, there.get(&name).cloned(), name, spec));
        futures::future::try_join_all(writes).await?;
    }
    let levels = all(store, LEVELS);
    for schema in all(store, SCHEMAS).values() {
        let tree = schema.tree();
        let level = tree["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        if let Some(condition) = dangling(&tree, level, levels.contains_key(level)) {
            // the others are somebody else's
            let all = tree["status"]["conditions"].as_array().into_iter().flatten();
            let mut conditions: Vec<Value> = all.filter(|c| c["type"] != DANGLING).cloned().collect();
            conditions.push(condition);
            let metadata = json!({"resourceVersion": schema.revision().to_string()});
            let patch = Patch::Merge(json!({"metadata": metadata, "status": {"conditions": conditions}}));
            let target = target("flowschemas", schema.name()).sub("status");
            unless_gone(client.patch(&target, patch, &WriteOptions::default()).await)?;
        }
    }
    Ok(())
}

/// Another server may have been first, or an administrator second.
fn unless_gone(done: Result<Arc<Object>, Status>) -> Result<(), Status> {
    match done {
        Err(status) if !(status.is_already_exists() || status.is_not_found() || status.is_conflict()) => Err(status),
        _ => Ok(()),
    }
}

async fn ship(
    client: &dyn Client,
    kind: &str,
    plural: &str,
    there: Option<Arc<Object>>,
    name: String,
    spec: Value,
) -> Result<(), Status> {
    let options = WriteOptions::default();
    let Some(there) = there else {
        let metadata = json!({"name": name, "annotations": {AUTO_UPDATE: "true"}});
        let tree = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "spec": spec});
        return unless_gone(client.create(&target(plural, ""), tree, &options).await);
    };
    let mut tree = there.tree();
    if tree["spec"] == spec || !kept(&tree, &name) {
        return Ok(());
    }
    tree["spec"] = spec;
    unless_gone(client.update(&target(plural, &name), tree, &options).await)
}

/// Whether an object is kept as it ships: it says so, or nobody has ever said or changed anything.
fn kept(tree: &Value, name: &str) -> bool {
    let mandatory = matches!(name, "exempt" | "catch-all");
    match tree["metadata"]["annotations"][AUTO_UPDATE].as_str() {
        Some(text) => text == "true",
        None => mandatory || tree["metadata"]["generation"] == 1,
    }
}

/// The condition that a schema should have, where it has another.
fn dangling(schema: &Value, level: &str, exists: bool) -> Option<Value> {
    let (status, reason, end) = match exists {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let before = schema["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == DANGLING);
    if before.is_some_and(|c| c["status"] == status && c["message"] == message.as_str()) {
        return None;
    }
    let now = meta::time(meta::now());
    Some(json!({"type": DANGLING, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_takes_over() {
        let tree = |annotations: Value, generation: i64| json!({"metadata": {"annotations": annotations, "generation": generation}});
        for (annotations, generation, name, want) in [
            (json!({AUTO_UPDATE: "true"}), 3, "system", true),
            (json!({AUTO_UPDATE: "false"}), 1, "system", false),
            (Value::Null, 1, "system", true),
            (Value::Null, 2, "system", false),
            (Value::Null, 2, "exempt", true),
        ] {
            assert_eq!(kept(&tree(annotations, generation), name), want, "{name} {generation}");
        }
    }

    #[test]
    fn a_schema_without_its_level_dangles() {
        let mut schema = json!({"status": {}});
        let condition = dangling(&schema, "x", false).unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        schema["status"]["conditions"] = json!([condition]);
        assert_eq!(dangling(&schema, "x", false), None);
        assert_eq!(dangling(&schema, "x", true).unwrap()["status"], "False");
    }

    /// What ships is what an object of it says, so that nothing is written twice.
    #[test]
    fn the_shipped_specs_are_whole_and_valid() {
        let (levels, schemas) = defaults();
        let registry = api::kinds::registry();
        for (plural, specs) in [("prioritylevelconfigurations", levels), ("flowschemas", schemas)] {
            let kind = registry.resource(GROUP, "v1", plural).unwrap();
            for (name, spec) in specs {
                let mut tree = json!({"metadata": {"name": name}, "spec": spec});
                kind.strategy.default(&mut tree);
                assert_eq!(tree["spec"], spec, "{name}");
                assert_eq!(kind.strategy.validate(&tree), Vec::new(), "{name}");
            }
        }
    }
}
