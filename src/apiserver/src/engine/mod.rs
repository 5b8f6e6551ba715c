//! The one REST engine that serves every kind: upstream's `registry.Store` with the semantics of its handlers.
//!
//! It works on trees in the storage version. HTTP ([`crate::http`]) and in-process clients ([`crate::Server::client`]) decode,
//! convert and authorize before they call; what they get back is the shared object.
//!
//! ```text
//!   create │ update │ patch │ delete ──► mutate → prepare → validate → admit ──► store.commit ──► Arc<Object>
//!   get │ list │ watch ─────────────────────────────────────────────► store's index and log, no waiting
//! ```

mod admit;
mod apply;
mod create;
mod custom;
mod delete;
mod finalize;
mod list;
pub(crate) mod meta;
mod patch;
mod post;
mod scale;
mod served;
mod subresource;
mod update;
mod watch;

use std::sync::{Arc, OnceLock};

use api::{Draft, Kind, Object, Registry, Status, Value};
use store::{Change, Key, Precondition, Store};
use tokio::sync::watch as channel;

use crate::admission::Plugin;
use crate::special::Specials;
use crate::{Attributes, Authorizer};

pub use custom::Converter;
pub use delete::{Deleted, Options as DeleteOptions, Propagation, UidPrecondition};
pub use list::{ListFailure, ListRequest, Listing, VersionMatch};
pub use patch::PatchBody;
pub(crate) use scale::scale_view;
pub use scale::{SCALE, scale_of};
pub(crate) use served::api_version;
pub use served::{Routes, Served};
pub use subresource::Part;
pub use update::Updated;
pub use watch::{Change as WatchChange, Changes, Initial, WatchRequest};

/// One request as the engine's verbs see it.
pub struct Call<'a> {
    pub attributes: &'a Attributes,
    pub served: &'a Arc<Served>,
    pub dry_run: bool,
    /// `fieldManager=`
    pub manager: String,
    /// The object brings its `managedFields`, as an apply made them.
    applied: bool,
    /// No admission: what skiff itself must do whatever a webhook says.
    unguarded: bool,
    /// Of a delete, for admission.
    deletion: Option<DeleteOptions>,
    /// `Warning` headers for the client.
    pub warnings: Vec<String>,
    /// There is somebody to read them.
    heard: bool,
}

impl<'a> Call<'a> {
    pub fn new(attributes: &'a Attributes, served: &'a Arc<Served>, dry_run: bool) -> Call<'a> {
        Call {
            attributes,
            served,
            dry_run,
            manager: String::new(),
            applied: false,
            unguarded: false,
            deletion: None,
            warnings: Vec::new(),
            heard: false,
        }
    }
    pub fn by(self, manager: impl Into<String>) -> Call<'a> {
        Call { manager: manager.into(), ..self }
    }
    /// Without admission.
    pub(crate) fn unguarded(self) -> Call<'a> {
        Call { unguarded: true, ..self }
    }
    /// Of a client that is told of warnings, beginning with these.
    pub fn warned(self, warnings: Vec<String>) -> Call<'a> {
        Call { warnings, heard: true, ..self }
    }
    /// Says what is valid in an object and yet unwise, if it is heard.
    fn warn(&mut self, tree: &Value, old: Option<&Value>) {
        if self.heard {
            self.warnings.extend(api::warnings(self.kind(), tree, old));
        }
    }
    /// Makes a tree what Go would make of it: what is empty is left out, what is not said is defaulted.
    fn complete(&self, tree: &mut Value) {
        if let Some(schema) = self.served.schema() {
            schema.drop_empty(tree);
        }
        self.kind().strategy.default(tree);
    }
    fn kind(&self) -> &'a Arc<Kind> {
        &self.served.kind
    }
    /// Where the object is kept. For authorization a namespace is in itself.
    fn namespace(&self) -> &'a str {
        if self.served.namespaced() { &self.attributes.namespace } else { "" }
    }
    fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.kind().group, &self.kind().plural, name)
    }
}

