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

use crate::Engine;
use crate::engine::Routes;
use crate::http::negotiate::{self, Shape};
use crate::http::output::{self, Wanted};
use crate::http::query::Query;
use crate::http::{Body, gzip, not_found};
use resources::{Resource, resources};

/// Set by the release build; clients expect something hexadecimal.
const GIT_COMMIT: &str = match option_env!("SKIFF_GIT_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// OpenAPI documents as they were made for one set of routes, packed.
#[derive(Default)]
pub(crate) struct Discovery {
    documents: Mutex<(u64, HashMap<String, Bytes>)>,
}

impl Discovery {
    /// Any path that is no resource.
    pub async fn answer(
        &self,
        engine: &Arc<Engine>,
        path: &str,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response<Body>, Status> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        if parts.first() == Some(&"openapi") {
            return self.openapi(engine, &parts[1..], headers).await;
        }
        let accepted = negotiate::accepted(headers)?;
        let groups = || all_groups(engine);
        let tree = match parts.as_slice() {
            ["api"] | ["apis"] if accepted.shape == Shape::Discovery => {
                return Ok(aggregated(engine, parts[0] == "api"));
            }
            [] => json!({"paths": paths(engine)}),
            ["version"] => version(),
            ["api"] => json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
            }),
            ["apis"] => {
                let all: Vec<Value> = groups().iter().filter(|(g, _)| !g.is_empty()).map(group).collect();
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
            }
            ["api", "v1"] => resource_list(engine, "", "v1").ok_or_else(not_found)?,
            ["apis", name] => {
                let mut tree = groups().iter().find(|(g, _)| g == name).map(group).ok_or_else(not_found)?;
                tree["kind"] = "APIGroup".into();
                tree["apiVersion"] = "v1".into();
                tree
            }
            ["apis", name, version] => resource_list(engine, name, version).ok_or_else(not_found)?,
            _ => return Err(not_found()),
        };
        let accepted = negotiate::Accepted { shape: Shape::Object, ..accepted };
        let pretty = matches!(query.get("pretty"), "true" | "1");
        Ok(output::tree(&Wanted { accepted, include: Default::default(), pretty }, 200, &tree))
    }

    async fn openapi(
        &self,
        engine: &Arc<Engine>,
        parts: &[&str],
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let routes = engine.routes();
        let asked = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let protobuf = asked.contains("spec.v2@v1.0+protobuf");
        type Make = Box<dyn FnOnce(&Routes, openapi::Trees) -> Option<Vec<u8>> + Send>;
        let (content_type, make): (&'static str, Make) = match parts {
            ["v2"] if protobuf => {
                (openapi::V2_PROTOBUF_CONTENT_TYPE, Box::new(|r, t| Some(openapi::v2_protobuf(&r.registry, t))))
            }
            ["v2"] => ("application/json", Box::new(|r, t| Some(openapi::v2(&r.registry, t)))),
            ["v3"] => (
                "application/json",
                Box::new(|r, _| Some(output::json_bytes(&openapi::v3_index(&r.registry)).to_vec())),
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
        let packed = match self.cached(&routes, &name) {
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
                self.keep(&routes, name, packed.clone());
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

    fn cached(&self, routes: &Arc<Routes>, name: &str) -> Option<Bytes> {
        let documents = self.documents.lock();
        (documents.0 == routes.generation).then(|| documents.1.get(name).cloned()).flatten()
    }
    fn keep(&self, routes: &Arc<Routes>, name: String, packed: Bytes) {
        let mut documents = self.documents.lock();
        if documents.0 < routes.generation {
            *documents = (routes.generation, HashMap::new());
        }
        if documents.0 > routes.generation {
            return;
        }
        documents.1.insert(name, packed);
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

/// All groups with their versions; those of virtual kinds too.
fn all_groups(engine: &Engine) -> Vec<(String, Vec<String>)> {
    let mut groups = engine.routes().groups();
    for kind in engine.specials().virtuals() {
        match groups.iter_mut().find(|(g, _)| g == kind.group) {
            Some((_, versions)) if versions.iter().any(|v| v == kind.version) => {}
            Some((_, versions)) => versions.push(kind.version.into()),
            None => groups.push((kind.group.into(), vec![kind.version.into()])),
        }
    }
    groups
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn resource_list(engine: &Engine, group: &str, version: &str) -> Option<Value> {
    let all = resources(engine, group, version);
    if all.is_empty() {
        return None;
    }
    let all: Vec<Value> = all.iter().map(Resource::classic).collect();
    let version = crate::engine::api_version(group, version);
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all}))
}

fn aggregated(engine: &Engine, core: bool) -> Response<Body> {
    let item = |(name, versions): &(String, Vec<String>)| {
        let version = |v: &String| {
            let resources = resources::aggregated(&resources(engine, name, v));
            json!({"version": v, "freshness": "Current", "resources": resources})
        };
        let versions: Vec<Value> = versions.iter().map(version).collect();
        let metadata =
            if core { json!({"creationTimestamp": null}) } else { json!({"name": name, "creationTimestamp": null}) };
        json!({"metadata": metadata, "versions": versions})
    };
    let items: Vec<Value> = all_groups(engine).iter().filter(|(g, _)| g.is_empty() == core).map(item).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut answer = output::response(200, AGGREGATED, Body::Full(output::json_bytes(&list)));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn paths(engine: &Engine) -> Vec<String> {
    let mut all: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(String::from)
            .to_vec();
    for (group, versions) in all_groups(engine) {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        all.extend(versions.iter().map(|v| format!("{root}/{v}")));
        if !group.is_empty() {
            all.push(root);
        }
    }
    all.sort();
    all
}
