//! What makes an `openAPIV3Schema` structural and supported: upstream's `ValidateCustomResourceDefinitionOpenAPISchema` and
//! `schema.ValidateStructural`.

use serde_json::{Value, json};

use super::structural::{Structural, default, prune};
use super::validate::{validate, validate_lists};
use crate::cel;
use crate::field::{Error, Path};

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What may stand in a schema of its own, but not within `allOf` and its like.
const NOT_NESTED: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
];

const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

fn set<'a>(s: &'a Value, key: &str) -> Option<&'a Value> {
    s.get(key).filter(|v| !matches!(v, Value::Null | Value::Bool(false)) && v.as_str() != Some(""))
}

fn members<'a>(s: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    s[key].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

fn list<'a>(s: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    s[key].as_array().into_iter().flatten().enumerate()
}

/// Checks a whole schema. `structural`: whether that is required, as it is but for definitions of `v1beta1`.
pub fn check(schema: &Value, path: &Path, structural: bool) -> Vec<Error> {
    let mut out = Vec::new();
    supported(schema, path, &mut out);
    if structural {
        let mut more = Vec::new();
        shape(schema, Level::Root, path, &mut more);
        complete(schema, path, &mut more);
        more.sort_by_cached_key(ToString::to_string);
        out.extend(more);
    }
    if out.is_empty() && structural {
        let parsed = Structural::parse(schema);
        defaults(schema, &parsed, true, path, &mut out);
        cel::check_schema(schema, &parsed, path, &mut out);
    }
    out
}

/// Why a schema is not structural; the condition `NonStructuralSchema` says it.
pub fn violations(schema: &Value, path: &Path) -> Vec<Error> {
    let mut out = Vec::new();
    shape(schema, Level::Root, path, &mut out);
    complete(schema, path, &mut out);
    out.sort_by_cached_key(ToString::to_string);
    out
}

fn each_below(s: &Value, path: &Path, f: &mut dyn FnMut(&Value, &Path)) {
    for (name, p) in members(s, "properties") {
        f(p, &path.child("properties").key(name));
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(below @ Value::Object(_)) = s.get(key) {
            f(below, &path.child(key));
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, below) in list(s, key) {
            f(below, &path.child(key).index(i));
        }
    }
}

