//! A CustomResourceDefinition as the engine uses it: its names, versions and schemas, made once when it changes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::custom::Custom;
use super::jsonpath::Path;
use super::structural::Structural;
use crate::{Kind, Scope, Subresources};

/// A printer column.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: Box<str>,
    pub kind: Box<str>,
    pub format: Box<str>,
    pub priority: i32,
    pub description: Box<str>,
    /// `None`: a path that is not understood; its cells stay empty.
    pub path: Option<Path>,
}

/// `subresources.scale`
#[derive(Debug, Clone)]
pub struct ScalePaths {
    pub replicas: Path,
    pub status_replicas: Path,
    pub selector: Option<Path>,
}

/// One entry of `spec.versions`.
#[derive(Debug)]
pub struct Version {
    pub name: Box<str>,
    pub served: bool,
    pub deprecated: Option<Box<str>>,
    pub schema: Structural,
    pub status: bool,
    pub scale: Option<ScalePaths>,
    pub columns: Box<[Column]>,
    pub selectable: Box<[(Box<str>, Path)]>,
}

/// How objects change versions.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// `spec.conversion.webhook`
    Webhook(Box<Value>),
}

#[derive(Debug)]
pub struct Definition {
    /// Its own name: `crontabs.stable.example.com`.
    pub name: Box<str>,
    pub uid: Box<str>,
    /// `metadata.generation`
    pub generation: i64,
    /// That of the CRD object: what was written before it may not fit the schemas.
    pub revision: u64,
    pub group: Box<str>,
    pub plural: Box<str>,
    pub singular: Box<str>,
    pub kind: Box<str>,
    pub list_kind: Box<str>,
    pub short_names: Box<[Box<str>]>,
    pub categories: Box<[Box<str>]>,
    pub scope: Scope,
    /// The version of highest priority first.
    pub versions: Box<[Version]>,
    /// The place of the one in which objects are stored.
    pub storage: usize,
    pub conversion: Conversion,
    /// All versions have one schema: an object fits them all once it fits one.
    pub uniform: bool,
    /// It is being deleted: nothing new is created.
    pub terminating: AtomicBool,
}

fn text(v: &Value, key: &str) -> Box<str> {
    v[key].as_str().unwrap_or_default().into()
}

fn texts(v: &Value, key: &str) -> Box<[Box<str>]> {
    v[key].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(Into::into)).collect()
}

impl Version {
    fn parse(v: &Value, definition: &Value, preserve_all: bool) -> Version {
        let mut schema = match v.pointer("/schema/openAPIV3Schema") {
            Some(schema @ Value::Object(_)) => Structural::parse(schema),
            _ => Structural::anything(),
        };
        if preserve_all {
            schema.preserve_all();
        }
        let path = |owner: &Value, key: &str| Path::parse(owner[key].as_str()?);
        let scale = v.pointer("/subresources/scale").filter(|s| s.is_object()).and_then(|s| {
            Some(ScalePaths {
                replicas: path(s, "specReplicasPath")?,
                status_replicas: path(s, "statusReplicasPath")?,
                selector: path(s, "labelSelectorPath"),
            })
        });
        let columns = v["additionalPrinterColumns"].as_array().into_iter().flatten();
        let columns = columns.map(|c| Column {
            name: text(c, "name"),
            kind: text(c, "type"),
            format: text(c, "format"),
            priority: c["priority"].as_i64().unwrap_or(0) as i32,
            description: text(c, "description"),
            path: path(c, "jsonPath"),
        });
        let selectable = v["selectableFields"].as_array().into_iter().flatten();
        let selectable = selectable.filter_map(|s| {
            let text = s["jsonPath"].as_str()?;
            Some((text.strip_prefix('.').unwrap_or(text).into(), Path::parse(text)?))
        });
        let deprecated = (v["deprecated"] == true).then(|| match v["deprecationWarning"].as_str() {
            Some(text) => text.into(),
            None => {
                let (group, kind) = (&definition["spec"]["group"], &definition["spec"]["names"]["kind"]);
                let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
                format!("{}/{} {} is deprecated", word(group), word(&v["name"]), word(kind)).into()
            }
        });
        Version {
            name: text(v, "name"),
            served: v["served"] == true,
            deprecated,
            schema,
            status: v.pointer("/subresources/status").is_some_and(Value::is_object),
            scale,
            columns: columns.collect(),
            selectable: selectable.collect(),
        }
    }
}

