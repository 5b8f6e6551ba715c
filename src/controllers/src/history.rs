//! Past templates of DaemonSets and StatefulSets, kept as ControllerRevisions: upstream's `pkg/controller/history`.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::ControllerRevision;
use api::{Object, Resource, Value};
use client::{Client, DeleteOptions, Patch, Target, WriteOptions};
use serde_json::json;

use crate::{Error, hash, pods};

pub const HASH_LABEL: &str = "controller-revision-hash";

/// What a revision keeps: a patch that puts the template back, to the byte as upstream's clients make it when they look for
/// the revision of a template.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    template["metadata"]["creationTimestamp"] = Value::Null;
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub fn template(revision: &Object) -> Value {
    let mut template = revision.tree()["data"]["spec"]["template"].take();
    if let Some(t) = template.as_object_mut() {
        t.remove("$patch");
    }
    if let Some(m) = template["metadata"].as_object_mut() {
        m.remove("creationTimestamp");
    }
    template
}

pub fn number(revision: &Object) -> i64 {
    revision.view::<ControllerRevision>().map_or(0, |r| r.revision)
}

/// The value that pods of a revision carry as label.
pub fn hash_of(revision: &Object) -> &str {
    revision.meta().labels.get(HASH_LABEL).map_or("", |h| h)
}

/// The revision of `template`, made or moved to the top if need be. `known`: the owner's revisions.
pub async fn current<K: Resource>(
    client: &dyn Client,
    owner: &Object,
    template: &Value,
    known: &[Arc<Object>],
    collisions: Option<i32>,
) -> Result<Arc<Object>, Error> {
    let data = data(template);
    let top = known.iter().map(|r| number(r)).max().unwrap_or(0);
    let equal = known.iter().filter(|r| r.tree()["data"] == data).max_by_key(|r| number(r));
    let options = WriteOptions::default();
    if let Some(revision) = equal {
        if number(revision) == top {
            return Ok(revision.clone());
        }
        let target = Target::one(ControllerRevision::gvr(), owner.namespace(), revision.name());
        return Ok(client.patch(&target, Patch::Merge(json!({"revision": top + 1})), &options).await?);
    }
    let mut collisions = collisions;
    loop {
        let hash = hash::of(template, collisions);
        let name = format!("{}-{hash}", owner.name());
        let mut labels = template["metadata"]["labels"].clone();
        labels[HASH_LABEL] = json!(hash);
        let tree = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": name, "namespace": owner.namespace(), "labels": labels,
                "ownerReferences": [pods::controller_ref::<K>(owner)]},
            "data": data, "revision": top + 1,
        });
        match client.create(&Target::within(ControllerRevision::gvr(), owner.namespace()), tree, &options).await {
            Ok(revision) => return Ok(revision),
            Err(e) if e.is_already_exists() => {
                let target = Target::one(ControllerRevision::gvr(), owner.namespace(), &name);
                let there = client.get(&target).await?;
                let mine = there.meta().controller().is_some_and(|o| *o.uid == *owner.uid());
                if mine && there.tree()["data"] == data {
                    return Ok(there);
                }
                collisions = Some(collisions.unwrap_or(0) + 1);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Forgets the oldest revisions beyond `limit` that no pod is of (`live`: their hashes).
pub async fn truncate(
    client: &dyn Client,
    known: &[Arc<Object>],
    live: &BTreeSet<String>,
    limit: Option<i32>,
) -> Result<(), Error> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let mut dead: Vec<&Arc<Object>> = known.iter().filter(|r| !live.contains(hash_of(r))).collect();
    dead.sort_by_key(|r| number(r));
    let surplus = dead.len().saturating_sub(limit);
    for revision in dead.into_iter().take(surplus) {
        let target = Target::one(ControllerRevision::gvr(), revision.namespace(), revision.name());
        match client.delete(&target, &DeleteOptions::default()).await {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}
