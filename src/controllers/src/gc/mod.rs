//! Garbage collection: what has lost its owners goes, whatever its kind. Upstream's `pkg/controller/garbagecollector`.
//!
//! ```text
//!   informers of every kind ──► Graph (dependents by owner uid) ──► queue ──► delete? : owners live? cached, else asked
//!                                                                        └──► orphan : take the owner off its dependents
//! ```
//! An owner counts as absent only when the API says so: a cache may lag behind.

mod graph;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use api::{Gvr, Object, OwnerReference};
use client::{
    Aggregated, Change, Controller, DeleteOptions, Informer, Patch, Precondition, Propagation, Requeue, Target,
    WorkQueue, WriteOptions,
};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, finalizers};
use graph::{Graph, Id};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Task {
    /// Delete it if its owners are gone; or, if it is being deleted in the foreground, see whether it may go.
    Delete(Id),
    /// It is being deleted, and its dependents are to stay.
    Orphan(Id),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Delete(id) | Task::Orphan(id) => id.fmt(f),
        }
    }
}

#[derive(Clone)]
struct Kind {
    resource: Gvr,
    informer: Informer,
    namespaced: bool,
    /// It is served.
    followed: bool,
}

/// A kind to be followed.
struct Served {
    resource: Gvr,
    kind: String,
    namespaced: bool,
    /// This server has it, and not another one behind it.
    own: bool,
}

/// What other API servers serve that can be collected, each in its preferred version: upstream's `GetDeletableResources`.
fn elsewhere(served: &mut Vec<Served>, all: &[Aggregated]) {
    // one that does not answer is not asked; what it owns waits until it does
    for a in all.iter().filter(|a| a.fresh) {
        for r in &*a.resources {
            let can = |verb: &&str| r["verbs"].as_array().is_some_and(|all| all.iter().any(|v| v == verb));
            let text = |key: &str| r[key].as_str().unwrap_or_default();
            let (name, kind) = (text("name"), text("kind"));
            let known = served.iter().any(|s| s.resource.group == a.group && s.kind == kind);
            if known || name.is_empty() || name.contains('/') || !["list", "watch", "delete"].iter().all(can) {
                continue;
            }
            let (resource, kind) = (Gvr::new(&a.group, &a.version, name), kind.to_owned());
            served.push(Served { resource, kind, namespaced: r["namespaced"] == true, own: false });
        }
    }
}

/// The kinds that are followed. A place once given stays its kind's, also while that is not served.
#[derive(Default)]
struct Kinds {
    list: Vec<Arc<Kind>>,
    /// By group and kind, as owner references name them.
    by_kind: HashMap<(String, String), u16>,
}

struct Collector {
    ctx: Context,
    kinds: RwLock<Kinds>,
    graph: Mutex<Graph>,
    queue: WorkQueue<Task>,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue = WorkQueue::new();
    let this = Arc::new(Collector { ctx, kinds: RwLock::default(), graph: Mutex::default(), queue: queue.clone() });
    let mut registry = this.ctx.config.registry.clone();
    let mut elsewhere = this.ctx.client.aggregated_changes();
    registry.mark_unchanged();
    elsewhere.mark_unchanged();
    for informer in this.follow() {
        informer.synced().await;
    }
    let me = this.clone();
    let following = async move {
        loop {
            tokio::select! {
                Ok(()) = registry.changed() => {}
                Ok(()) = elsewhere.changed() => {}
                else => return std::future::pending::<()>().await,
            }
            me.follow();
        }
    };
    let controller = Controller { name: "garbage-collector", workers: 8, queue };
    let collecting = controller.run(stop, move |task| {
        let this = this.clone();
        async move {
            match task {
                Task::Delete(id) => this.attempt_to_delete(&id).await,
                Task::Orphan(id) => this.orphan(&id).await,
            }
        }
    });
    tokio::select! {
        () = collecting => {}
        () = following => {}
    }
}

/// Being deleted in the foreground: `deletingDependents`.
fn waits_for_dependents(o: &Object) -> bool {
    o.meta().is_deleting() && o.meta().has_finalizer(FOREGROUND)
}

