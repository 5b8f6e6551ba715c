//! All pod workers of the node: one for each pod that the API server has placed here, and one for each that only the
//! runtime still knows.

use std::collections::HashMap;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use client::Informer;
use parking_lot::Mutex;
use runtime::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mailbox::Mailbox;
use super::worker::{Known, Worker};
use crate::context::Context;
use crate::network::turned;

#[derive(Default)]
pub(crate) struct Mailboxes {
    by_uid: Mutex<HashMap<String, Arc<Mailbox>>>,
}

impl Mailboxes {
    pub fn wake(&self, uid: &str) {
        if let Some(m) = self.by_uid.lock().get(uid) {
            m.wake();
        }
    }
    fn wake_all(&self) {
        self.by_uid.lock().values().for_each(|m| m.wake());
    }
}

pub(crate) struct Manager {
    pub ctx: Arc<Context>,
    pub mailboxes: Arc<Mailboxes>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Manager {
    /// Runs until stopped; what runs in the pods goes on.
    pub async fn run(self, pods: Informer) {
        let mut events = self.ctx.runtime.events();
        pods.synced().await;
        self.ctx.services.synced().await;
        let me = Arc::new(self);
        let handler = me.clone();
        pods.on_change(move |c| {
            if let Some(old) = c.old.as_ref().filter(|old| c.new.as_ref().is_none_or(|n| n.uid() != old.uid())) {
                handler.gone(old);
            }
            if let Some(new) = &c.new {
                handler.seen(new);
            }
        });
        me.orphans().await;
        let mut ready = false;
        loop {
            let event = tokio::select! {
                e = events.recv() => e,
                () = turned(&*me.ctx.network, ready) => {
                    ready = !ready;
                    Ok(Event::Lagged)
                }
                () = me.stop.cancelled() => break,
            };
            match event {
                Ok(Event::Pod { uid }) => me.mailboxes.wake(&uid),
                Ok(Event::Lagged) | Err(RecvError::Lagged(_)) => me.mailboxes.wake_all(),
                Err(RecvError::Closed) => break,
            }
        }
        me.stop.cancelled().await;
    }

    fn seen(self: &Arc<Self>, object: &Arc<Object>) {
        let known = self.mailboxes.by_uid.lock().get(object.uid()).cloned();
        match known {
            Some(mailbox) => mailbox.offer(object.clone()),
            None => {
                let mailbox = Arc::new(Mailbox::default());
                mailbox.offer(object.clone());
                let known = Known {
                    namespace: object.namespace().into(),
                    name: object.name().into(),
                    uid: object.uid().into(),
                };
                self.start(known, mailbox);
            }
        }
    }

    fn gone(&self, object: &Arc<Object>) {
        let known = self.mailboxes.by_uid.lock().get(object.uid()).cloned();
        if let Some(mailbox) = known {
            // its last state tells the grace period that was asked for
            mailbox.offer(object.clone());
            mailbox.update(|i| i.gone = true);
        }
    }

    fn start(self: &Arc<Self>, known: Known, mailbox: Arc<Mailbox>) {
        let uid = known.uid.clone();
        self.mailboxes.by_uid.lock().insert(uid.clone(), mailbox.clone());
        let worker = Worker::new(self.ctx.clone(), known, mailbox);
        let me = self.clone();
        self.tasks.spawn(async move {
            if me.stop.run_until_cancelled(worker.run()).await.is_some() {
                me.mailboxes.by_uid.lock().remove(&uid);
                me.ctx.objects.release(&uid);
            }
        });
    }

    /// Pods that run, or have left files, though the API server knows them no more.
    async fn orphans(self: &Arc<Self>) {
        let sandboxes = self.ctx.runtime.sandboxes().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the runtime does not list its sandboxes");
            Vec::new()
        });
        for s in sandboxes {
            let c = s.config;
            if self.mailboxes.by_uid.lock().contains_key(&c.uid) {
                continue;
            }
            tracing::info!(pod = c.name, namespace = c.namespace, "a pod that is no longer wanted still runs");
            let mailbox = Arc::new(Mailbox::default());
            mailbox.update(|i| i.gone = true);
            self.start(Known { namespace: c.namespace, name: c.name, uid: c.uid }, mailbox);
        }
        let Ok(entries) = std::fs::read_dir(self.ctx.config.root_dir.join("pods")) else { return };
        for entry in entries.flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !self.mailboxes.by_uid.lock().contains_key(&uid)
                && let Err(error) = crate::volume::remove_pod_dir(&*self.ctx.mounter, &entry.path())
            {
                tracing::warn!(%error, uid, "the files of a pod that is gone were not removed");
            }
        }
    }
}

/// The pods that are placed on a node.
pub(crate) fn selector(node: &str) -> client::Selector {
    client::Selector::of::<Pod>().fields(format!("spec.nodeName={node}"))
}
