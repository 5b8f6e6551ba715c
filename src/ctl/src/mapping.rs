//! From what a user types to a resource: discovery and the ways of naming.

use api::Value;

use crate::error::{Error, Result};
use crate::session::Session;

/// One resource under one group and version: upstream's `RESTMapping` with what discovery says.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub subresources: Vec<String>,
}

impl Mapping {
    /// `v1`, `apps/v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
    /// `pods`, `deployments.apps`: how kubectl names a resource to people.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
    /// `pod`, `deployment.apps`: before a slash and a name.
    pub fn short(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }
    /// The path of a collection (`name` empty) or an object. An empty namespace means all.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        path.push('/');
        path.push_str(&self.version);
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            path.push_str(name);
        }
        path
    }
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// All resources of a server, the preferred version of each group first.
pub struct Mappings {
    pub all: Vec<Mapping>,
}

impl Mappings {
    /// Two requests: aggregated discovery. Servers that have none (before 1.26) are asked group version by group version.
    pub async fn discover(session: &Session) -> Result<Mappings> {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let mut all = Vec::new();
        for root in ["/api", "/apis"] {
            let list = session.get_as(root, accept).await?;
            match list["kind"].as_str() {
                Some("APIVersions") => {
                    let versions: Vec<(String, String)> =
                        texts(&list["versions"]).into_iter().map(|v| (String::new(), v)).collect();
                    all.extend(each(session, versions).await?);
                }
                Some("APIGroupList") => all.extend(each(session, group_versions(&list)).await?),
                _ => {}
            }
            for group in list["items"].as_array().into_iter().flatten() {
                for version in group["versions"].as_array().into_iter().flatten() {
                    all.extend(resources(text(&group["metadata"]["name"]), version));
                }
            }
        }
        Ok(Mappings { all })
    }

    /// By kind, plural, singular or short name, with `.group` or `.version.group` behind.
    pub fn find(&self, name: &str) -> Result<Mapping> {
        let wanted = name.to_lowercase();
        let (resource, rest) = wanted.split_once('.').unwrap_or((&wanted, ""));
        let fits = |m: &&Mapping| {
            let named = m.plural == resource
                || m.singular == resource
                || m.kind.to_lowercase() == resource
                || m.short_names.iter().any(|s| s == resource);
            let grouped = rest.is_empty()
                || m.group == rest
                // `deploy.apps` stands for any group that begins so; `deploy.v1.apps` names the version
                || m.group.starts_with(&format!("{rest}."))
                || rest == m.version
                || rest == format!("{}.{}", m.version, m.group);
            named && grouped
        };
        // a full name wins over another's short name
        let exact = self.all.iter().filter(fits).find(|m| !m.short_names.iter().any(|s| s == resource));
        exact
            .or_else(|| self.all.iter().find(fits))
            .cloned()
            .ok_or_else(|| Error::other(format!("the server doesn't have a resource type {name:?}")))
    }

    pub fn of_kind(&self, api_version: &str, kind: &str) -> Result<Mapping> {
        let found = self.all.iter().find(|m| m.kind == kind && m.api_version() == api_version);
        found.cloned().ok_or_else(|| {
            Error::other(format!(
                "resource mapping not found: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
            ))
        })
    }

    /// `all` and the like.
    pub fn category(&self, name: &str) -> Vec<Mapping> {
        let mut seen = Vec::new();
        for m in self.all.iter().filter(|m| m.categories.iter().any(|c| c == name)) {
            if !seen.iter().any(|s: &Mapping| s.group == m.group && s.plural == m.plural) {
                seen.push(m.clone());
            }
        }
        seen
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}
fn texts(v: &Value) -> Vec<String> {
    v.as_array().into_iter().flatten().map(text).collect()
}

/// The group versions of an `APIGroupList`, of each group the preferred first.
fn group_versions(list: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for group in list["groups"].as_array().into_iter().flatten() {
        let name = text(&group["name"]);
        let preferred = text(&group["preferredVersion"]["version"]);
        all.push((name.clone(), preferred.clone()));
        let versions = group["versions"].as_array().into_iter().flatten().map(|v| text(&v["version"]));
        all.extend(versions.filter(|v| *v != preferred).map(|v| (name.clone(), v)));
    }
    all
}

/// The `APIResourceList` of each group version. One that does not answer (an aggregated API that is down) is left out.
async fn each(session: &Session, versions: Vec<(String, String)>) -> Result<Vec<Mapping>> {
    let lists = versions.iter().map(|(group, version)| {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        async move { session.get(&path).await }
    });
    let mut all = Vec::new();
    for ((group, version), list) in versions.iter().zip(futures::future::join_all(lists).await) {
        match list {
            Ok(list) => all.extend(classic(group, version, &list)),
            Err(error @ Error::Connection(_)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(all)
}

fn classic(group: &str, version: &str, list: &Value) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    let resources = list["resources"].as_array().map_or(&[][..], Vec::as_slice);
    for r in resources.iter().filter(|r| !r["name"].as_str().unwrap_or_default().contains('/')) {
        let plural = text(&r["name"]);
        let below = |s: &Value| text(&s["name"]).strip_prefix(&format!("{plural}/")).map(str::to_owned);
        all.push(Mapping {
            group: group.into(),
            version: version.into(),
            kind: text(&r["kind"]),
            singular: text(&r["singularName"]),
            namespaced: r["namespaced"] == true,
            short_names: texts(&r["shortNames"]),
            categories: texts(&r["categories"]),
            verbs: texts(&r["verbs"]),
            subresources: resources.iter().filter_map(below).collect(),
            plural,
        });
    }
    all
}

fn resources(group: String, version: &Value) -> Vec<Mapping> {
    let of = |r: &Value| Mapping {
        group: group.clone(),
        version: text(&version["version"]),
        kind: text(&r["responseKind"]["kind"]),
        plural: text(&r["resource"]),
        singular: text(&r["singularResource"]),
        namespaced: r["scope"] == "Namespaced",
        short_names: texts(&r["shortNames"]),
        categories: texts(&r["categories"]),
        verbs: texts(&r["verbs"]),
        subresources: r["subresources"].as_array().into_iter().flatten().map(|s| text(&s["subresource"])).collect(),
    };
    version["resources"].as_array().into_iter().flatten().map(of).collect()
}