fn supported(s: &Value, path: &Path, out: &mut Vec<Error>) {
    for key in UNSUPPORTED {
        if s.get(key).is_some_and(|v| !v.is_null()) {
            out.push(Error::forbidden(&path.child(key), &format!("{key} is not supported")));
        }
    }
    if s["type"] == "null" {
        out.push(Error::forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative"));
    } else if let Some(kind) = s["type"].as_str().filter(|k| !k.is_empty()) {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        if !known.contains(&kind) {
            out.push(Error::not_supported(&path.child("type"), kind, &known));
        }
    }
    if s["items"].is_array() {
        out.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if s["uniqueItems"] == true {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        out.push(Error::forbidden(&path.child("uniqueItems"), why));
    }
    if let Some(additional) = s.get("additionalProperties").filter(|a| !a.is_null()) {
        if additional == &Value::Bool(false) {
            let why = "additionalProperties cannot be set to false";
            out.push(Error::forbidden(&path.child("additionalProperties"), why));
        } else if additional.is_object() && members(s, "properties").next().is_some() {
            let why = "additionalProperties and properties are mutual exclusive";
            out.push(Error::forbidden(&path.child("additionalProperties"), why));
        }
    }
    if s["x-kubernetes-preserve-unknown-fields"] == false {
        let why = "must be true or undefined";
        out.push(Error::invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, why));
    }
    lists(s, path, out);
    each_below(s, path, &mut |below, path| supported(below, path, out));
}

/// `x-kubernetes-list-type`, `-list-map-keys` and `-map-type`.
fn lists(s: &Value, path: &Path, out: &mut Vec<Error>) {
    let (list_type, keys) = (s["x-kubernetes-list-type"].as_str(), &s["x-kubernetes-list-map-keys"]);
    let kind = s["type"].as_str().unwrap_or_default();
    if let Some(map) = s["x-kubernetes-map-type"].as_str() {
        if kind != "object" {
            let p = &path.child("type");
            out.push(match kind {
                "" => Error::required(p, "must be object if x-kubernetes-map-type is specified"),
                k => Error::invalid(p, k, "must be object if x-kubernetes-map-type is specified"),
            });
        }
        if !matches!(map, "atomic" | "granular") {
            out.push(Error::not_supported(&path.child("x-kubernetes-map-type"), map, &["atomic", "granular"]));
        }
    }
    let keys: Vec<&str> = keys.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(list_type) = list_type {
        if kind != "array" {
            let p = &path.child("type");
            out.push(match kind {
                "" => Error::required(p, "must be array if x-kubernetes-list-type is specified"),
                k => Error::invalid(p, k, "must be array if x-kubernetes-list-type is specified"),
            });
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            let p = &path.child("x-kubernetes-list-type");
            out.push(Error::not_supported(p, list_type, &["atomic", "map", "set"]));
        }
    }
    let keys_path = &path.child("x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != Some("map") {
        let p = &path.child("x-kubernetes-list-type");
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        out.push(list_type.map_or_else(|| Error::required(p, why), |t| Error::invalid(p, t, why)));
    }
    let items = &s["items"];
    let item_type = items["type"].as_str().unwrap_or_default();
    match list_type {
        Some("map") => {
            if keys.is_empty() {
                out.push(Error::required(keys_path, "must not be empty if x-kubernetes-list-type is map"));
            }
            if !items.is_object() {
                out.push(Error::required(&path.child("items"), "must have a schema if x-kubernetes-list-type is map"));
            } else if item_type != "object" {
                let p = &path.child("items");
                out.push(Error::invalid(
                    &p.child("type"),
                    item_type,
                    "must be object if parent array's x-kubernetes-list-type is map",
                ));
            }
            if items["nullable"] == true {
                let p = &path.child("items");
                out.push(Error::forbidden(
                    &p.child("nullable"),
                    "cannot be nullable when x-kubernetes-list-type is map",
                ));
            }
            for (i, key) in keys.iter().enumerate() {
                let property = &items["properties"][*key];
                if keys[..i].contains(key) {
                    out.push(Error::duplicate(&keys_path.index(i), *key));
                } else if !property.is_object() {
                    out.push(Error::invalid(&keys_path.index(i), *key, "property does not exist"));
                } else {
                    let kind = property["type"].as_str().unwrap_or_default();
                    let p = &path.child("items");
                    let p = &p.child("properties");
                    let p = &p.key(key);
                    if matches!(kind, "object" | "array") {
                        let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                        out.push(Error::invalid(&p.child("type"), kind, why));
                    }
                    if property["nullable"] == true {
                        out.push(Error::forbidden(
                            &p.child("nullable"),
                            "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
                        ));
                    }
                    let required = list(items, "required").any(|(_, r)| r == *key);
                    if !required && property.get("default").is_none() {
                        let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                        out.push(Error::required(&p.child("default"), why));
                    }
                }
            }
        }
        Some("set") => {
            let items_path = &path.child("items");
            if !items.is_object() {
                out.push(Error::required(items_path, "must have a schema if x-kubernetes-list-type is set"));
            } else if items["nullable"] == true {
                let p = &items_path.child("nullable");
                out.push(Error::forbidden(p, "cannot be nullable when x-kubernetes-list-type is set"));
            }
            if item_type == "object" && items["x-kubernetes-map-type"] != "atomic" {
                let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let p = &items_path.child("x-kubernetes-map-type");
                out.push(Error::invalid(p, items["x-kubernetes-map-type"].clone(), why));
            }
            if item_type == "array" && items["x-kubernetes-list-type"].as_str().is_some_and(|t| t != "atomic") {
                let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let p = &items_path.child("x-kubernetes-list-type");
                out.push(Error::invalid(p, items["x-kubernetes-list-type"].clone(), why));
            }
        }
        _ => {}
    }
}

fn is_int_or_string(s: &Value) -> bool {
    s["anyOf"] == json!([{"type": "integer"}, {"type": "string"}])
}

/// `validateStructuralInvariants`
fn shape(s: &Value, level: Level, path: &Path, out: &mut Vec<Error>) {
    let kind = s["type"].as_str().unwrap_or_default();
    let is = |key: &str| s[key] == true;
    let (embedded, int_or_string, preserve) = (
        is("x-kubernetes-embedded-resource"),
        is("x-kubernetes-int-or-string"),
        is("x-kubernetes-preserve-unknown-fields"),
    );
    if kind == "array" && !s["items"].is_object() {
        out.push(Error::required(&path.child("items"), "must be specified"));
    }
    if s["items"].is_object() {
        shape(&s["items"], Level::Item, &path.child("items"), out);
    }
    for (name, p) in members(s, "properties") {
        shape(p, Level::Field, &path.child("properties").key(name), out);
    }
    if let Some(additional) = set(s, "additionalProperties") {
        let path = &path.child("additionalProperties");
        if level == Level::Root {
            out.push(Error::forbidden(path, "must not be used at the root"));
        }
        if additional.is_object() {
            shape(additional, Level::Field, path, out);
        }
        if embedded {
            out.push(Error::forbidden(path, "must not be used if x-kubernetes-embedded-resource is set"));
        }
    }
    if int_or_string {
        for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if is(key) {
                let why = "must be false if x-kubernetes-int-or-string is true";
                out.push(Error::invalid(&path.child(key), true, why));
            }
        }
    }
    let first = s.pointer("/allOf/0").is_some_and(is_int_or_string);
    conditions(s, is_int_or_string(s), first, path, out);

    let type_path = &path.child("type");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        out.push(if kind.is_empty() { Error::required(type_path, why) } else { Error::invalid(type_path, kind, why) });
    } else if kind.is_empty() && !int_or_string && !preserve {
        out.push(Error::required(
            type_path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        out.push(Error::invalid(type_path, kind, "must be object at the root"));
    }
    metadata(s, level, embedded, path, out);
    if embedded && !preserve && members(s, "properties").next().is_none() {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        out.push(Error::required(&path.child("properties"), why));
    }
}

/// What a schema may say of `apiVersion`, `kind` and `metadata`.
fn metadata(s: &Value, level: Level, embedded: bool, path: &Path, out: &mut Vec<Error>) {
    let whole = level == Level::Root || embedded;
    let properties = &path.child("properties");
    for (name, want, why) in [
        ("kind", "string", "must be string"),
        ("apiVersion", "string", "must be string"),
        ("metadata", "object", "must be object"),
    ] {
        if let Some(p) = s["properties"].get(name).filter(|_| whole)
            && p["type"] != want
        {
            let found = p["type"].as_str().unwrap_or_default();
            out.push(Error::invalid(&properties.key(name).child("type"), found, why));
        }
    }
    if level != Level::Root {
        return;
    }
    if let Some(Value::Object(m)) = s["properties"].get("metadata") {
        let may = |k: &str| matches!(k, "type" | "default" | "properties" | "description" | "required" | "title");
        let only_names = m.get("properties").and_then(Value::as_object);
        let only_names = only_names.is_none_or(|p| p.keys().all(|k| matches!(k.as_str(), "name" | "generateName")));
        if !only_names || m.get("description").is_some_and(|d| d != "") || m.keys().any(|k| !may(k)) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            out.push(Error::forbidden(&properties.key("metadata"), why));
        }
    }
}

