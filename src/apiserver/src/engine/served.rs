//! What is served where: a kind under one of its groups and versions.

use std::collections::HashMap;
use std::sync::Arc;

use api::schema::{self, Type};
use api::{Kind, Registry, convert};

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
    /// Of the storage version.
    pub schema: Option<&'static Type>,
    /// Where the fields of this version are not the storage version's.
    pub own_schema: Option<&'static Type>,
    /// This is the storage version: objects go out as stored.
    pub as_stored: bool,
    /// Of a deprecated version.
    pub warning: Option<String>,
}

impl Served {
    fn new(kind: &Arc<Kind>, group: &str, version: &str) -> Served {
        let own = kind.schema_of(group, version);
        Served {
            group: group.into(),
            version: version.into(),
            resource: kind.store_resource().into(),
            schema: schema::find(&kind.schema),
            own_schema: if own == kind.schema { None } else { schema::find(&own) },
            as_stored: convert::is_storage(kind, group, version),
            warning: convert::warning(group, version, &kind.kind),
            kind: kind.clone(),
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
    pub registry: Registry,
}

impl Routes {
    pub fn new(registry: Registry) -> Routes {
        let mut groups: HashMap<String, HashMap<String, ByResource>> = HashMap::new();
        for kind in registry.kinds() {
            for (group, version) in &kind.served {
                let versions = groups.entry(group.clone()).or_default();
                let resources = versions.entry(version.clone()).or_default();
                resources.insert(kind.plural.clone(), Arc::new(Served::new(kind, group, version)));
            }
        }
        Routes { groups, registry }
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
    /// Groups and their versions, in the order of the registry; the preferred version first.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (group, version) in self.registry.kinds().iter().flat_map(|k| &k.served) {
            match groups.iter_mut().find(|(g, _)| g == group) {
                Some((_, versions)) if versions.contains(version) => {}
                Some((_, versions)) => versions.push(version.clone()),
                None => groups.push((group.clone(), vec![version.clone()])),
            }
        }
        groups
    }
}
