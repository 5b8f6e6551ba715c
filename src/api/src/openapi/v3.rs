//! OpenAPI v3: an index at `/openapi/v3` and a document per group and version.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::custom::{self, Trees};
use super::definitions::{reachable, served};
use super::paths::{Operation, Path, Query, paths, root};
use super::v2::{tag, write};
use super::{VERSION, definition_name, group_versions};
use crate::{Kind, Registry};

/// `/openapi/v3`: where the documents are, with a hash of each so that clients can cache them for good.
pub fn v3_index(registry: &Registry) -> Value {
    let mut index = Map::new();
    for (group, version) in group_versions(registry) {
        let root = root(&group, &version);
        let url = format!("/openapi/v3{root}?hash={}", hash(registry, &group, &version));
        index.insert(root[1..].to_owned(), json!({"serverRelativeURL": url}));
    }
    json!({ "paths": index })
}

/// Of what the document is made of.
fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), VERSION).hash(&mut hasher);
    for kind in kinds(registry, group, version) {
        (&kind.kind, &kind.plural, &kind.schema, &kind.verbs, kind.namespaced()).hash(&mut hasher);
        (kind.subresources.status, kind.subresources.scale).hash(&mut hasher);
        kind.definition.as_ref().map(|d| (&d.uid, d.generation)).hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
}

fn kinds<'a>(registry: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    served(registry).filter(move |(_, g, v)| *g == group && *v == version).map(|(k, _, _)| k)
}

/// The document of a group and version, as JSON; `None` if it is not served.
pub fn v3(registry: &Registry, trees: Trees, group: &str, version: &str) -> Option<Vec<u8>> {
    kinds(registry, group, version).next()?;
    let mut out = Vec::with_capacity(256 << 10);
    let info = json!({"title": "Kubernetes", "version": VERSION});
    out.extend_from_slice(b"{\"openapi\":\"3.0.0\"");
    write(&mut out, b",", "info", &info);
    out.extend_from_slice(b",\"paths\":{");
    let mut roots = BTreeSet::new();
    let mut comma: &[u8] = b"";
    for path in paths(registry, group, version) {
        write(&mut out, comma, &path.path, &item(&path));
        comma = b",";
        roots.extend(path.operations.into_iter().flat_map(|o| [o.body, o.answer]));
    }
    roots.extend(kinds(registry, group, version).map(|k| definition_name(k, group, version)));
    out.extend_from_slice(b"},\"components\":{\"schemas\":{");
    roots.extend(custom::roots());
    comma = b"";
    let mut put = |name: &str, mut tree: Value| {
        upgrade(name, &mut tree);
        write(&mut out, comma, name, &tree);
        comma = b",";
    };
    reachable(roots, kinds(registry, group, version).map(|k| (k, group, version)), &mut put);
    for kind in kinds(registry, group, version) {
        custom::definitions(kind, version, trees, true, &mut put);
    }
    let security = json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"}});
    write(&mut out, b"},", "securitySchemes", &security);
    out.extend_from_slice(b"}}");
    Some(out)
}

/// From a v2 schema to a v3 one.
fn upgrade(name: &str, tree: &mut Value) {
    match name {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => {
            replace_type(tree, json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}));
        }
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => {
            replace_type(tree, json!({"oneOf": [{"type": "string"}, {"type": "number"}]}));
        }
        _ => references(tree),
    }
}

fn replace_type(tree: &mut Value, with: Value) {
    if let (Some(tree), Value::Object(with)) = (tree.as_object_mut(), with) {
        tree.remove("type");
        tree.remove("format");
        tree.extend(with);
    }
}

/// `$ref` points into the components, and where it has siblings it moves into an `allOf`.
fn references(v: &mut Value) {
    match v {
        Value::Array(list) => list.iter_mut().for_each(references),
        Value::Object(o) => {
            o.values_mut().for_each(references);
            let target = match o.get("$ref") {
                Some(Value::String(r)) => r.replace("#/definitions/", "#/components/schemas/"),
                _ => return,
            };
            let alone = o.len() == 1;
            o.remove("$ref");
            if alone {
                o.insert("$ref".into(), target.into());
            } else {
                o.insert("allOf".into(), json!([{ "$ref": target }]));
            }
        }
        _ => {}
    }
}

fn schema(name: &str) -> Value {
    if name.is_empty() { json!({"type": "string"}) } else { json!({"$ref": format!("#/components/schemas/{name}")}) }
}

fn content(types: &[&str], name: &str) -> Value {
    types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema(name)}))).collect::<Map<_, _>>().into()
}

fn query(&(name, kind, description): &Query) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

fn item(path: &Path) -> Value {
    let parameters = path.parameters().map(|name| {
        let what = match name {
            "namespace" => "object name and auth scope, such as for teams and projects",
            _ => "name of the object",
        };
        json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string", "uniqueItems": true}})
    });
    let mut item = json!({"parameters": parameters.collect::<Vec<_>>()});
    for o in &path.operations {
        item[o.method] = operation(o);
    }
    item
}

fn operation(o: &Operation) -> Value {
    let (group, version, kind) = &o.gvk;
    let answer = content(o.produces(), &o.answer);
    let mut responses =
        json!({"200": {"description": "OK", "content": answer}, "401": {"description": "Unauthorized"}});
    if o.action == "post" || o.action == "put" {
        responses["201"] = json!({"description": "Created", "content": answer});
    }
    let mut operation = json!({
        "description": o.description,
        "operationId": o.id,
        "tags": [tag(o)],
        "parameters": o.queries().iter().map(query).collect::<Vec<_>>(),
        "responses": responses,
        "x-kubernetes-action": o.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    if !o.body.is_empty() {
        operation["requestBody"] = json!({"content": content(o.consumes(), &o.body)});
        if !matches!(o.action, "delete" | "deletecollection") {
            operation["requestBody"]["required"] = true.into();
        }
    }
    operation
}
