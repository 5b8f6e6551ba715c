//! Whether a value fits its schema: upstream's `validation.ValidateCustomResource`, with the texts of its OpenAPI validator.
//!
//! An update is not held responsible for what it leaves as it was ("ratcheting"): a part that equals the old one at the same
//! place may break rules that came later.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking::Cache;
use regex::Regex;
use serde_json::Value;

use super::format;
use super::structural::{Checks, List, Structural, Type};
use crate::field::{Error, Path};

mod parking {
    //! Compiled patterns are large and few of them are hot: the last ones are kept.

    use std::collections::HashMap;
    use std::sync::Mutex;

    use regex::Regex;

    const KEPT: usize = 256;

    #[derive(Default)]
    pub struct Cache(Mutex<HashMap<Box<str>, Option<Regex>>>);

    impl Cache {
        /// `None`: not a regular expression.
        pub fn get(&self, pattern: &str) -> Option<Regex> {
            let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(regex) = known.get(pattern) {
                return regex.clone();
            }
            if known.len() >= KEPT {
                known.clear();
            }
            let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok();
            known.insert(pattern.into(), regex.clone());
            regex
        }
    }
}

static PATTERNS: LazyLock<Cache> = LazyLock::new(Cache::default);

/// A compiled pattern, from a cache.
pub(crate) fn pattern(text: &str) -> Option<Regex> {
    PATTERNS.get(text)
}

/// How many errors are told.
const MAX_ERRORS: usize = 100;

/// Checks a whole object; `old` is what an update replaces.
pub fn validate(schema: &Structural, object: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut out = Vec::new();
    value(schema, object, old, &Path::nil(), &mut out);
    out.truncate(MAX_ERRORS);
    out
}