/// Upstream's `version.CompareKubeAwareVersionStrings`: the key by which versions are ordered, the best first.
pub fn priority(version: &str) -> (u8, std::cmp::Reverse<u64>, std::cmp::Reverse<u64>, String) {
    use std::cmp::Reverse;
    let parse = || -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..end].parse().ok()?;
        match &rest[end..] {
            "" => Some((0, major, 0)),
            s if s.starts_with("beta") => Some((1, major, s[4..].parse().ok()?)),
            s if s.starts_with("alpha") => Some((2, major, s[5..].parse().ok()?)),
            _ => None,
        }
    };
    match parse() {
        Some((stability, major, minor)) => (stability, Reverse(major), Reverse(minor), String::new()),
        None => (3, Reverse(0), Reverse(0), version.to_owned()),
    }
}

impl Definition {
    /// From the tree of a valid CustomResourceDefinition in `v1`.
    pub fn parse(tree: &Value, revision: u64) -> Definition {
        let (spec, meta) = (&tree["spec"], &tree["metadata"]);
        let names = &spec["names"];
        let preserve_all = spec["preserveUnknownFields"] == true;
        let mut list: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
        list.sort_by_cached_key(|v| priority(v["name"].as_str().unwrap_or_default()));
        let storage = list.iter().position(|v| v["storage"] == true).unwrap_or(0);
        let versions: Box<[Version]> = list.into_iter().map(|v| Version::parse(v, tree, preserve_all)).collect();
        let conversion = match spec["conversion"]["strategy"].as_str() {
            Some("Webhook") => Conversion::Webhook(Box::new(spec["conversion"]["webhook"].clone())),
            _ => Conversion::None,
        };
        Definition {
            name: text(meta, "name"),
            uid: text(meta, "uid"),
            generation: meta["generation"].as_i64().unwrap_or(0),
            revision,
            group: text(spec, "group"),
            plural: text(names, "plural"),
            singular: text(names, "singular"),
            kind: text(names, "kind"),
            list_kind: text(names, "listKind"),
            short_names: texts(names, "shortNames"),
            categories: texts(names, "categories"),
            scope: if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
            uniform: versions.iter().all(|v| v.schema == versions[0].schema),
            versions,
            storage,
            conversion,
            terminating: meta.get("deletionTimestamp").is_some_and(|t| !t.is_null()).into(),
        }
    }

    /// The place of a version.
    pub fn version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| &*v.name == name)
    }
    /// The name of the version in which objects are stored.
    pub fn storage_version(&self) -> &str {
        self.versions.get(self.storage).map_or("", |v| &*v.name)
    }
    /// The version by which it is known inside: the stored one if it is served, else the best that is.
    fn own(&self) -> Option<usize> {
        let stored = self.versions.get(self.storage).filter(|v| v.served).map(|_| self.storage);
        stored.or_else(|| self.versions.iter().position(|v| v.served))
    }

    /// The entry of the registry; `None` where no version is served.
    pub fn kind(self: &Arc<Definition>) -> Option<Kind> {
        Some(self.kind_at(self.own()?))
    }

    /// The kind as the version at a place sees it. Its strategy works on trees of that version.
    pub fn kind_at(self: &Arc<Definition>, at: usize) -> Kind {
        let version = &self.versions[at];
        let owned = |all: &[Box<str>]| all.iter().map(|s| s.to_string()).collect();
        let served = self.versions.iter().filter(|v| v.served);
        Kind {
            group: self.group.to_string(),
            version: version.name.to_string(),
            kind: self.kind.to_string(),
            list_kind: self.list_kind.to_string(),
            plural: self.plural.to_string(),
            singular: self.singular.to_string(),
            short_names: owned(&self.short_names),
            categories: owned(&self.categories),
            scope: self.scope,
            subresources: Subresources { status: version.status, scale: version.scale.is_some() },
            verbs: ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
                .map(String::from)
                .to_vec(),
            served: served.map(|v| (self.group.to_string(), v.name.to_string())).collect(),
            schema: schema_name(&self.group, &version.name, &self.kind),
            late_flush: false,
            strategy: Box::new(Custom::new(self.clone(), at)),
            definition: Some(self.clone()),
        }
    }
}

/// The name of a kind's definition in OpenAPI documents: `com.example.stable.v1.CronTab`.
pub fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_version_comes_first() {
        let mut all = ["v1alpha1", "foo10", "v2beta1", "v10", "v1", "v11alpha2", "v3beta1", "v2", "foo1", "v12alpha1"];
        all.sort_by_cached_key(|v| priority(v));
        assert_eq!(
            all,
            ["v10", "v2", "v1", "v3beta1", "v2beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
        assert_eq!(schema_name("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
    }
}