/// `validateValueValidation`
fn conditions(s: &Value, skip_any: bool, skip_first_all: bool, path: &Path, out: &mut Vec<Error>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        if key == "anyOf" && skip_any {
            continue;
        }
        let key_path = &path.child(key);
        for (i, below) in list(s, key) {
            let skip = key == "allOf" && skip_first_all && i == 0;
            nested(below, skip, &key_path.index(i), out);
        }
    }
    if s["not"].is_object() {
        nested(&s["not"], false, &path.child("not"), out);
    }
    if let Some(pattern) = s["pattern"].as_str().filter(|p| !p.is_empty())
        && let Err(error) = regex::Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        out.push(Error::invalid(&path.child("pattern"), pattern, why));
    }
}

/// `validateNestedValueValidation`
fn nested(s: &Value, skip_any: bool, path: &Path, out: &mut Vec<Error>) {
    conditions(s, skip_any, false, path, out);
    if s["items"].is_object() {
        nested(&s["items"], false, &path.child("items"), out);
    }
    for (name, p) in members(s, "properties") {
        nested(p, false, &path.child("properties").key(name), out);
    }
    for (key, why) in NOT_NESTED {
        if set(s, key).is_some() {
            out.push(Error::forbidden(&path.child(key), why));
        }
    }
    for key in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if s[key].as_array().is_some_and(|l| !l.is_empty()) {
            out.push(Error::forbidden(&path.child(key), "must be empty to be structural"));
        }
    }
    if s["properties"].get("metadata").is_some() {
        let properties = &path.child("properties");
        out.push(Error::forbidden(&properties.key("metadata"), "must not be specified in a nested context"));
    }
}

/// `validateStructuralCompleteness`: what conditions speak of is specified outside of them as well.
fn complete(s: &Value, path: &Path, out: &mut Vec<Error>) {
    fn nested_complete(v: &Value, s: &Value, path: &Path, at: &Path, out: &mut Vec<Error>) {
        if v["items"].is_object() {
            if s["items"].is_object() {
                nested_complete(&v["items"], &s["items"], &path.child("items"), &at.child("items"), out);
            } else {
                let why = format!("because it is defined in {}", at.child("items"));
                out.push(Error::required(&path.child("items"), &why));
            }
        }
        for (name, p) in members(v, "properties") {
            let (to, from) = (path.child("properties"), at.child("properties"));
            match s["properties"].get(name) {
                Some(here) => nested_complete(p, here, &to.key(name), &from.key(name), out),
                None if set(s, "additionalProperties").is_some() => {}
                None => {
                    let why = format!("because it is defined in {}", from.key(name));
                    out.push(Error::required(&to.key(name), &why));
                }
            }
        }
        each_condition(v, at, &mut |below, at| nested_complete(below, s, path, at, out));
    }
    fn each_condition(s: &Value, path: &Path, f: &mut dyn FnMut(&Value, &Path)) {
        for key in ["allOf", "anyOf", "oneOf"] {
            for (i, below) in list(s, key) {
                f(below, &path.child(key).index(i));
            }
        }
        if s["not"].is_object() {
            f(&s["not"], &path.child("not"));
        }
    }
    each_condition(s, path, &mut |below, at| nested_complete(below, s, path, at, out));
    for (name, p) in members(s, "properties") {
        complete(p, &path.child("properties").key(name), out);
    }
    for key in ["items", "additionalProperties"] {
        if s[key].is_object() {
            complete(&s[key], &path.child(key), out);
        }
    }
}

