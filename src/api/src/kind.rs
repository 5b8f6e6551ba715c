//! Kinds are data: the registry of every resource the generic engine serves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::Strategy;
use crate::crd::Definition;

/// Group, version, kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// Group, version, resource (the plural).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    pub group: String,
    pub version: String,
    pub resource: String,
}

impl Gvr {
    pub fn new(group: &str, version: &str, resource: &str) -> Gvr {
        Gvr { group: group.into(), version: version.into(), resource: resource.into() }
    }
}

/// `v1`, `apps/v1`
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl fmt::Display for Gvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", api_version(&self.group, &self.version), self.resource)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// Subresources that the generic engine serves for a kind. Those with code of their own (log, exec, binding, …) are the
/// API server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subresources {
    pub status: bool,
    pub scale: bool,
}

/// Everything the engine knows about one resource. A built-in kind is made once at start, a CRD's at run time.
pub struct Kind {
    pub group: String,
    /// The storage version, in which [`Strategy`] works and controllers read.
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    /// The resource: `pods`.
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub scope: Scope,
    pub subresources: Subresources,
    /// The verbs of discovery, in upstream's order.
    pub verbs: Vec<String>,
    /// `(group, version)` pairs under which the resource is served, the preferred first. Other groups than the own one
    /// are old homes (`extensions/v1beta1`), served by conversion with a `Warning`.
    pub served: Vec<(String, String)>,
    /// The name of the storage version's schema: `io.k8s.api.core.v1.Pod`.
    pub schema: String,
    /// Whether a restart may lose the last seconds of writes (Leases, Events).
    pub late_flush: bool,
    pub strategy: Box<dyn Strategy>,
    /// Of a custom resource.
    pub definition: Option<Arc<Definition>>,
}

impl Kind {
    /// How the store names it: `pods`, `apps/deployments`. Independent of the version.
    pub fn store_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}/{}", self.group, self.plural) }
    }
    pub fn gvk(&self) -> Gvk {
        Gvk { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }
    pub fn gvr(&self) -> Gvr {
        Gvr::new(&self.group, &self.version, &self.plural)
    }
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({}, {})", self.api_version(), self.kind)
    }
}

/// The kinds that are served, by resource and by kind, under each served group and version.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_resource: HashMap<(String, String, String), Arc<Kind>>,
    by_kind: HashMap<(String, String, String), Arc<Kind>>,
}

impl Registry {
    pub fn add(&mut self, kind: Kind) -> Arc<Kind> {
        let kind = Arc::new(kind);
        self.add_shared(kind.clone());
        kind
    }
    /// A kind that another registry has too.
    pub fn add_shared(&mut self, kind: Arc<Kind>) {
        for (g, v) in &kind.served {
            self.by_resource.insert((g.clone(), v.clone(), kind.plural.clone()), kind.clone());
            self.by_kind.insert((g.clone(), v.clone(), kind.kind.clone()), kind.clone());
        }
        self.kinds.push(kind);
    }
    /// In the order in which they were added.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_resource.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.by_kind.get(&(group.to_owned(), version.to_owned(), kind.to_owned()))
    }
}
