//! What follows from changes of objects: tokens that have expired are deleted (upstream's `tokencleaner`), the password of a
//! deleted Node too, and the tunnel of a revoked one is cut.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use api::{Resource, Status};
use client::{
    Client, Clock, Controller, DeleteOptions, Informer, ObjectKey, Precondition, Requeue, Selector, Target, WorkQueue,
};
use tokio_util::sync::CancellationToken;
use tunnel::Hub;

use super::password::secret_name;
use crate::Server;
use crate::authn::bootstrap::{BootstrapTokens, NAMESPACE, TYPE, expiration};
use crate::authn::revoked;

/// Runs until `stop`: the tunnels are those of `hub`, the connections those of `server`. `client` must be allowed everything.
pub async fn follow(
    client: Arc<dyn Client>,
    clock: Arc<dyn Clock>,
    bootstrap: Arc<BootstrapTokens>,
    hub: Arc<Hub>,
    server: Server,
    stop: CancellationToken,
) {
    let revoked = Selector { namespace: revoked::NAMESPACE.into(), ..Selector::of::<ConfigMap>() };
    let revoked = revoked.fields(format!("metadata.name={}", revoked::NAME));
    let revoked = Informer::start(client.clone(), revoked, stop.clone());
    revoked.on_change(move |change| {
        let old = change.old.as_ref().map(|o| revoked::times(o)).unwrap_or_default();
        server.drop_revoked();
        for (node, at) in change.new.as_ref().map(|o| revoked::times(o)).unwrap_or_default() {
            if old.get(&node) != Some(&at) && hub.is_connected(&node) {
                tracing::warn!(node, "the node is revoked");
                hub.cut(&node);
            }
        }
    });

    let passwords: WorkQueue<ObjectKey> = WorkQueue::new();
    let (queue, deleting) = (passwords.clone(), client.clone());
    let nodes = Informer::start(client.clone(), Selector::of::<Node>(), stop.clone());
    nodes.on_change(move |change| {
        if change.new.is_none() {
            queue.add(ObjectKey::new(NAMESPACE, &secret_name(change.object().name())));
        }
    });
    let passwords = Controller { name: "node-password", workers: 1, queue: passwords };
    let passwords = passwords.run(stop.clone(), move |key| {
        let client = deleting.clone();
        async move { delete(&*client, &key, None).await }
    });

    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let selector = Selector { namespace: NAMESPACE.into(), ..Selector::of::<Secret>() };
    let secrets = Informer::start(client.clone(), selector.fields(format!("type={TYPE}")), stop.clone());
    let keys = queue.clone();
    secrets.on_change(move |change| keys.add(ObjectKey::of(change.object())));
    let tokens = Controller { name: "token-cleaner", workers: 1, queue };
    let tokens = tokens.run(stop, move |key| {
        let (client, clock, bootstrap, secrets) = (client.clone(), clock.clone(), bootstrap.clone(), secrets.clone());
        async move {
            let Some(object) = secrets.get(&key.namespace, &key.name) else { return Ok(None) };
            let end = match expiration(&object.tree()) {
                Ok(None) => return Ok(None),
                Ok(Some(end)) => end,
                // nobody can say when it ends: upstream deletes it too
                Err(_) => clock.now(),
            };
            let left = end.duration_since(clock.now());
            if left.is_positive() {
                return Ok(std::time::Duration::try_from(left).ok());
            }
            bootstrap.remember(&object);
            tracing::info!(secret = object.name(), "a bootstrap token has expired");
            delete(&*client, &key, Some(object.uid().to_owned())).await
        }
    });
    tokio::join!(passwords, tokens);
}

async fn delete(client: &dyn Client, key: &ObjectKey, uid: Option<String>) -> Result<Requeue, Status> {
    let target = Target::one(Secret::gvr(), &key.namespace, &key.name);
    let options = DeleteOptions { precondition: Precondition { uid, revision: None }, ..DeleteOptions::default() };
    match client.delete(&target, &options).await {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
        _ => Ok(None),
    }
}
