//! How a built-in kind is written down: `namespaced(group, version, kind, plural, strategy).short(&[…]).status()`.

use crate::{Kind, Scope, Strategy, Subresources};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn define(scope: Scope, group: &str, version: &str, kind: &str, plural: &str, strategy: impl Strategy) -> Kind {
    Kind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        subresources: Subresources::default(),
        verbs: VERBS.map(String::from).to_vec(),
        served: vec![(group.into(), version.into())],
        schema: schema_name(group, version, kind),
        late_flush: false,
        strategy: Box::new(strategy),
        definition: None,
    }
}

/// `io.k8s.api.rbac.v1.Role` of `rbac.authorization.k8s.io`, `v1`, `Role`.
fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "core",
        g => g.split_once('.').map_or(g, |(head, _)| head),
    };
    format!("io.k8s.api.{package}.{version}.{kind}")
}

pub(super) fn namespaced(group: &str, version: &str, kind: &str, plural: &str, strategy: impl Strategy) -> Kind {
    define(Scope::Namespaced, group, version, kind, plural, strategy)
}

pub(super) fn cluster(group: &str, version: &str, kind: &str, plural: &str, strategy: impl Strategy) -> Kind {
    define(Scope::Cluster, group, version, kind, plural, strategy)
}

impl Kind {
    /// The schema in which the kind is served under a group and version: that version's own where upstream still has it,
    /// else the storage version's.
    pub fn schema_of(&self, group: &str, version: &str) -> String {
        let own = match group {
            "events.k8s.io" => schema_name(group, "v1", &self.kind),
            _ => schema_name(group, version, &self.kind),
        };
        if self.definition.is_none() && crate::schema::find(&own).is_some() { own } else { self.schema.clone() }
    }
    /// Whether upstream's definitions have this version no more, so that it is made from another's.
    pub(crate) fn is_derived(&self, group: &str, version: &str) -> bool {
        self.definition.is_none()
            && !crate::convert::is_storage(self, group, version)
            && self.schema_of(group, version) != schema_name(group, version, &self.kind)
    }

    pub(super) fn short(mut self, name: &str) -> Kind {
        self.short_names.push(name.into());
        self
    }
    pub(super) fn category(mut self, name: &str) -> Kind {
        self.categories.push(name.into());
        self
    }
    /// Shown by `get all`.
    pub(super) fn all(self) -> Kind {
        self.category("all")
    }
    pub(super) fn status(mut self) -> Kind {
        self.subresources.status = true;
        self
    }
    pub(super) fn scale(mut self) -> Kind {
        self.subresources.scale = true;
        self
    }
    /// Also served as these.
    pub(super) fn also(mut self, versions: &[(&str, &str)]) -> Kind {
        self.served.extend(versions.iter().map(|(g, v)| (g.to_string(), v.to_string())));
        self
    }
    /// Also served as these versions of its group.
    pub(super) fn old(mut self, versions: &[&str]) -> Kind {
        self.served.extend(versions.iter().map(|v| (self.group.clone(), (*v).to_owned())));
        self
    }
    /// Only what is listed is served.
    pub(super) fn verbs(mut self, verbs: &[&str]) -> Kind {
        self.verbs = verbs.iter().map(|v| (*v).to_owned()).collect();
        self
    }
    pub(super) fn without_verb(mut self, verb: &str) -> Kind {
        self.verbs.retain(|v| v != verb);
        self
    }
    pub(super) fn late_flush(mut self) -> Kind {
        self.late_flush = true;
        self
    }
}