/// `defaulting.ValidateDefaults`: defaults fit their own schemas.
fn defaults(raw: &Value, s: &Structural, root: bool, path: &Path, out: &mut Vec<Error>) {
    if let Some(value) = &s.default {
        let path = &path.child("default");
        if root {
            out.push(Error::forbidden(path, "must not be set at the root"));
        }
        let mut pruned = json!({"x": **value});
        let holder = Structural { properties: [("x".into(), s.clone())].into(), ..Structural::default() };
        let unknown = prune(&mut pruned, &holder);
        if !unknown.is_empty() {
            out.push(Error::invalid(path, (**value).clone(), "must not have unknown fields"));
        }
        let mut whole = (**value).clone();
        default(&mut whole, s);
        for e in validate(s, &whole, None).into_iter().chain(validate_lists(s, &whole, None)) {
            let field = match e.field.as_str() {
                "<nil>" => path.to_string(),
                below => format!("{path}.{below}"),
            };
            out.push(Error { field, ..e });
        }
    }
    for (name, p) in s.properties.iter() {
        // what the server itself fills in needs no default
        if root && super::is_meta(name) {
            continue;
        }
        defaults(&raw["properties"][&**name], p, false, &path.child("properties").key(name), out);
    }
    if let Some(items) = &s.items {
        defaults(&raw["items"], items, false, &path.child("items"), out);
    }
    if let super::Additional::Schema(a) = &s.additional {
        defaults(&raw["additionalProperties"], a, false, &path.child("additionalProperties"), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_that_are_not_structural_are_told_why() {
        let root = |inner: Value| json!({"type": "object", "properties": {"a": inner}});
        for (schema, want) in [
            (root(json!({"type": "string"})), ""),
            (json!({}), "s.type: Required value: must not be empty at the root"),
            (json!({"type": "string"}), r#"s.type: Invalid value: "string": must be object at the root"#),
            (root(json!({})), "s.properties[a].type: Required value: must not be empty for specified object fields"),
            (root(json!({"type": "array"})), "s.properties[a].items: Required value: must be specified"),
            (
                root(json!({"type": "array", "items": {}})),
                "s.properties[a].items.type: Required value: must not be empty for specified array items",
            ),
            (root(json!({"x-kubernetes-preserve-unknown-fields": true})), ""),
            (root(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})), ""),
            (
                root(json!({"type": "string", "anyOf": [{"type": "string"}]})),
                "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (root(json!({"type": "object", "anyOf": [{"required": ["b"]}]})), ""),
            (
                root(json!({"type": "object", "allOf": [{"properties": {"b": {"minimum": 1}}}]})),
                "s.properties[a].properties[b]: Required value: because it is defined in s.properties[a].allOf[0].properties[b]",
            ),
            (
                root(json!({"type": "string", "pattern": "("})),
                "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: ",
            ),
            (root(json!({"type": "string", "$ref": "#/x"})), "s.properties[a].$ref: Forbidden: $ref is not supported"),
            (
                root(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
                "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ),
            (
                root(
                    json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {"x": {"type": "string"}}}),
                ),
                "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ),
            (
                root(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
                "s.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ),
            (
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ),
            (
                root(
                    json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
                ),
                "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ),
            (
                root(json!({"type": "string", "default": 5})),
                r#"s.properties[a].default: Invalid value: "integer": <nil> in body must be of type string: "integer""#,
            ),
            (
                root(json!({"type": "object", "default": {"b": 1}, "properties": {"c": {"type": "string"}}})),
                r#"s.properties[a].default: Invalid value: {"b":1}: must not have unknown fields"#,
            ),
        ] {
            let errors: Vec<String> = check(&schema, &Path::root("s"), true).iter().map(ToString::to_string).collect();
            let all = errors.join(", ");
            assert!(all.starts_with(want) && all.is_empty() == want.is_empty(), "{schema}: {all}");
            assert!(errors.len() <= 1, "{errors:?}");
        }
    }
}
