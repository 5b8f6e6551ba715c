//! Definitions of custom resources: upstream's `apiextensions-apiserver/pkg/controller/openapi/builder`.
//!
//! They are made from the stored CustomResourceDefinition: what is kept in memory has no descriptions.

use serde_json::{Map, Value, json};

use super::META;
use crate::Kind;

/// The stored tree of a CustomResourceDefinition, by its name.
pub type Trees<'a> = &'a dyn Fn(&str) -> Option<Value>;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
    recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the \
    endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The names of the definitions that these refer to.
pub(super) fn roots() -> [String; 2] {
    ["ObjectMeta", "ListMeta"].map(|n| format!("{META}{n}"))
}

/// The definitions of one version of a custom resource, in the form of OpenAPI v2 or v3 (with v2's references).
pub(super) fn definitions(kind: &Kind, version: &str, trees: Trees, v3: bool, mut f: impl FnMut(&str, Value)) {
    let Some(definition) = &kind.definition else { return };
    let tree = trees(&definition.name).unwrap_or_default();
    let versions = tree["spec"]["versions"].as_array();
    let found = versions.into_iter().flatten().find(|v| v["name"] == version);
    let schema = found.and_then(|v| v.pointer("/schema/openAPIV3Schema")).filter(|s| s.is_object());
    let loose = !v3
        && (tree["spec"]["preserveUnknownFields"] == true
            || schema.is_some_and(|s| s["x-kubernetes-preserve-unknown-fields"] == true));
    // properties beside unknown ones would make kubectl refuse these
    let mut own = match schema {
        Some(schema) if !loose => {
            let mut own = schema.clone();
            if !v3 {
                simplify(&mut own);
            }
            complete(&mut own);
            embed(&mut own, v3);
            own
        }
        _ => json!({"type": "object"}),
    };
    let gvk = |kind: &str| json!([{"group": &*definition.group, "kind": kind, "version": version}]);
    own["x-kubernetes-group-version-kind"] = gvk(&kind.kind);
    let name = crate::crd::definition::schema_name(&definition.group, version, &kind.kind);
    let items = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        kind.plural
    );
    let mut list = json!({
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"description": items, "type": "array", "items": {"$ref": format!("#/definitions/{name}")}},
        },
        "x-kubernetes-group-version-kind": gvk(&kind.list_kind),
    });
    own_properties(&mut list, &format!("#/definitions/{META}ListMeta"), [API_VERSION, KIND, LIST_METADATA]);
    f(&name, own);
    f(&format!("{name}List"), list);
}

fn own_properties(schema: &mut Value, metadata: &str, [version, kind, meta]: [&str; 3]) {
    let Some(o) = schema.as_object_mut() else { return };
    if let Some(p) = o.entry("properties").or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        p.insert("apiVersion".into(), json!({"description": version, "type": "string"}));
        p.insert("kind".into(), json!({"description": kind, "type": "string"}));
        p.insert("metadata".into(), json!({"description": meta, "$ref": metadata}));
    }
}

fn object_meta() -> String {
    format!("#/definitions/{META}ObjectMeta")
}

/// `apiVersion`, `kind` and `metadata` of the resource itself.
fn complete(schema: &mut Value) {
    own_properties(schema, &object_meta(), [API_VERSION, KIND, METADATA]);
}

fn below(schema: &mut Value, f: &mut dyn FnMut(&mut Value)) {
    for p in schema["properties"].as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
        f(p);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(s) = schema.get_mut(key).filter(|s| s.is_object()) {
            f(s);
        }
    }
}

/// The same of embedded resources. Reading a missing member of a tree through `[]` leaves a null behind: those go.
fn embed(schema: &mut Value, v3: bool) {
    below(schema, &mut |s| embed(s, v3));
    drop_nulls(schema);
    if schema.get("x-kubernetes-embedded-resource") != Some(&Value::Bool(true))
        || !v3 && schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
    {
        return;
    }
    own_properties(schema, &object_meta(), [EMBEDDED_VERSION, EMBEDDED_KIND, METADATA]);
    let Some(o) = schema.as_object_mut() else { return };
    if let Some(required) = o.entry("required").or_insert_with(|| json!([])).as_array_mut() {
        for key in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r == key) {
                required.push(key.into());
            }
        }
    }
}

fn drop_nulls(schema: &mut Value) {
    if let Some(o) = schema.as_object_mut() {
        o.retain(|k, v| !v.is_null() || k == "default");
    }
}

/// What OpenAPI v2 cannot say, or kubectl cannot bear, goes: `ToStructuralOpenAPIV2`.
fn simplify(schema: &mut Value) {
    let Some(o) = schema.as_object_mut() else { return };
    for key in ["allOf", "oneOf", "anyOf", "not"] {
        o.remove(key);
    }
    let is = |o: &Map<String, Value>, key: &str| o.get(key) == Some(&Value::Bool(true));
    if is(o, "nullable") {
        for key in ["type", "nullable", "items", "properties"] {
            o.remove(key);
        }
    }
    let preserve = is(o, "x-kubernetes-preserve-unknown-fields");
    if preserve {
        o.remove("items");
        o.remove("properties");
    }
    let typed = |o: &Map<String, Value>, name: &str| o.get("type").is_some_and(|t| t == name);
    if typed(o, "array") && !o.contains_key("items") || preserve && typed(o, "object") {
        o.remove("type");
    }
    let nullable: Vec<String> = o
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, p)| p.get("nullable") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = o.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|r| r.as_str().is_none_or(|r| !nullable.iter().any(|n| n == r)));
        if required.is_empty() {
            o.remove("required");
        }
    }
    below(schema, &mut simplify);
    drop_nulls(schema);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn definitions_for_old_and_new_readers() {
        let crd = json!({"metadata": {"name": "ks.g.io"}, "spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": "ks", "singular": "k", "kind": "K", "listKind": "KList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "description": "d", "type": "object", "properties": {
                    "spec": {"type": "object", "description": "s", "required": ["n"], "properties": {
                        "n": {"type": "string", "nullable": true},
                        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                        "t": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
                        "p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}}}}}}]}});
        let kind = Arc::new(crate::crd::Definition::parse(&crd, 1)).kind().unwrap();
        let make = |v3| {
            let mut all = Vec::new();
            definitions(&kind, "v1", &|_| Some(crd.clone()), v3, |name, tree| all.push((name.to_owned(), tree)));
            all
        };
        let v2 = make(false);
        assert_eq!(v2[0].0, "io.g.v1.K");
        assert_eq!(v2[1].0, "io.g.v1.KList");
        let spec = &v2[0].1["properties"]["spec"];
        assert_eq!(spec.get("required"), None);
        assert_eq!(spec["properties"]["n"], json!({}));
        assert_eq!(spec["properties"]["raw"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert_eq!(spec["properties"]["p"], json!({"x-kubernetes-int-or-string": true}));
        assert_eq!(spec["properties"]["t"]["required"], json!(["kind", "apiVersion"]));
        assert_eq!(v2[0].1["x-kubernetes-group-version-kind"][0]["kind"], "K");
        assert!(v2[0].1["properties"]["metadata"]["$ref"].as_str().unwrap().ends_with("ObjectMeta"));
        let v3 = make(true);
        assert_eq!(v3[0].1["properties"]["spec"]["properties"]["n"], json!({"type": "string", "nullable": true}));
    }
}
