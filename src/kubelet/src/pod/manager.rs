//! All pod workers of the node: one for each pod that the API server has placed here, and one for each that only the
//! runtime still knows.

use std::collections::HashMap;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::{Object, Resource};
use client::Informer;
use parking_lot::Mutex;
use runtime::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mailbox::{Mailbox, Order};
use super::status::Failure;
use super::worker::{Known, Worker};
use crate::admission::{Admitted, Counts, Scene};
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
    /// Those that are neither over nor about to end, by uid.
    pub fn active(&self) -> Vec<(String, Arc<Object>)> {
        let all = self.by_uid.lock();
        let object = |m: &Mailbox| m.with(|i| i.object.clone().filter(|_| !i.gone && i.order.is_none()));
        let running = |o: &Arc<Object>| !o.meta().is_deleting() && !is_over(o);
        all.iter().filter_map(|(uid, m)| Some((uid.clone(), object(m).filter(running)?))).collect()
    }
    /// Ends a pod for good.
    pub fn order(&self, uid: &str, order: Order) {
        if let Some(m) = self.by_uid.lock().get(uid) {
            m.update(|i| i.order = Some(order));
        }
    }
    /// Whether it is there and its end is not told yet.
    pub fn is_there(&self, uid: &str) -> bool {
        let mailbox = self.by_uid.lock().get(uid).cloned();
        mailbox.is_some_and(|m| m.with(|i| !i.gone && i.object.as_ref().is_some_and(|o| !is_over(o))))
    }
    fn wake_all(&self) {
        self.by_uid.lock().values().for_each(|m| m.wake());
    }
}

impl Counts for Mailboxes {
    fn counts(&self, uid: &str) -> bool {
        self.is_there(uid)
    }
}

fn is_over(object: &Object) -> bool {
    let phase = object.view::<Pod>().ok().and_then(|p| p.status.as_ref()?.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(crate) struct Manager {
    pub ctx: Arc<Context>,
    pub mailboxes: Arc<Mailboxes>,
    pub admitted: Admitted,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Manager {
    /// Runs until stopped; what runs in the pods goes on.
    pub async fn run(self, pods: Informer) {
        let mut events = self.ctx.runtime.events();
        pods.synced().await;
        self.ctx.services.synced().await;
        self.ctx.nodes.synced().await;
        let me = Arc::new(self);
        let handler = me.clone();
        // those that ran before have their places before new ones ask for theirs, the oldest first
        let mut present = pods.list(None);
        present.sort_by_key(|o| (started(o).is_none(), o.meta().creation_timestamp.clone()));
        present.iter().for_each(|o| me.seen(o));
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
            Some(mailbox) => {
                self.admitted.update(object);
                mailbox.offer(object.clone());
            }
            None => {
                let mailbox = Arc::new(Mailbox::default());
                mailbox.offer(object.clone());
                let refused = self.admitted.admit(object, &self.scene()).err();
                let known = Known {
                    namespace: object.namespace().into(),
                    name: object.name().into(),
                    uid: object.uid().into(),
                };
                self.start(known, mailbox, refused);
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

    fn scene(&self) -> Scene<'_> {
        Scene {
            node: self.ctx.nodes.get("", &self.ctx.config.node_name),
            pressure: *self.ctx.pressure.borrow(),
            shutting_down: *self.ctx.shutting_down.borrow(),
            mailboxes: &*self.mailboxes,
        }
    }

    /// A node's labels may have changed a moment ago: before a pod is refused for them, the server is asked.
    async fn second_look(&self, mailbox: &Mailbox, refused: Option<Failure>) -> Option<Failure> {
        let refused = refused?;
        let object = mailbox.with(|i| i.object.clone())?;
        let mut last = Some(refused.clone());
        if refused.reason == "NodeAffinity" {
            let target = client::Target::one(Node::gvr(), "", &self.ctx.config.node_name);
            if let Ok(node) = self.ctx.client.get(&target).await {
                last = self.admitted.admit(&object, &Scene { node: Some(node), ..self.scene() }).err();
            }
        }
        if let Some(refused) = &mut last {
            tracing::info!(pod = object.name(), namespace = object.namespace(), reason = refused.reason, "pod refused");
            self.ctx.warning(&object, None, &refused.reason, refused.message.clone());
            refused.message = format!("Pod was rejected: {}", refused.message);
        }
        last
    }

    fn start(self: &Arc<Self>, known: Known, mailbox: Arc<Mailbox>, refused: Option<Failure>) {
        let uid = known.uid.clone();
        self.mailboxes.by_uid.lock().insert(uid.clone(), mailbox.clone());
        let me = self.clone();
        self.tasks.spawn(async move {
            let work = async {
                let refused = me.second_look(&mailbox, refused).await;
                Worker::new(me.ctx.clone(), known, mailbox, refused).run().await;
            };
            if me.stop.run_until_cancelled(work).await.is_some() {
                me.admitted.forget(&uid);
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
            self.start(Known { namespace: c.namespace, name: c.name, uid: c.uid }, mailbox, None);
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

fn started(object: &Object) -> Option<()> {
    object.view::<Pod>().ok()?.status.as_ref()?.start_time.as_ref().map(drop)
}

/// The pods that are placed on a node.
pub(crate) fn selector(node: &str) -> client::Selector {
    client::Selector::of::<Pod>().fields(format!("spec.nodeName={node}"))
}