impl Collector {
    /// Starts to follow what is newly served and ends with what is not any more. Answers the informers that are new, but for
    /// those of other API servers, which may be away.
    fn follow(self: &Arc<Self>) -> Vec<Informer> {
        let registry = self.ctx.config.registry.borrow().clone();
        // events are many and own nothing
        let own = self.ctx.config.deletable(false).into_iter().filter(|(r, _)| r.resource != "events");
        let mut served: Vec<Served> = own
            .map(|(resource, kind)| {
                let found = registry.resource(&resource.group, &resource.version, &resource.resource);
                Served { namespaced: found.is_some_and(|k| k.namespaced()), resource, kind, own: true }
            })
            .collect();
        elsewhere(&mut served, &self.ctx.client.aggregated());
        let mut fresh = Vec::new();
        let mut kinds = self.kinds.write();
        for Served { resource, kind, namespaced, own } in &served {
            let place = kinds.by_kind.get(&(resource.group.clone(), kind.clone())).copied();
            let last = place.map(|i| kinds.list[usize::from(i)].clone());
            if last.as_ref().is_some_and(|k| k.resource == *resource && k.followed) {
                continue;
            }
            if let Some(last) = last.filter(|l| l.resource != *resource) {
                self.ctx.informers.forget(&last.resource);
            }
            let informer = self.ctx.informers.get(resource.clone());
            let new = Arc::new(Kind {
                informer: informer.clone(),
                resource: resource.clone(),
                namespaced: *namespaced,
                followed: true,
            });
            let place = match place {
                Some(i) => {
                    kinds.list[usize::from(i)] = new;
                    i
                }
                None => {
                    kinds.list.push(new);
                    (kinds.list.len() - 1) as u16
                }
            };
            kinds.by_kind.insert((resource.group.clone(), kind.clone()), place);
            fresh.push((place, informer, *own));
        }
        for (key, place) in &kinds.by_kind.clone() {
            let kind = &kinds.list[usize::from(*place)];
            if kind.followed && !served.iter().any(|s| s.resource.group == key.0 && s.kind == key.1) {
                self.ctx.informers.forget(&kind.resource);
                let gone = Kind { followed: false, ..(**kind).clone() };
                kinds.list[usize::from(*place)] = Arc::new(gone);
            }
        }
        drop(kinds);
        for (place, informer, _) in &fresh {
            let (place, me) = (*place, Arc::downgrade(self));
            informer.on_change(move |c| {
                if let Some(me) = me.upgrade() {
                    me.changed(place, c);
                }
            });
        }
        // whose owners were of a kind that nobody knew
        let new: Vec<u16> = fresh.iter().map(|(place, _, _)| *place).collect();
        let dependents = if new.is_empty() { BTreeSet::new() } else { self.graph.lock().all() };
        for id in dependents {
            let of_new = |r: &OwnerReference| self.kind_of(r).is_some_and(|k| new.contains(&k));
            if self.cached(&id).is_some_and(|o| o.meta().owner_references.iter().any(of_new)) {
                self.queue.add(Task::Delete((*id).clone()));
            }
        }
        fresh.into_iter().filter(|(_, _, own)| *own).map(|(_, informer, _)| informer).collect()
    }

    fn kind(&self, place: u16) -> Arc<Kind> {
        self.kinds.read().list[usize::from(place)].clone()
    }

    fn changed(&self, kind: u16, change: &Change) {
        // another object of the same name: the old one is gone
        if let (Some(old), Some(new)) = (change.gone(), &change.new) {
            self.changed(kind, &Change { old: Some(old.clone()), new: None });
            return self.changed(kind, &Change { old: None, new: Some(new.clone()) });
        }
        let object = change.object();
        let (old, new) = (change.old.as_ref().map(|o| o.meta()), change.new.as_ref().map(|o| o.meta()));
        if old.is_some_and(|o| {
            new.is_some_and(|n| {
                o.owner_references == n.owner_references
                    && o.finalizers == n.finalizers
                    && o.is_deleting() == n.is_deleting()
            })
        }) {
            return;
        }
        let id = Id::new(kind, object);
        let mut graph = self.graph.lock();
        graph.change(&id, old, new);
        // an owner that waits for its dependents may be able to go now
        for reference in old.into_iter().flat_map(|o| &o.owner_references) {
            if let Some((owner, owner_kind)) = self.cached_owner(reference, object.namespace())
                && waits_for_dependents(&owner)
            {
                self.queue.add(Task::Delete(Id::new(owner_kind, &owner)));
            }
        }
        let Some(new) = &change.new else {
            for dependent in graph.dependents(object.uid()) {
                self.queue.add(Task::Delete((*dependent).clone()));
            }
            return;
        };
        if new.meta().is_deleting() {
            if new.meta().has_finalizer(ORPHAN) {
                self.queue.add(Task::Orphan(id));
            } else if new.meta().has_finalizer(FOREGROUND) {
                self.queue.add(Task::Delete(id));
            }
        } else if new.meta().owner_references.iter().any(|r| self.needs_look(r, new.namespace())) {
            self.queue.add(Task::Delete(id));
        }
    }

