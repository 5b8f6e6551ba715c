//! The resources of one group and version: `metav1.APIResource` and `apidiscovery.k8s.io/v2`.

use api::Value;
use api::kinds::SUBRESOURCES;
use base64::Engine as _;
use serde_json::{Map, json};
use sha2::{Digest as _, Sha256};

use crate::Engine;

/// One line of discovery; a subresource's name is `pods/log`.
pub(super) struct Resource {
    name: String,
    singular: String,
    namespaced: bool,
    kind: String,
    /// Group and version of the kind; `None`: those of the list.
    home: Option<(String, String)>,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
    /// `storageVersionHash`: by it a client sees that objects are stored in another version than before.
    hash: String,
    /// Group and version of the list.
    of: (String, String),
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

/// `discovery.StorageVersionHash`
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

/// Sorted by name; a resource stands before its subresources.
pub(super) fn resources(engine: &Engine, group: &str, version: &str) -> Vec<Resource> {
    let of = || (group.to_owned(), version.to_owned());
    let sub = |name: String, namespaced, kind: &str, home, verbs| Resource {
        name,
        singular: String::new(),
        namespaced,
        kind: kind.to_owned(),
        home,
        verbs,
        short_names: Vec::new(),
        categories: Vec::new(),
        hash: String::new(),
        of: of(),
    };
    let edit = || strings(&["get", "patch", "update"]);
    let mut all = Vec::new();
    let routes = engine.routes();
    for served in routes.under(group, version) {
        let kind = &served.kind;
        // only at home, so that `all` and short names mean one thing
        let home = kind.group == group || group == "events.k8s.io";
        all.push(Resource {
            name: kind.plural.clone(),
            singular: kind.singular.clone(),
            namespaced: kind.namespaced(),
            kind: kind.kind.clone(),
            home: None,
            verbs: kind.verbs.clone(),
            short_names: if home { kind.short_names.clone() } else { Vec::new() },
            categories: if home { kind.categories.clone() } else { Vec::new() },
            hash: {
                let stored = kind.definition.as_ref().map_or(&*kind.version, |d| d.storage_version());
                storage_hash(&kind.group, stored, &kind.kind)
            },
            of: of(),
        });
        if kind.subresources.status {
            all.push(sub(format!("{}/status", kind.plural), kind.namespaced(), &kind.kind, None, edit()));
        }
        if kind.subresources.scale {
            let scale = Some(("autoscaling".to_owned(), "v1".to_owned())).filter(|_| served.as_stored);
            all.push(sub(format!("{}/scale", kind.plural), kind.namespaced(), "Scale", scale, edit()));
        }
    }
    for s in SUBRESOURCES.iter().filter(|s| s.group == group && version == "v1") {
        let home = s.home.map(|(g, v)| (g.to_owned(), v.to_owned()));
        let mut one = sub(s.resource.to_owned(), s.namespaced, s.kind, home, strings(s.verbs));
        if !s.resource.contains('/') {
            one.singular = s.kind.to_lowercase();
        }
        all.push(one);
    }
    // `bindings` stands among the subresources
    let virtuals = engine.specials().virtuals().filter(|v| !v.group.is_empty());
    for v in virtuals.filter(|v| v.group == group && v.version == version) {
        let mut one = sub(v.plural.to_owned(), v.namespaced, v.kind, None, strings(&["create"]));
        one.singular = v.kind.to_lowercase();
        all.push(one);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Resource {
    /// A line of the APIResourceList that another API server answered for `group/version`.
    pub fn of(line: &Value, group: &str, version: &str) -> Resource {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str| -> Vec<String> {
            line[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        Resource {
            name: text("name"),
            singular: text("singularName"),
            namespaced: line["namespaced"] == true,
            kind: text("kind"),
            home: line["version"].as_str().filter(|v| !v.is_empty()).map(|v| (text("group"), v.to_owned())),
            verbs: list("verbs"),
            short_names: list("shortNames"),
            categories: list("categories"),
            hash: text("storageVersionHash"),
            of: (group.to_owned(), version.to_owned()),
        }
    }

    pub fn classic(&self) -> Value {
        let mut tree = json!({
            "name": self.name, "singularName": self.singular, "namespaced": self.namespaced, "kind": self.kind,
            "verbs": self.verbs,
        });
        if let Some((group, version)) = &self.home {
            tree["group"] = json!(group);
            tree["version"] = json!(version);
        }
        if !self.hash.is_empty() {
            tree["storageVersionHash"] = json!(self.hash);
        }
        self.names(&mut tree);
        tree
    }

    fn names(&self, tree: &mut Value) {
        for (key, names) in [("shortNames", &self.short_names), ("categories", &self.categories)] {
            if !names.is_empty() {
                tree[key] = json!(names);
            }
        }
    }

    fn response_kind(&self) -> Value {
        let (group, version) = self.home.as_ref().unwrap_or(&self.of);
        json!({"group": group, "version": version, "kind": self.kind})
    }
}

/// The same with subresources inside their resources.
pub(super) fn aggregated(all: &[Resource]) -> Vec<Value> {
    let scope = |r: &Resource| if r.namespaced { "Namespaced" } else { "Cluster" };
    all.iter()
        .filter(|r| !r.name.contains('/'))
        .map(|r| {
            let prefix = format!("{}/", r.name);
            let inner: Vec<Value> = all
                .iter()
                .filter_map(|s| Some((s, s.name.strip_prefix(&prefix)?)))
                .map(|(s, name)| json!({"subresource": name, "responseKind": s.response_kind(), "verbs": s.verbs}))
                .collect();
            let mut tree = Value::Object(Map::new());
            tree["resource"] = json!(r.name);
            tree["responseKind"] = r.response_kind();
            tree["scope"] = json!(scope(r));
            tree["singularResource"] = json!(r.singular);
            tree["verbs"] = json!(r.verbs);
            r.names(&mut tree);
            if !inner.is_empty() {
                tree["subresources"] = json!(inner);
            }
            tree
        })
        .collect()
}
