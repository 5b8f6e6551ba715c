//! What is served where: a kind under one of its groups and versions.

use std::collections::HashMap;
use std::sync::Arc;

use api::crd::Definition;
use api::schema::{self, Schema, Type};
use api::{Kind, Registry, convert};
use tokio_util::sync::CancellationToken;

/// `v1`, `apps/v1`
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A kind as seen under one group and version.
pub struct Served {
    pub kind: Arc<Kind>,
    pub group: String,
    pub version: String,
    /// [`Kind::store_resource`]
    pub resource: Arc<str>,
    /// Of the storage version; absent for custom resources: [`Served::schema`].
    pub built_in: Option<&'static Type>,
    /// Where the fields of this version are not the storage version's.
    pub own_schema: Option<&'static Type>,
    /// What the engine gives goes out as it is: this is the storage version, or the kind is a custom resource, whose engine
    /// works in the version of the request.
    pub as_stored: bool,
    /// Of a deprecated version.
    pub warning: Option<String>,
    /// Cancelled when the kind is no longer served as it was.
    pub ended: CancellationToken,
}

impl Served {
    pub(crate) fn new(kind: &Arc<Kind>, group: &str, version: &str) -> Served {
        if let Some(served) = Served::custom(kind, group, version) {
            return served;
        }
        let own = kind.schema_of(group, version);
        Served {
            group: group.into(),
            version: version.into(),
            resource: kind.store_resource().into(),
            built_in: schema::find(&kind.schema),
            own_schema: if own == kind.schema { None } else { schema::find(&own) },
            as_stored: convert::is_storage(kind, group, version),
            warning: convert::warning(group, version, &kind.kind),
            ended: CancellationToken::new(),
            kind: kind.clone(),
        }
    }
    /// Each version of a custom resource is a kind of its own that shares its objects with the others.
    fn custom(kind: &Arc<Kind>, group: &str, version: &str) -> Option<Served> {
        let definition = kind.definition.as_ref()?;
        let at = definition.version(version)?;
        Some(Served {
            group: group.into(),
            version: version.into(),
            resource: kind.store_resource().into(),
            built_in: None,
            own_schema: None,
            as_stored: true,
            warning: definition.versions[at].deprecated.as_deref().map(str::to_owned),
            ended: CancellationToken::new(),
            kind: if kind.version == version { kind.clone() } else { Arc::new(definition.kind_at(at)) },
        })
    }
    /// A custom resource in the version in which it is stored, served or not.
    pub(crate) fn stored(definition: &Arc<Definition>) -> Option<Served> {
        let kind = Arc::new(definition.kind_at(definition.storage));
        Served::custom(&kind, &definition.group, definition.storage_version())
    }
    /// That of the trees that the engine works on.
    pub fn schema(&self) -> Option<Schema<'_>> {
        match &self.kind.definition {
            Some(d) => d.version(&self.version).map(|at| Schema::Custom(&d.versions[at].schema)),
            None => self.built_in.map(Schema::Type),
        }
    }
    /// Whether this still is what it was made for.
    fn is_of(&self, kind: &Arc<Kind>) -> bool {
        match (&self.kind.definition, &kind.definition) {
            (Some(mine), Some(its)) => Arc::ptr_eq(mine, its),
            (None, None) => Arc::ptr_eq(&self.kind, kind),
            _ => false,
        }
    }
    /// `v1`, `apps/v1`
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
    pub fn namespaced(&self) -> bool {
        self.kind.namespaced()
    }
    /// Where a request that says nothing orphans: the defaults of old versions, Jobs and replication controllers.
    pub fn orphans_by_default(&self) -> bool {
        match (self.group.as_str(), self.kind.plural.as_str()) {
            ("", "replicationcontrollers") | ("batch", "jobs") => true,
            ("batch", "cronjobs") => self.version != "v1",
            ("extensions" | "apps", _) => self.version != "v1",
            _ => false,
        }
    }
}

type ByResource = HashMap<String, Arc<Served>>;

/// The routes to all kinds. Replaced as a whole when a kind comes or goes.
#[derive(Default)]
pub struct Routes {
    groups: HashMap<String, HashMap<String, ByResource>>,
    pub registry: Arc<Registry>,
    /// Counts the replacements.
    pub generation: u64,
}

impl Routes {
    pub fn new(registry: Registry) -> Routes {
        Routes::after(registry, &Routes::default())
    }
    /// The routes that take the place of `before`: what has not changed is kept, so that whoever uses it goes on.
    pub fn after(registry: Registry, before: &Routes) -> Routes {
        let mut groups: HashMap<String, HashMap<String, ByResource>> = HashMap::new();
        for kind in registry.kinds() {
            for (group, version) in &kind.served {
                let versions = groups.entry(group.clone()).or_default();
                let resources = versions.entry(version.clone()).or_default();
                let kept = before.find(group, version, &kind.plural).filter(|s| s.is_of(kind)).cloned();
                let served = kept.unwrap_or_else(|| Arc::new(Served::new(kind, group, version)));
                resources.insert(kind.plural.clone(), served);
            }
        }
        Routes { groups, registry: Arc::new(registry), generation: before.generation + 1 }
    }
    fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.groups.values().flat_map(|g| g.values()).flat_map(|r| r.values())
    }
    /// Ends what these routes have and `next` has not.
    pub(super) fn end_for(&self, next: &Routes) {
        for served in self.all() {
            let now = next.find(&served.group, &served.version, &served.kind.plural);
            if now.is_none_or(|now| !Arc::ptr_eq(now, served)) {
                served.ended.cancel();
            }
        }
    }
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups.get(group).is_some_and(|g| g.contains_key(version))
    }
    /// Everything under one group and version, by plural.
    pub fn under(&self, group: &str, version: &str) -> Vec<&Arc<Served>> {
        let mut all: Vec<_> =
            self.groups.get(group).and_then(|g| g.get(version)).into_iter().flat_map(|r| r.values()).collect();
        all.sort_by(|a, b| a.kind.plural.cmp(&b.kind.plural));
        all
    }
    /// Groups and their versions, in the order of the registry; the preferred version first: of custom resources the best.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (group, version) in self.registry.kinds().iter().flat_map(|k| &k.served) {
            match groups.iter_mut().find(|(g, _)| g == group) {
                Some((_, versions)) if versions.contains(version) => {}
                Some((_, versions)) => versions.push(version.clone()),
                None => groups.push((group.clone(), vec![version.clone()])),
            }
        }
        // a resource that has moved is found in its new home first
        groups.sort_by_key(|(group, _)| group == "extensions");
        for kind in self.registry.kinds().iter().filter(|k| k.definition.is_some()) {
            if let Some((_, versions)) = groups.iter_mut().find(|(g, _)| *g == kind.group) {
                versions.sort_by_cached_key(|v| api::crd::definition::priority(v));
            }
        }
        groups
    }
}