    /// The owner may be absent, or waits for its dependents.
    fn needs_look(&self, reference: &OwnerReference, namespace: &str) -> bool {
        match self.cached_owner(reference, namespace) {
            Some((owner, _)) => waits_for_dependents(&owner),
            None => self.kind_of(reference).is_some(),
        }
    }

    fn kind_of(&self, reference: &OwnerReference) -> Option<u16> {
        let group = reference.api_version.split_once('/').map_or("", |(g, _)| g);
        let kinds = self.kinds.read();
        let place = kinds.by_kind.get(&(group.to_owned(), reference.kind.to_string())).copied();
        place.filter(|i| kinds.list[usize::from(*i)].followed)
    }

    fn target_of(&self, kind: u16, namespace: &str, name: &str) -> Target {
        let kind = self.kind(kind);
        Target::one(kind.resource.clone(), if kind.namespaced { namespace } else { "" }, name)
    }

    fn cached_owner(&self, reference: &OwnerReference, namespace: &str) -> Option<(Arc<Object>, u16)> {
        let index = self.kind_of(reference)?;
        let kind = self.kind(index);
        let owner = kind.informer.get(if kind.namespaced { namespace } else { "" }, &reference.name)?;
        (*owner.uid() == *reference.uid).then_some((owner, index))
    }

