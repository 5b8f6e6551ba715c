//! OpenAPI v2 in protobuf: gnostic's `openapi_v2.Document`, the form in which every kubectl asks for it.
//!
//! Numbers are those of gnostic's `OpenAPIv2.proto`; only what our documents use is here.

use serde_json::Value;

/// A document written piece by piece.
pub(super) struct Document {
    out: Vec<u8>,
    paths: Vec<u8>,
    definitions: Vec<u8>,
    security: Vec<u8>,
}

impl Document {
    /// `head`: all but paths and definitions.
    pub fn new(head: &Value) -> Document {
        let mut info = Vec::new();
        text(&mut info, 1, &head["info"]["title"]);
        text(&mut info, 2, &head["info"]["version"]);
        let mut out = Vec::with_capacity(1 << 20);
        string(&mut out, 1, "2.0");
        bytes(&mut out, 2, &info);

        let mut security = Vec::new();
        for (name, scheme) in head["securityDefinitions"].as_object().into_iter().flatten() {
            let mut key = Vec::new();
            text(&mut key, 1, &scheme["type"]);
            text(&mut key, 2, &scheme["name"]);
            text(&mut key, 3, &scheme["in"]);
            text(&mut key, 4, &scheme["description"]);
            let definition = nested(1, &named(name, &nested(2, &key)));
            let requirement = nested(1, &named(name, &[]));
            bytes(&mut security, 12, &requirement);
            bytes(&mut security, 13, &definition);
        }
        Document { out, paths: Vec::new(), definitions: Vec::new(), security }
    }

    pub fn path(&mut self, path: &str, item: &Value) {
        let mut m = Vec::new();
        for (number, method) in
            [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
        {
            if let Some(o) = item.get(method) {
                bytes(&mut m, number, &operation(o));
            }
        }
        for p in list(item, "parameters") {
            bytes(&mut m, 9, &parameter(p));
        }
        bytes(&mut self.paths, 2, &named(path, &m));
    }

    pub fn definition(&mut self, name: &str, tree: &Value) {
        bytes(&mut self.definitions, 1, &named(name, &schema(tree)));
    }

    pub fn finish(mut self) -> Vec<u8> {
        bytes(&mut self.out, 8, &self.paths);
        bytes(&mut self.out, 9, &self.definitions);
        self.out.extend_from_slice(&self.security);
        self.out
    }
}

// === the wire ===

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn bytes(out: &mut Vec<u8>, number: u64, v: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, v.len() as u64);
    out.extend_from_slice(v);
}

fn string(out: &mut Vec<u8>, number: u64, v: &str) {
    bytes(out, number, v.as_bytes());
}

fn flag(out: &mut Vec<u8>, number: u64, v: &Value) {
    if v == &Value::Bool(true) {
        varint(out, number << 3);
        varint(out, 1);
    }
}

/// A text, if it is one.
fn text(out: &mut Vec<u8>, number: u64, v: &Value) {
    if let Some(s) = v.as_str().filter(|s| !s.is_empty()) {
        string(out, number, s);
    }
}

fn texts(out: &mut Vec<u8>, number: u64, v: &Value) {
    for s in v.as_array().into_iter().flatten().filter_map(Value::as_str) {
        string(out, number, s);
    }
}

fn nested(number: u64, v: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(v.len() + 4);
    bytes(&mut out, number, v);
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    string(&mut out, 1, name);
    bytes(&mut out, 2, value);
    out
}

fn list<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    v.get(key).and_then(Value::as_array).into_iter().flatten()
}

// === the messages ===

/// `Any`, whose YAML may as well be JSON.
fn any(v: &Value) -> Vec<u8> {
    nested(2, v.to_string().as_bytes())
}

fn extensions(out: &mut Vec<u8>, number: u64, v: &Value) {
    for (name, v) in v.as_object().into_iter().flatten().filter(|(k, _)| k.starts_with("x-")) {
        bytes(out, number, &named(name, &any(v)));
    }
}

fn schema(v: &Value) -> Vec<u8> {
    let mut m = Vec::new();
    text(&mut m, 1, &v["$ref"]);
    text(&mut m, 2, &v["format"]);
    text(&mut m, 4, &v["description"]);
    if let Some(default) = v.get("default") {
        bytes(&mut m, 5, &any(default));
    }
    texts(&mut m, 19, &v["required"]);
    for value in list(v, "enum") {
        bytes(&mut m, 20, &any(value));
    }
    if let Some(additional) = v.get("additionalProperties") {
        bytes(&mut m, 21, &nested(1, &schema(additional)));
    }
    if let Some(kind) = v["type"].as_str() {
        bytes(&mut m, 22, &nested(1, kind.as_bytes()));
    }
    if let Some(items) = v.get("items") {
        bytes(&mut m, 23, &nested(1, &schema(items)));
    }
    if let Some(properties) = v.get("properties").and_then(Value::as_object) {
        let mut all = Vec::new();
        for (name, property) in properties {
            bytes(&mut all, 1, &named(name, &schema(property)));
        }
        bytes(&mut m, 25, &all);
    }
    extensions(&mut m, 31, v);
    m
}

fn operation(o: &Value) -> Vec<u8> {
    let mut m = Vec::new();
    texts(&mut m, 1, &o["tags"]);
    text(&mut m, 3, &o["description"]);
    text(&mut m, 5, &o["operationId"]);
    texts(&mut m, 6, &o["produces"]);
    texts(&mut m, 7, &o["consumes"]);
    for p in list(o, "parameters") {
        bytes(&mut m, 8, &parameter(p));
    }
    let mut responses = Vec::new();
    for (code, response) in o["responses"].as_object().into_iter().flatten() {
        let mut r = Vec::new();
        text(&mut r, 1, &response["description"]);
        if let Some(s) = response.get("schema") {
            bytes(&mut r, 2, &nested(1, &schema(s)));
        }
        bytes(&mut responses, 1, &named(code, &nested(1, &r)));
    }
    bytes(&mut m, 9, &responses);
    texts(&mut m, 10, &o["schemes"]);
    extensions(&mut m, 13, o);
    m
}

/// A `ParametersItem`.
fn parameter(p: &Value) -> Vec<u8> {
    let mut m = Vec::new();
    if p["in"] == "body" {
        text(&mut m, 1, &p["description"]);
        text(&mut m, 2, &p["name"]);
        text(&mut m, 3, &p["in"]);
        flag(&mut m, 4, &p["required"]);
        bytes(&mut m, 5, &schema(&p["schema"]));
        return nested(1, &nested(1, &m));
    }
    // query and path parameters differ from the fifth field on
    let query = p["in"] == "query";
    let (kind, unique) = if query { (6, 20) } else { (5, 19) };
    flag(&mut m, 1, &p["required"]);
    text(&mut m, 2, &p["in"]);
    text(&mut m, 3, &p["description"]);
    text(&mut m, 4, &p["name"]);
    text(&mut m, kind, &p["type"]);
    flag(&mut m, unique, &p["uniqueItems"]);
    nested(1, &nested(2, &nested(if query { 3 } else { 4 }, &m)))
}