/// Everything below authorization.
pub struct Engine {
    store: Arc<Store>,
    routes: channel::Sender<Arc<Routes>>,
    /// Of the routes, for who must learn of new kinds.
    kinds: channel::Sender<Arc<Registry>>,
    converter: OnceLock<Arc<dyn Converter>>,
    plugins: Vec<Arc<dyn Plugin>>,
    authorizer: Arc<dyn Authorizer>,
    specials: Specials,
}

impl Engine {
    pub(crate) fn new(
        store: Arc<Store>,
        routes: Routes,
        plugins: Vec<Arc<dyn Plugin>>,
        authorizer: Arc<dyn Authorizer>,
        specials: Specials,
    ) -> Engine {
        let kinds = channel::Sender::new(routes.registry.clone());
        let routes = channel::Sender::new(Arc::new(routes));
        Engine { store, routes, kinds, converter: OnceLock::new(), plugins, authorizer, specials }
    }

    pub fn routes(&self) -> Arc<Routes> {
        self.routes.borrow().clone()
    }
    /// Serves the kinds of another registry from now on. Watches of kinds that are gone or no longer what they were end.
    pub fn set_registry(&self, registry: Registry) {
        let mut before = None;
        self.routes.send_modify(|routes| {
            let next = Arc::new(Routes::after(registry, routes));
            before = Some(std::mem::replace(routes, next));
        });
        let now = self.routes();
        self.kinds.send_replace(now.registry.clone());
        if let Some(before) = before {
            before.end_for(&now);
        }
    }
    /// The kinds that are served, now and as they change.
    pub fn kinds(&self) -> channel::Receiver<Arc<Registry>> {
        self.kinds.subscribe()
    }
    /// By whom custom resources change their version; to be called once.
    pub fn set_converter(&self, converter: Arc<dyn Converter>) {
        let _ = self.converter.set(converter);
    }
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }
    pub(crate) fn plugins(&self) -> &[Arc<dyn Plugin>] {
        &self.plugins
    }
    pub fn specials(&self) -> &Specials {
        &self.specials
    }
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.routes.borrow().find(group, version, plural).cloned()
    }
    /// The kind that is served under a group, a version and a plural.
    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.routes.borrow().find(group, version, plural).map(|s| s.kind.clone())
    }

    /// Errors with `NotFound`.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        self.store
            .get(&Key::new(&kind.store_resource(), namespace, name))
            .ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))
    }
    /// GET.
    pub async fn get_one(&self, call: &Call<'_>, name: &str) -> Result<Arc<Object>, Status> {
        self.present(call.served, self.read(call, name)?).await
    }
    /// As it is stored.
    fn read(&self, call: &Call<'_>, name: &str) -> Result<Arc<Object>, Status> {
        self.find(call, name).ok_or_else(|| call.not_found(name))
    }
    fn find(&self, call: &Call<'_>, name: &str) -> Option<Arc<Object>> {
        self.store.get(&key(call.served, call.namespace(), name))
    }
    async fn put(&self, key: Key, on: Precondition, draft: Draft) -> Result<Arc<Object>, store::Error> {
        Ok(self.store.commit(key, Some(on), Change::Put(draft)).await?.object)
    }
}

fn key(served: &Served, namespace: &str, name: &str) -> Key {
    Key { resource: served.resource.clone(), namespace: namespace.into(), name: name.into() }
}

/// What a write's failure in the store is to the client.
fn failed(kind: &Kind, name: &str, error: store::Error) -> Status {
    let (group, plural) = (&kind.group, &kind.plural);
    match error {
        store::Error::Exists { .. } => Status::already_exists(group, plural, name),
        store::Error::NotFound => Status::not_found(group, plural, name),
        store::Error::Conflict { .. } => Status::modified(group, plural, name),
        other => Status::internal(other),
    }
}
