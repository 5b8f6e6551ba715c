//! OpenAPI v2: `/openapi/v2`, one document for all groups.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::custom::{self, Trees};
use super::definitions::{reachable, served};
use super::paths::{Operation, Path, Query, paths};
use super::{META, VERSION, definition_name, group_versions, proto};
use crate::Registry;

/// What other API servers add: paths and definitions by name. Of a definition that is known already, ours counts.
#[derive(Debug, Default)]
pub struct Extra {
    pub paths: Vec<(String, Value)>,
    pub definitions: Vec<(String, Value)>,
}

/// The document as JSON.
pub fn v2(registry: &Registry, trees: Trees, extra: &Extra) -> Vec<u8> {
    let head = head();
    let mut out = Vec::with_capacity(2 << 20);
    out.extend_from_slice(b"{\"swagger\":\"2.0\"");
    for (key, v) in head.as_object().into_iter().flatten() {
        write(&mut out, b",", key, v);
    }
    out.extend_from_slice(b",\"paths\":{");
    let mut comma: &[u8] = b"";
    each_path(registry, extra, |path, item| {
        write(&mut out, comma, path, &item);
        comma = b",";
    });
    out.extend_from_slice(b"},\"definitions\":{");
    comma = b"";
    each_definition(registry, trees, extra, |name, tree| {
        write(&mut out, comma, name, &tree);
        comma = b",";
    });
    out.extend_from_slice(b"}}");
    out
}

/// The document as `com.github.proto-openapi.spec.v2@v1.0+protobuf`, which every kubectl prefers.
pub fn v2_protobuf(registry: &Registry, trees: Trees, extra: &Extra) -> Vec<u8> {
    let mut document = proto::Document::new(&head());
    each_path(registry, extra, |path, item| document.path(path, &item));
    each_definition(registry, trees, extra, |name, tree| document.definition(name, &tree));
    document.finish()
}

pub(super) fn write(out: &mut Vec<u8>, before: &[u8], key: &str, v: &Value) {
    out.extend_from_slice(before);
    serde_json::to_writer(&mut *out, key).expect("a string encodes to a Vec");
    out.push(b':');
    serde_json::to_writer(out, v).expect("a tree encodes to a Vec");
}

/// All but paths and definitions.
fn head() -> Value {
    let token = json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"});
    json!({
        "info": {"title": "Kubernetes", "version": VERSION},
        "securityDefinitions": {"BearerToken": token},
        "security": [{"BearerToken": []}],
    })
}

fn each_definition(registry: &Registry, trees: Trees, extra: &Extra, mut f: impl FnMut(&str, Value)) {
    let mut known = BTreeSet::new();
    let mut f = |name: &str, tree: Value| {
        if extra.definitions.is_empty() || known.insert(name.to_owned()) {
            f(name, tree);
        }
    };
    let mut roots: BTreeSet<String> = BTreeSet::new();
    for (group, version) in group_versions(registry) {
        for operation in paths(registry, &group, &version).into_iter().flat_map(|p| p.operations) {
            roots.extend([operation.body, operation.answer]);
        }
    }
    roots.extend(served(registry).map(|(k, g, v)| definition_name(k, g, v)));
    roots.extend(["APIResourceList", "APIGroupList", "APIVersions"].map(|n| format!("{META}{n}")));
    roots.extend(custom::roots());
    reachable(roots, served(registry), &mut f);
    for (kind, _, version) in served(registry) {
        custom::definitions(kind, version, trees, false, &mut f);
    }
    for (name, tree) in &extra.definitions {
        f(name, tree.clone());
    }
}

fn each_path(registry: &Registry, extra: &Extra, mut f: impl FnMut(&str, Value)) {
    for (group, version) in group_versions(registry) {
        for path in paths(registry, &group, &version) {
            f(&path.path, item(&path));
        }
    }
    for (path, item) in &extra.paths {
        f(path, item.clone());
    }
}

fn query(&(name, kind, description): &Query) -> Value {
    json!({"name": name, "in": "query", "type": kind, "description": description, "uniqueItems": true})
}

fn item(path: &Path) -> Value {
    let parameters = path.parameters().map(|name| {
        let what = match name {
            "namespace" => "object name and auth scope, such as for teams and projects",
            _ => "name of the object",
        };
        json!({"name": name, "in": "path", "type": "string", "required": true, "description": what, "uniqueItems": true})
    });
    let mut item = json!({"parameters": parameters.collect::<Vec<_>>()});
    for o in &path.operations {
        item[o.method] = operation(o);
    }
    item
}

fn operation(o: &Operation) -> Value {
    let mut parameters: Vec<Value> = o.queries().iter().map(query).collect();
    if !o.body.is_empty() {
        let required = o.action != "delete" && o.action != "deletecollection";
        let mut body = json!({"name": "body", "in": "body", "schema": reference(&o.body)});
        if required {
            body["required"] = true.into();
        }
        parameters.insert(0, body);
    }
    let answer = if o.answer.is_empty() { json!({"type": "string"}) } else { reference(&o.answer) };
    let mut responses = json!({
        "200": {"description": "OK", "schema": answer},
        "401": {"description": "Unauthorized"},
    });
    if o.action == "post" || o.action == "put" {
        responses["201"] = json!({"description": "Created", "schema": answer});
    }
    let (group, version, kind) = &o.gvk;
    let consumes = if o.body.is_empty() { &["*/*"] } else { o.consumes() };
    json!({
        "description": o.description,
        "operationId": o.id,
        "consumes": consumes,
        "produces": o.produces(),
        "schemes": ["https"],
        "tags": [tag(o)],
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": o.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    })
}

/// `apps_v1`, `core_v1`
pub(super) fn tag(o: &Operation) -> String {
    let (group, version, _) = &o.gvk;
    let group = group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
    format!("{group}_{version}")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}
