//! A definition that is being deleted takes its objects with it: upstream's finalizing controller.

use std::sync::Arc;

use api::crd::{CLEANUP, Definition};
use api::{Object, Status};
use futures::StreamExt;
use store::EventKind;
use tokio_util::sync::CancellationToken;

use super::{attributes, modify, status};
use crate::Engine;
use crate::engine::{Call, DeleteOptions, Served};

/// How many objects are deleted at once.
const AT_ONCE: usize = 32;

/// Deletes all objects of a definition, waits for those that finalizers hold, and lets the definition go.
pub(super) async fn run(engine: Arc<Engine>, definition: Arc<Definition>, stop: CancellationToken) {
    let done = stop.run_until_cancelled(clean(&engine, &definition)).await;
    if let Some(Err(error)) = done
        && !error.is_not_found()
    {
        tracing::warn!(crd = &*definition.name, %error, "the objects of a custom resource definition were not deleted");
    }
}

async fn clean(engine: &Arc<Engine>, definition: &Arc<Definition>) -> Result<(), Status> {
    modify(engine, &definition.name, |tree| {
        let message = "CustomResource deletion is in progress";
        status::set(tree, "Terminating", true, "InstanceDeletionInProgress", message);
        Ok(())
    })
    .await?;
    if let Some(served) = Served::stored(definition) {
        let served = Arc::new(served);
        while !emptied(engine, &served).await? {}
    }
    modify(engine, &definition.name, |tree| {
        status::set(tree, "Terminating", false, "InstanceDeletionCompleted", "removed all instances");
        if let Some(all) = tree["metadata"]["finalizers"].as_array_mut() {
            all.retain(|f| f != CLEANUP);
        }
        Ok::<(), Status>(())
    })
    .await
}

/// One round: deletes what is there, and unless nothing is left waits until something has gone.
async fn emptied(engine: &Arc<Engine>, served: &Arc<Served>) -> Result<bool, Status> {
    let snapshot = engine.store().snapshot(&served.resource);
    let mut watcher = engine.store().watch(&served.resource, snapshot.revision()).map_err(Status::internal)?;
    let all: Vec<Arc<Object>> = snapshot.range(None, None).cloned().collect();
    if all.is_empty() {
        return Ok(true);
    }
    let mut deletes = futures::stream::iter(all)
        .map(|object| delete(engine.clone(), served.clone(), object))
        .buffer_unordered(AT_ONCE);
    while let Some(done) = deletes.next().await {
        done?;
    }
    loop {
        let events = watcher.next().await.map_err(Status::internal)?;
        if events.iter().any(|e| e.kind == EventKind::Delete) {
            return Ok(false);
        }
    }
}

async fn delete(engine: Arc<Engine>, served: Arc<Served>, object: Arc<Object>) -> Result<(), Status> {
    if object.meta().is_deleting() {
        return Ok(());
    }
    let mut a = attributes(&served.group, &served.version, &served.kind.plural, object.name());
    a.namespace = object.namespace().to_owned();
    let mut call = Call::new(&a, &served, false).unguarded();
    match engine.delete(&mut call, object.name(), &DeleteOptions::default()).await {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}
