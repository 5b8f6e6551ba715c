//! Whom a controller's objects belong to: adoption and release, upstream's `controller_ref_manager.go`.

use std::sync::Arc;

use api::labels::Selector;
use api::{Gvr, Object, Resource, Value};
use client::{Client, Index, Patch, Target, WriteOptions};
use serde_json::json;

use crate::{Error, pods};

/// Index by the controller's uid, or by `/<namespace>` for objects that nobody controls.
pub fn by_owner(object: &Object) -> Vec<Box<str>> {
    vec![object.meta().controller().map_or_else(|| orphans(object.namespace()), |o| o.uid.clone())]
}

fn orphans(namespace: &str) -> Box<str> {
    format!("/{namespace}").into()
}

/// The objects of resource `kind` that `owner` (a `K`) controls: those it did and that `selector` still matches, and
/// matching orphans, which are adopted. What no longer matches is released. `index` is one by [`by_owner`].
pub async fn claim<K: Resource>(
    client: &dyn Client,
    owner: &Object,
    selector: &Selector,
    index: &Index,
    kind: &Gvr,
) -> Result<Vec<Arc<Object>>, Error> {
    let going = owner.meta().is_deleting();
    let mut mine = Vec::new();
    for object in index.get(owner.uid()) {
        if selector.matches(&object.meta().labels) {
            mine.push(object);
        } else if !going {
            release(client, owner, &object, kind).await?;
        }
    }
    let mut may_adopt = None;
    for object in index.get(&orphans(owner.namespace())) {
        if going || object.meta().is_deleting() || !selector.matches(&object.meta().labels) {
            continue;
        }
        // the cache may not know yet that the owner is going, or is another of the same name
        if may_adopt.is_none() {
            let fresh = client.get(&Target::one(K::gvr(), owner.namespace(), owner.name())).await?;
            may_adopt = Some(fresh.uid() == owner.uid() && !fresh.meta().is_deleting());
        }
        if may_adopt == Some(true) {
            match patch_owners(client, &object, kind, |all| all.push(pods::controller_ref::<K>(owner))).await {
                Ok(adopted) => mine.push(adopted),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(mine)
}

async fn release(client: &dyn Client, owner: &Object, object: &Object, kind: &Gvr) -> Result<(), Error> {
    match patch_owners(client, object, kind, |all| all.retain(|o| o["uid"] != owner.uid())).await {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e.into()),
    }
}

async fn patch_owners(
    client: &dyn Client,
    object: &Object,
    kind: &Gvr,
    change: impl FnOnce(&mut Vec<Value>),
) -> Result<Arc<Object>, api::Status> {
    let mut owners = object.tree()["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    change(&mut owners);
    let metadata = json!({"resourceVersion": object.revision().to_string(), "ownerReferences": owners});
    let target = Target::one(kind.clone(), object.namespace(), object.name());
    client.patch(&target, Patch::Merge(json!({"metadata": metadata})), &WriteOptions::default()).await
}