    /// The owner if it is there, `None` if it is absent for certain. Owners of unknown kinds count as there.
    async fn owner(&self, reference: &OwnerReference, namespace: &str) -> Result<Option<OwnerState>, Error> {
        if let Some((owner, _)) = self.cached_owner(reference, namespace) {
            return Ok(Some(OwnerState::of(&owner)));
        }
        let Some(kind) = self.kind_of(reference) else { return Ok(Some(OwnerState::Solid)) };
        match self.ctx.client.get(&self.target_of(kind, namespace, &reference.name)).await {
            Ok(owner) => Ok((*owner.uid() == *reference.uid).then(|| OwnerState::of(&owner))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn attempt_to_delete(&self, id: &Id) -> Result<Requeue, Error> {
        let target = self.target_of(id.kind, &id.namespace, &id.name);
        let object = match self.ctx.client.get(&target).await {
            Ok(object) if object.uid() == &*id.uid => object,
            Ok(_) => return Ok(None),
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if waits_for_dependents(&object) {
            return self.foreground(&target, &object).await.map(|()| None);
        }
        if object.meta().is_deleting() || object.meta().owner_references.is_empty() {
            return Ok(None);
        }
        let (mut solid, mut waiting, mut drop_uids) = (0, 0, Vec::new());
        for reference in &object.meta().owner_references {
            match self.owner(reference, object.namespace()).await? {
                Some(OwnerState::Solid) => solid += 1,
                Some(OwnerState::Waiting) => {
                    waiting += 1;
                    drop_uids.push(reference.uid.clone());
                }
                None => drop_uids.push(reference.uid.clone()),
            }
        }
        if drop_uids.is_empty() {
            return Ok(None);
        }
        if solid > 0 {
            self.take_owners_off(&target, &object, &drop_uids).await?;
            return Ok(None);
        }
        let dependents = self.graph.lock().dependents(&id.uid);
        let propagation = if waiting > 0 && !dependents.is_empty() {
            self.unblock_cycle(&object, &dependents).await?;
            Propagation::Foreground
        } else if object.meta().has_finalizer(ORPHAN) {
            Propagation::Orphan
        } else if object.meta().has_finalizer(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        // unless somebody gave it a new owner meanwhile
        let precondition = Precondition { uid: Some(id.uid.to_string()), revision: Some(object.revision()) };
        let options = DeleteOptions { propagation: Some(propagation), precondition, ..Default::default() };
        match self.ctx.client.delete(&target, &options).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(None),
        }
    }

    /// Two objects that own each other would wait for ever: a dependent that waits itself no longer blocks.
    async fn unblock_cycle(&self, object: &Object, dependents: &[Arc<Id>]) -> Result<(), Error> {
        for dependent in dependents {
            let Some(d) = self.cached(dependent).filter(|d| waits_for_dependents(d)) else { continue };
            let mut tree = d.tree();
            for owner in tree["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
                if owner["uid"] == object.uid() {
                    owner["blockOwnerDeletion"] = json!(false);
                }
            }
            let owners = tree["metadata"]["ownerReferences"].take();
            let target = self.target_of(dependent.kind, &dependent.namespace, &dependent.name);
            self.patch_metadata(&target, &d, json!({"ownerReferences": owners})).await?;
        }
        Ok(())
    }

    fn cached(&self, id: &Id) -> Option<Arc<Object>> {
        let kind = self.kind(id.kind);
        kind.informer.get(&id.namespace, &id.name).filter(|o| o.uid() == &*id.uid)
    }

    /// It goes when no dependent blocks it any more: `processDeletingDependentsItem`.
    async fn foreground(&self, target: &Target, object: &Object) -> Result<(), Error> {
        let dependents = self.graph.lock().dependents(object.uid());
        let blocks = |d: &&Arc<Id>| {
            self.cached(d).is_some_and(|d| {
                d.meta()
                    .owner_references
                    .iter()
                    .any(|r| *r.uid == *object.uid() && r.block_owner_deletion == Some(true))
            })
        };
        let blocking: Vec<_> = dependents.iter().filter(blocks).collect();
        if blocking.is_empty() {
            return self.remove_finalizer(target, object, FOREGROUND).await;
        }
        for dependent in dependents.iter().filter(|d| self.cached(d).is_some_and(|o| !o.meta().is_deleting())) {
            self.queue.add(Task::Delete((**dependent).clone()));
        }
        Ok(())
    }

    async fn orphan(&self, id: &Id) -> Result<Requeue, Error> {
        let target = self.target_of(id.kind, &id.namespace, &id.name);
        let Some(object) = self.cached(id).filter(|o| o.meta().has_finalizer(ORPHAN)) else { return Ok(None) };
        let dependents = self.graph.lock().dependents(&id.uid);
        for dependent in dependents {
            if let Some(d) = self.cached(&dependent) {
                let target = self.target_of(dependent.kind, &dependent.namespace, &dependent.name);
                self.take_owners_off(&target, &d, std::slice::from_ref(&id.uid)).await?;
            }
        }
        self.remove_finalizer(&target, &object, ORPHAN).await?;
        Ok(None)
    }

    async fn take_owners_off(&self, target: &Target, object: &Object, uids: &[Box<str>]) -> Result<(), Error> {
        let mut owners = object.tree()["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.retain(|o| !uids.iter().any(|u| o["uid"] == **u));
        self.patch_metadata(target, object, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, target: &Target, object: &Object, name: &str) -> Result<(), Error> {
        finalizers::set(&*self.ctx.client, target, object, name, false).await
    }

    async fn patch_metadata(&self, target: &Target, object: &Object, mut metadata: api::Value) -> Result<(), Error> {
        metadata["resourceVersion"] = json!(object.revision().to_string());
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match self.ctx.client.patch(target, patch, &WriteOptions::default()).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

enum OwnerState {
    Solid,
    /// Being deleted in the foreground.
    Waiting,
}

impl OwnerState {
    fn of(owner: &Object) -> OwnerState {
        if waits_for_dependents(owner) { OwnerState::Waiting } else { OwnerState::Solid }
    }
}

#[cfg(test)]
mod tests;