/// What the OpenAPI validator calls the type of a value.
fn type_name(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_integral(v: &Value) -> bool {
    match v {
        Value::Number(n) => !n.is_f64() || n.as_f64().is_some_and(|f| f.fract() == 0.0),
        _ => false,
    }
}

fn fits(s: &Structural, v: &Value) -> bool {
    if s.int_or_string {
        return v.is_string() || is_integral(v);
    }
    match s.kind {
        Type::Any => true,
        Type::Object => v.is_object(),
        Type::Array => v.is_array(),
        Type::String => v.is_string(),
        Type::Integer => is_integral(v),
        Type::Number => v.is_number(),
        Type::Boolean => v.is_boolean(),
    }
}

fn value(s: &Structural, v: &Value, old: Option<&Value>, path: &Path, out: &mut Vec<Error>) {
    if out.len() >= MAX_ERRORS || old == Some(v) || v.is_null() && s.nullable {
        return;
    }
    if !fits(s, v) {
        let wanted = if s.int_or_string { "integer,string" } else { s.kind.name() };
        let found = type_name(v);
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        out.push(Error::type_invalid(path, found, detail));
    }
    if let Some(checks) = &s.checks {
        check(checks, v, path, out);
    }
    match v {
        Value::Object(o) => {
            for (key, v) in o {
                let below = old.and_then(|o| o.get(key));
                if let Some(member) = s.member(key) {
                    value(member, v, below, &path.child(key), out);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &s.items else { return };
            let before = Before::new(s, old);
            for (i, v) in list.iter().enumerate() {
                value(items, v, before.of(s, v), &path.index(i), out);
            }
        }
        _ => {}
    }
}

/// The elements of the old list, by key; only those of a map can be told from each other.
struct Before<'a>(HashMap<String, &'a Value>);

/// What tells an element of a list map from the others.
pub(crate) fn key_of(keys: &[Box<str>], item: &Value) -> String {
    keys.iter().map(|k| item[&**k].to_string()).collect::<Vec<_>>().join("\u{1f}")
}

impl<'a> Before<'a> {
    fn new(s: &Structural, old: Option<&'a Value>) -> Before<'a> {
        let List::Map(keys) = &s.list else { return Before(HashMap::new()) };
        let list = old.and_then(Value::as_array).into_iter().flatten();
        Before(list.map(|v| (key_of(keys, v), v)).collect())
    }
    fn of(&self, s: &Structural, item: &Value) -> Option<&'a Value> {
        match &s.list {
            List::Map(keys) => self.0.get(&key_of(keys, item)).copied(),
            _ => None,
        }
    }
}

/// `%v` of a bound: Go's shortest form.
fn shown(f: f64) -> String {
    if f.fract() == 0.0 && f.abs() < 1e21 { format!("{f:.0}") } else { f.to_string() }
}

fn check(c: &Checks, v: &Value, path: &Path, out: &mut Vec<Error>) {
    let mut bad = |what: String| out.push(Error::invalid(path, v.clone(), format!("{path} in body {what}")));
    match v {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if c.min_length.is_some_and(|min| length < min) {
                bad(format!("should be at least {} chars long", c.min_length.unwrap_or(0)));
            }
            if !c.pattern.is_empty() && !pattern(&c.pattern).is_none_or(|p| p.is_match(text)) {
                bad(format!("should match '{}'", c.pattern));
            }
            if let Some(max) = c.max_length.filter(|max| length > *max) {
                out.push(Error::too_long_characters(path, max));
            }
            if !c.format.is_empty() && !format::holds(&c.format, text) {
                let detail = format!("{path} in body must be of type {}: {text:?}", c.format);
                out.push(Error::type_invalid(path, text.as_str(), detail));
            }
        }
        Value::Number(n) => {
            let f = n.as_f64().unwrap_or(f64::NAN);
            if let Some(max) = c.maximum {
                match c.exclusive_maximum {
                    true if f >= max => bad(format!("should be less than {}", shown(max))),
                    false if f > max => bad(format!("should be less than or equal to {}", shown(max))),
                    _ => {}
                }
            }
            if let Some(min) = c.minimum {
                match c.exclusive_minimum {
                    true if f <= min => bad(format!("should be greater than {}", shown(min))),
                    false if f < min => bad(format!("should be greater than or equal to {}", shown(min))),
                    _ => {}
                }
            }
            if let Some(of) = c.multiple_of.filter(|of| *of != 0.0 && (f / of).fract() != 0.0) {
                bad(format!("should be a multiple of {}", shown(of)));
            }
            if !c.format.is_empty() && !format::number_holds(&c.format, n) {
                bad(format!("must be of type {}: {n}", c.format));
            }
        }
        Value::Array(list) => {
            let n = list.len() as u64;
            if let Some(min) = c.min_items.filter(|min| n < *min) {
                bad(format!("should have at least {min} items"));
            }
            if let Some(max) = c.max_items.filter(|max| n > *max) {
                out.push(Error::too_many(path, list.len(), max as usize));
            }
        }
        Value::Object(o) => {
            let n = o.len() as u64;
            if let Some(min) = c.min_properties.filter(|min| n < *min) {
                bad(format!("should have at least {min} properties"));
            }
            if let Some(max) = c.max_properties.filter(|max| n > *max) {
                out.push(Error::too_many(path, o.len(), max as usize));
            }
            for name in c.required.iter().filter(|name| !o.contains_key(&***name)) {
                out.push(Error::required(&path.child(name), ""));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if !c.allowed.is_empty() && !c.allowed.iter().any(|a| equal(a, v)) {
        let texts: Vec<String> =
            c.allowed.iter().map(|a| a.as_str().map_or_else(|| a.to_string(), str::to_owned)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        out.push(Error::not_supported(path, v.clone(), &texts));
    }
    combine(c, v, path, out);
}

/// `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn errors_of(s: &Structural, v: &Value, path: &Path) -> Vec<Error> {
    let mut out = Vec::new();
    value(s, v, None, path, &mut out);
    out
}

/// `allOf`, `anyOf`, `oneOf`, `not`. Upstream reports these without a path.
fn combine(c: &Checks, v: &Value, path: &Path, out: &mut Vec<Error>) {
    let mut bad = |what: &str| {
        let name = match path.to_string() {
            p if p == "<nil>" => String::new(),
            p => p,
        };
        out.push(Error::invalid(&Path::nil(), "", format!("{name:?} must {what}")));
    };
    let closest = |all: Vec<Vec<Error>>| all.into_iter().min_by_key(Vec::len).unwrap_or_default();
    let mut more = Vec::new();
    if !c.any_of.is_empty() {
        let results: Vec<_> = c.any_of.iter().map(|s| errors_of(s, v, path)).collect();
        if results.iter().all(|r| !r.is_empty()) {
            bad("validate at least one schema (anyOf)");
            more.extend(closest(results));
        }
    }
    if !c.one_of.is_empty() {
        let results: Vec<_> = c.one_of.iter().map(|s| errors_of(s, v, path)).collect();
        match results.iter().filter(|r| r.is_empty()).count() {
            1 => {}
            0 => {
                bad("validate one and only one schema (oneOf). Found none valid");
                more.extend(closest(results));
            }
            n => bad(&format!("validate one and only one schema (oneOf). Found {n} valid alternatives")),
        }
    }
    let wrong: Vec<Error> = c.all_of.iter().flat_map(|s| errors_of(s, v, path)).collect();
    if !wrong.is_empty() {
        bad("validate all the schemas (allOf)");
        more.extend(wrong);
    }
    if c.not.as_ref().is_some_and(|s| errors_of(s, v, path).is_empty()) {
        bad("not validate the schema (not)");
    }
    out.extend(more);
}

/// The elements of sets and list maps are told apart, and embedded resources say what they are: upstream's `listtype` and
/// `objectmeta` validation.
pub fn validate_lists(s: &Structural, v: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut out = Vec::new();
    lists(s, v, old, &Path::nil(), &mut out);
    out
}

fn lists(s: &Structural, v: &Value, old: Option<&Value>, path: &Path, out: &mut Vec<Error>) {
    if old == Some(v) {
        return;
    }
    match v {
        Value::Object(o) => {
            if s.embedded {
                embedded(v, path, out);
            }
            for (key, v) in o {
                if let Some(member) = s.member(key) {
                    lists(member, v, old.and_then(|o| o.get(key)), &path.child(key), out);
                }
            }
        }
        Value::Array(list) => {
            let mut seen = std::collections::HashSet::new();
            for (i, item) in list.iter().enumerate() {
                let shown = match &s.list {
                    List::Atomic => continue,
                    List::Set => item.clone(),
                    List::Map(keys) => {
                        keys.iter().filter_map(|k| Some((k.to_string(), item.get(&**k)?.clone()))).collect()
                    }
                };
                if !seen.insert(shown.to_string()) {
                    out.push(Error::duplicate(&path.index(i), shown));
                }
            }
            if let Some(items) = &s.items {
                let before = Before::new(s, old);
                for (i, item) in list.iter().enumerate() {
                    lists(items, item, before.of(s, item), &path.index(i), out);
                }
            }
        }
        _ => {}
    }
}

fn embedded(v: &Value, path: &Path, out: &mut Vec<Error>) {
    for key in ["apiVersion", "kind"] {
        match v.get(key) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) => out.push(Error::invalid(&path.child(key), "", "must not be empty")),
            None => out.push(Error::required(&path.child(key), "must not be empty")),
            Some(other) => out.push(Error::invalid(&path.child(key), other.clone(), "must be a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_upstreams() {
        for (schema, tree, want) in [
            (
                json!({"type": "integer"}),
                json!("a"),
                r#"x: Invalid value: "string": x in body must be of type integer: "string""#,
            ),
            (json!({"type": "integer"}), json!(1.0), ""),
            (
                json!({"type": "integer"}),
                json!(1.5),
                r#"x: Invalid value: "number": x in body must be of type integer: "number""#,
            ),
            (
                json!({"type": "string"}),
                json!(null),
                r#"x: Invalid value: "null": x in body must be of type string: "null""#,
            ),
            (json!({"type": "string", "nullable": true}), json!(null), ""),
            (json!({"x-kubernetes-int-or-string": true}), json!("80"), ""),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                r#"x: Invalid value: "boolean": x in body must be of type integer,string: "boolean""#,
            ),
            (
                json!({"type": "string", "minLength": 2}),
                json!("a"),
                r#"x: Invalid value: "a": x in body should be at least 2 chars long"#,
            ),
            (json!({"type": "string", "maxLength": 2}), json!("abc"), "x: Too long: may not be more than 2 characters"),
            (
                json!({"type": "string", "pattern": "^a$"}),
                json!("b"),
                r#"x: Invalid value: "b": x in body should match '^a$'"#,
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                r#"x: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!("c"),
                r#"x: Invalid value: "c": x in body must be of type date: "c""#,
            ),
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "x: Invalid value: 0: x in body should be greater than or equal to 1",
            ),
            (
                json!({"type": "integer", "maximum": 10}),
                json!(11),
                "x: Invalid value: 11: x in body should be less than or equal to 10",
            ),
            (
                json!({"type": "number", "maximum": 1, "exclusiveMaximum": true}),
                json!(1),
                "x: Invalid value: 1: x in body should be less than 1",
            ),
            (
                json!({"type": "integer", "multipleOf": 5}),
                json!(7),
                "x: Invalid value: 7: x in body should be a multiple of 5",
            ),
            (
                json!({"type": "array", "minItems": 1}),
                json!([]),
                "x: Invalid value: []: x in body should have at least 1 items",
            ),
            (json!({"type": "array", "maxItems": 1}), json!([1, 2]), "x: Too many: 2: must have at most 1 items"),
            (json!({"type": "object", "required": ["a"]}), json!({}), "x.a: Required value"),
            (
                json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({}),
                r#"<nil>: Invalid value: "": "x" must validate at least one schema (anyOf), x.a: Required value"#,
            ),
            (
                json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({"a": 1, "b": 1}),
                r#"<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ),
            (
                json!({"not": {"required": ["a"]}}),
                json!({"a": 1}),
                r#"<nil>: Invalid value: "": "x" must not validate the schema (not)"#,
            ),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "boolean"}}}}),
                json!([{"a": 1}]),
                r#"x[0].a: Invalid value: "integer": x[0].a in body must be of type boolean: "integer""#,
            ),
        ] {
            let root = Structural::parse(&json!({"type": "object", "properties": {"x": schema}}));
            let errors = validate(&root, &json!({"x": tree}), None);
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts.join(", "), want, "{schema} {tree}");
            assert!(validate(&root, &json!({"x": tree}), Some(&json!({"x": tree, "y": 1}))).is_empty(), "unchanged");
        }
    }

    #[test]
    fn elements_of_sets_and_maps_are_unique() {
        let root = Structural::parse(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "t": {"type": "object", "x-kubernetes-embedded-resource": true},
        }}));
        let tree = json!({"set": ["a", "b", "a"], "map": [{"a": "x"}, {"a": "x", "b": 1}], "t": {"kind": ""}});
        let texts: Vec<String> = validate_lists(&root, &tree, None).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"map[1]: Duplicate value: {"a":"x"}"#,
                r#"set[2]: Duplicate value: "a""#,
                "t.apiVersion: Required value: must not be empty",
                r#"t.kind: Invalid value: "": must not be empty"#
            ]
        );
        assert!(validate_lists(&root, &tree, Some(&tree)).is_empty());
    }
}
