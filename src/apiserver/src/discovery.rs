//! What is served, told to clients: `/api`, `/apis` and below, classic and aggregated; `/version`, OpenAPI and the list of
//! paths.

mod resources;

use std::collections::HashMap;
use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_ENCODING, VARY};
use ::http::{HeaderMap, HeaderValue, Response};
use api::{Status, Value, openapi};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use crate::aggregation::{Aggregation, Others, priority};
use crate::engine::Routes;
use crate::http::negotiate::{self, Shape};
use crate::http::output::{self, Wanted};
use crate::http::query::Query;
use crate::http::{Body, gzip, not_found};
use crate::{Engine, resource_metrics};
use resources::{Resource, resources};

/// Set by the release build; clients expect something hexadecimal.
const GIT_COMMIT: &str = match option_env!("SKIFF_GIT_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// By path and form: of what others said ([`Others::stamp`]), packed.
type Documents = HashMap<String, (u64, Bytes)>;

/// OpenAPI documents as they were made for one set of routes and what other API servers said, packed.
#[derive(Default)]
pub(crate) struct Discovery {
    documents: Mutex<(u64, Documents)>,
}

impl Discovery {
    /// Any path that is no resource.
    pub async fn answer(
        &self,
        engine: &Arc<Engine>,
        aggregation: &Aggregation,
        path: &str,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response<Body>, Status> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        if parts.first() == Some(&"openapi") {
            return self.openapi(engine, aggregation, &parts[1..], headers).await;
        }
        let accepted = negotiate::accepted(headers)?;
        let groups = || all_groups(engine, aggregation);
        let tree = match parts.as_slice() {
            ["api"] | ["apis"] if matches!(accepted.shape, Shape::Discovery | Shape::DiscoveryBeta) => {
                return Ok(aggregated(engine, aggregation, parts[0] == "api", accepted.shape == Shape::DiscoveryBeta));
            }
            [] => json!({"paths": paths(engine, aggregation)}),
            ["version"] => version(),
            ["api"] => json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
            }),
            ["apis"] => {
                let all: Vec<Value> = groups().iter().filter(|(g, _)| !g.is_empty()).map(group).collect();
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
            }
            ["api", "v1"] => resource_list(engine, aggregation, "", "v1").ok_or_else(not_found)?,
            ["apis", name] => {
                let mut tree = groups().iter().find(|(g, _)| g == name).map(group).ok_or_else(not_found)?;
                tree["kind"] = "APIGroup".into();
                tree["apiVersion"] = "v1".into();
                tree
            }
            ["apis", name, version] => resource_list(engine, aggregation, name, version).ok_or_else(not_found)?,
            _ => return Err(not_found()),
        };
        let accepted = negotiate::Accepted { shape: Shape::Object, ..accepted };
        let pretty = matches!(query.get("pretty"), "true" | "1");
        Ok(output::tree(&Wanted { accepted, include: Default::default(), pretty }, 200, &tree))
    }

    async fn openapi(
        &self,
        engine: &Arc<Engine>,
        aggregation: &Aggregation,
        parts: &[&str],
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let routes = engine.routes();
        let asked = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let protobuf = asked.contains("spec.v2@v1.0+protobuf");
        if let ["v3", "apis", group, version] = parts
            && let Some(remote) = aggregation.find(group, version)
        {
            return remote.v3(headers).await;
        }
        let others = match parts {
            ["v2"] | ["v3"] => aggregation.documents(&format!("/openapi/{}", parts[0])).await,
            _ => Others::default(),
        };
        let stamp = others.stamp();
        type Make = Box<dyn FnOnce(&Routes, openapi::Trees) -> Option<Vec<u8>> + Send>;
        let (content_type, make): (&'static str, Make) = match parts {
            ["v2"] if protobuf => (
                openapi::V2_PROTOBUF_CONTENT_TYPE,
                Box::new(move |r, t| Some(openapi::v2_protobuf(&r.registry, t, &others.v2()))),
            ),
            ["v2"] => ("application/json", Box::new(move |r, t| Some(openapi::v2(&r.registry, t, &others.v2())))),
            ["v3"] => (
                "application/json",
                Box::new(move |r, _| {
                    let mut index = openapi::v3_index(&r.registry);
                    others.v3().into_iter().for_each(|(name, entry)| index["paths"][name] = entry);
                    Some(output::json_bytes(&index).to_vec())
                }),
            ),
            ["v3", "api", version] | ["v3", "apis", "", version] => {
                let version = (*version).to_owned();
                ("application/json", Box::new(move |r, t| openapi::v3(&r.registry, t, "", &version)))
            }
            ["v3", "apis", group, version] => {
                let (group, version) = ((*group).to_owned(), (*version).to_owned());
                ("application/json", Box::new(move |r, t| openapi::v3(&r.registry, t, &group, &version)))
            }
            _ => return Err(not_found()),
        };
        let name = format!("{} {content_type}", parts.join("/"));
        let packed = match self.cached(&routes, &name, stamp) {
            Some(packed) => packed,
            None => {
                let (of, store) = (routes.clone(), engine.store().clone());
                let tree = move |name: &str| {
                    store.get(&store::Key::new(api::crd::RESOURCE, "", name)).map(|definition| definition.tree())
                };
                let made = tokio::task::spawn_blocking(move || make(&of, &tree).map(|plain| gzip(&plain)))
                    .await
                    .map_err(Status::internal)?;
                let packed = made.ok_or_else(not_found)?.map_err(Status::internal)?;
                self.keep(&routes, name, stamp, packed.clone());
                packed
            }
        };
        let mut answer = if crate::http::accepts_gzip(headers) {
            let mut answer = output::response(200, content_type, Body::Full(packed));
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            output::response(200, content_type, Body::full(unpack(&packed).map_err(Status::internal)?))
        };
        answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        Ok(answer)
    }

    fn cached(&self, routes: &Arc<Routes>, name: &str, stamp: u64) -> Option<Bytes> {
        let documents = self.documents.lock();
        let kept = documents.1.get(name).filter(|(of, _)| documents.0 == routes.generation && *of == stamp);
        kept.map(|(_, packed)| packed.clone())
    }
    fn keep(&self, routes: &Arc<Routes>, name: String, stamp: u64, packed: Bytes) {
        let mut documents = self.documents.lock();
        if documents.0 < routes.generation {
            *documents = (routes.generation, HashMap::new());
        }
        if documents.0 > routes.generation {
            return;
        }
        documents.1.insert(name, (stamp, packed));
    }
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain)?;
    Ok(plain)
}

