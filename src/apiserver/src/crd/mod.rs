//! From CustomResourceDefinitions to kinds that are served: upstream's naming, establishing and finalizing controllers.
//!
//! ```text
//!   definitions in the store ──► names accepted? ──► registry of the engine ──► status: NamesAccepted, Established
//!                           └──► being deleted? ──► its objects go ──► the finalizer goes
//! ```
//!
//! A kind is served before its definition says so: who waits for `Established` can go on at once.

mod cleanup;
mod convert;
mod status;

pub(crate) use status::set as set_condition;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::crd::names::Taken;
use api::crd::{Definition, GROUP, RESOURCE};
use api::{Kind, Object, Registry, Status, Value};
use serde_json::json;
use store::EventKind;
use tokio_util::sync::CancellationToken;

use crate::{Attributes, Engine, User, Verb};

/// What a definition says, as far as the others need to know.
struct Known {
    revision: u64,
    /// `uid` and `generation`: while these are the same so is the definition.
    identity: (Box<str>, i64),
    group: String,
    wanted: Value,
    /// `status.acceptedNames`
    accepted: Value,
    established: bool,
    deleting: bool,
    /// Absent until its names are accepted.
    definition: Option<Arc<Definition>>,
}

/// Follows the definitions and keeps the engine's registry.
pub(crate) struct Controller {
    engine: Arc<Engine>,
    built_in: Vec<Arc<Kind>>,
    known: BTreeMap<String, Known>,
    /// Uids of those whose objects are being deleted.
    cleaning: BTreeSet<Box<str>>,
    from: u64,
}

impl Controller {
    /// Serves at once what the store has.
    pub fn new(engine: &Arc<Engine>) -> Controller {
        let built_in = engine.routes().registry.kinds().to_vec();
        let snapshot = engine.store().snapshot(RESOURCE);
        let mut this = Controller {
            engine: engine.clone(),
            built_in,
            known: BTreeMap::new(),
            cleaning: BTreeSet::new(),
            from: snapshot.revision(),
        };
        let all: Vec<Arc<Object>> = snapshot.range(None, None).cloned().collect();
        all.iter().for_each(|o| this.note(o));
        if !all.is_empty() {
            this.serve();
        }
        this
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let names: BTreeSet<String> = self.known.keys().cloned().collect();
        self.settle(names, &stop).await;
        let mut watcher = match self.engine.store().watch(RESOURCE, self.from) {
            Ok(watcher) => watcher,
            Err(error) => return tracing::error!(%error, "custom resource definitions cannot be followed"),
        };
        while let Some(Ok(events)) = stop.run_until_cancelled(watcher.next()).await {
            let mut touched = BTreeSet::new();
            for event in events {
                let name = event.object.name().to_owned();
                match event.kind {
                    EventKind::Put => self.note(&event.object),
                    EventKind::Delete => {
                        if let Some(gone) = self.known.remove(&name) {
                            self.cleaning.remove(&gone.identity.0);
                            // who wanted its names may have them now
                            let others = self.known.iter().filter(|(_, k)| k.group == gone.group);
                            touched.extend(others.map(|(n, _)| n.clone()));
                        }
                    }
                }
                touched.insert(name);
            }
            self.settle(touched, &stop).await;
        }
    }

    fn note(&mut self, object: &Object) {
        let tree = object.tree();
        let before = self.known.remove(object.name());
        let identity: (Box<str>, i64) = (object.uid().into(), object.meta().generation);
        let conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
        let established = conditions.filter(|c| c["type"] == "Established").any(|c| c["status"] == "True");
        let deleting = object.meta().is_deleting();
        // serving while it goes, the same to whoever watches
        let definition = before
            .and_then(|b| b.definition)
            .filter(|d| *d.uid == *identity.0 && (d.generation == identity.1 || deleting));
        let definition =
            definition.or_else(|| established.then(|| Arc::new(Definition::parse(&tree, object.revision()))));
        if let Some(d) = &definition {
            d.terminating.store(deleting, Ordering::Release);
        }
        let known = Known {
            revision: object.revision(),
            identity,
            group: tree["spec"]["group"].as_str().unwrap_or_default().to_owned(),
            wanted: tree["spec"]["names"].clone(),
            accepted: tree["status"]["acceptedNames"].clone(),
            established,
            deleting,
            definition,
        };
        self.known.insert(object.name().to_owned(), known);
    }

    /// Names that are not a definition's own to take.
    fn taken(&self, name: &str, group: &str) -> Taken {
        let mut taken = Taken::default();
        for (_, k) in self.known.iter().filter(|(n, k)| n.as_str() != name && k.group == group) {
            taken.add(&k.accepted);
        }
        for kind in self.built_in.iter().filter(|k| k.group == group) {
            taken.add(&json!({
                "plural": kind.plural, "singular": kind.singular, "shortNames": kind.short_names,
                "kind": kind.kind, "listKind": kind.list_kind,
            }));
        }
        taken
    }

    /// Serves what is new, then says so.
    async fn settle(&mut self, names: BTreeSet<String>, stop: &CancellationToken) {
        let mut reports = Vec::new();
        for name in names {
            let Some(known) = self.known.get(&name) else { continue };
            let (accepted, conflict) = self.taken(&name, &known.group).accept(&known.wanted, &known.accepted);
            let Some(known) = self.known.get_mut(&name) else { continue };
            known.accepted = accepted.clone();
            if conflict.is_none() && known.definition.is_none() {
                let Some(object) = self.engine.store().get(&store::Key::new(RESOURCE, "", &name)) else { continue };
                known.definition = Some(Arc::new(Definition::parse(&object.tree(), known.revision)));
            }
            if known.deleting && self.cleaning.insert(known.identity.0.clone()) {
                let tree_at = known.revision;
                let definition = match &known.definition {
                    Some(d) => d.clone(),
                    None => match self.engine.store().get(&store::Key::new(RESOURCE, "", &name)) {
                        Some(object) => Arc::new(Definition::parse(&object.tree(), tree_at)),
                        None => continue,
                    },
                };
                tokio::spawn(cleanup::run(self.engine.clone(), definition, stop.clone()));
            }
            reports.push(status::Report { name, accepted, conflict, established: known.established });
        }
        self.serve();
        for report in reports {
            if let Err(error) = report.write(&self.engine).await
                && !error.is_not_found()
            {
                tracing::warn!(crd = report.name, %error, "the status of a custom resource definition was not written");
            }
        }
    }

    fn serve(&self) {
        let mut registry = Registry::default();
        for kind in &self.built_in {
            registry.add_shared(kind.clone());
        }
        for definition in self.known.values().filter_map(|k| k.definition.as_ref()) {
            if let Some(kind) = definition.kind() {
                registry.add(kind);
            }
        }
        self.engine.set_registry(registry);
    }
}

/// This controller as a caller of the engine.
fn attributes(group: &str, version: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        user: User::system("system:apiserver"),
        verb: Verb::Update,
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        subresource: String::new(),
        namespace: String::new(),
        name: name.into(),
        path: String::new(),
    }
}

/// Changes a definition in place.
async fn modify(
    engine: &Engine,
    name: &str,
    change: impl Fn(&mut Value) -> Result<(), Status> + Send + Sync,
) -> Result<(), Status> {
    let a = attributes(GROUP, "v1", "customresourcedefinitions", name);
    engine.modify(&a, (GROUP, "v1", "customresourcedefinitions"), name, false, change).await.map(drop)
}