/// `version.Info`
fn version() -> Value {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    json!({
        "major": "1", "minor": "36",
        "gitVersion": crate::GIT_VERSION,
        "gitCommit": GIT_COMMIT, "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": platform,
    })
}

/// All groups with their versions, in upstream's order; those of virtual kinds and of other API servers too.
fn all_groups(engine: &Engine, aggregation: &Aggregation) -> Vec<(String, Vec<String>)> {
    let mut groups = engine.routes().groups();
    let mut add = |group: &str, version: &str| match groups.iter_mut().find(|(g, _)| g == group) {
        Some((_, versions)) if versions.iter().any(|v| v == version) => {}
        Some((_, versions)) => versions.push(version.into()),
        None => groups.push((group.into(), vec![version.into()])),
    };
    engine.specials().virtuals().for_each(|kind| add(kind.group, kind.version));
    if aggregation.metrics().is_some() {
        add(resource_metrics::GROUP, resource_metrics::VERSION);
    }
    let remotes = aggregation.all();
    remotes.keys().for_each(|(group, version)| add(group, version));
    let place = |group: &str, version: &str| {
        let remote = remotes.get(&(group.to_owned(), version.to_owned()));
        remote.map_or_else(|| priority::of(group, version), |r| r.priority)
    };
    // those of other API servers stand where they want to
    for (group, versions) in groups.iter_mut().filter(|(g, _)| remotes.keys().any(|(group, _)| group == g)) {
        versions.sort_by_cached_key(|v| (-place(group, v).1, api::crd::definition::priority(v)));
    }
    groups.sort_by_cached_key(|(group, versions)| {
        let highest = versions.iter().map(|v| place(group, v).0).max();
        // a resource that has moved is found in its new home first
        (group == "extensions", highest.map(|p| -p), group.clone())
    });
    groups
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// What this server serves itself under a group and version.
fn own_resources(engine: &Engine, aggregation: &Aggregation, group: &str, version: &str) -> Vec<Resource> {
    if group == resource_metrics::GROUP && version == resource_metrics::VERSION && aggregation.metrics().is_some() {
        return resource_metrics::resources().iter().map(|r| Resource::of(r, group, version)).collect();
    }
    resources(engine, group, version)
}

fn resource_list(engine: &Engine, aggregation: &Aggregation, group: &str, version: &str) -> Option<Value> {
    let all = own_resources(engine, aggregation, group, version);
    if all.is_empty() {
        return None;
    }
    let all: Vec<Value> = all.iter().map(Resource::classic).collect();
    let version = crate::engine::api_version(group, version);
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all}))
}

fn aggregated(engine: &Engine, aggregation: &Aggregation, core: bool, beta: bool) -> Response<Body> {
    let item = |(name, versions): &(String, Vec<String>)| {
        let version = |v: &String| {
            let (all, fresh) = match aggregation.find(name, v) {
                None => (own_resources(engine, aggregation, name, v), true),
                Some(remote) => {
                    let (all, fresh) = remote.resources();
                    (all.iter().map(|r| Resource::of(r, name, v)).collect(), fresh)
                }
            };
            let freshness = if fresh { "Current" } else { "Stale" };
            json!({"version": v, "freshness": freshness, "resources": resources::aggregated(&all)})
        };
        let versions: Vec<Value> = versions.iter().map(version).collect();
        let metadata =
            if core { json!({"creationTimestamp": null}) } else { json!({"name": name, "creationTimestamp": null}) };
        json!({"metadata": metadata, "versions": versions})
    };
    let items: Vec<Value> =
        all_groups(engine, aggregation).iter().filter(|(g, _)| g.is_empty() == core).map(item).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "metadata": {}, "items": items,
        "apiVersion": if beta { "apidiscovery.k8s.io/v2beta1" } else { "apidiscovery.k8s.io/v2" },
    });
    let content_type = if beta { AGGREGATED_BETA } else { AGGREGATED };
    let mut answer = output::response(200, content_type, Body::Full(output::json_bytes(&list)));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn paths(engine: &Engine, aggregation: &Aggregation) -> Vec<String> {
    let mut all: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(String::from)
            .to_vec();
    for (group, versions) in all_groups(engine, aggregation) {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        all.extend(versions.iter().map(|v| format!("{root}/{v}")));
        if !group.is_empty() {
            all.push(root);
        }
    }
    all.sort();
    all
}
