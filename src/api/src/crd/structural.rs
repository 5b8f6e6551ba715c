//! The schema of a custom resource as the server keeps it: without descriptions, ready to prune, default and validate.

use serde_json::{Map, Value};

use crate::cel::Rule;

/// `type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Type {
    /// None is said.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub fn parse(text: &str) -> Type {
        match text {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => Type::Any,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Type::Any => "",
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// `x-kubernetes-list-type`; atomic where nothing is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum List {
    #[default]
    Atomic,
    Set,
    /// With `x-kubernetes-list-map-keys`.
    Map(Box<[Box<str>]>),
}

/// `additionalProperties`
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Additional {
    #[default]
    None,
    /// `true`
    Any,
    Schema(Box<Structural>),
}

/// A structural schema: upstream's `schema.Structural`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Structural {
    pub kind: Type,
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
    /// There is a default here or below.
    pub has_defaults: bool,
    pub list: List,
    pub additional: Additional,
    pub default: Option<Box<Value>>,
    pub items: Option<Box<Structural>>,
    /// Ordered by name.
    pub properties: Box<[(Box<str>, Structural)]>,
    pub checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`
    pub rules: Box<[Rule]>,
}

/// What a value must satisfy beside its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checks {
    pub format: Box<str>,
    pub pattern: Box<str>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub required: Box<[Box<str>]>,
    pub allowed: Box<[Value]>,
    pub all_of: Box<[Structural]>,
    pub any_of: Box<[Structural]>,
    pub one_of: Box<[Structural]>,
    pub not: Option<Box<Structural>>,
}

fn text(v: &Value, key: &str) -> Box<str> {
    v[key].as_str().unwrap_or_default().into()
}

fn flag(v: &Value, key: &str) -> bool {
    v[key].as_bool().unwrap_or(false)
}

fn texts(v: &Value, key: &str) -> Box<[Box<str>]> {
    v[key].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(Into::into)).collect()
}

impl Structural {
    /// From `openAPIV3Schema`. What is not structural in it is ignored: the kind's validation refuses that.
    pub fn parse(v: &Value) -> Structural {
        let items = v.get("items").filter(|i| i.is_object()).map(|i| Box::new(Structural::parse(i)));
        let mut properties: Vec<(Box<str>, Structural)> = Vec::new();
        for (name, p) in v["properties"].as_object().into_iter().flatten() {
            properties.push((name.as_str().into(), Structural::parse(p)));
        }
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        let additional = match v.get("additionalProperties") {
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema @ Value::Object(_)) => Additional::Schema(Box::new(Structural::parse(schema))),
            _ => Additional::None,
        };
        let list = match v["x-kubernetes-list-type"].as_str() {
            Some("set") => List::Set,
            Some("map") => List::Map(texts(v, "x-kubernetes-list-map-keys")),
            _ => List::Atomic,
        };
        let default = v.get("default").map(|d| Box::new(d.clone()));
        let has_defaults = default.is_some()
            || items.as_ref().is_some_and(|i| i.has_defaults)
            || properties.iter().any(|(_, p)| p.has_defaults)
            || matches!(&additional, Additional::Schema(s) if s.has_defaults);
        Structural {
            kind: Type::parse(v["type"].as_str().unwrap_or_default()),
            nullable: flag(v, "nullable"),
            int_or_string: flag(v, "x-kubernetes-int-or-string"),
            preserve: flag(v, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(v, "x-kubernetes-embedded-resource"),
            atomic: v["x-kubernetes-map-type"] == "atomic",
            has_defaults,
            list,
            additional,
            default,
            items,
            properties: properties.into(),
            checks: Checks::parse(v),
            rules: v["x-kubernetes-validations"].as_array().into_iter().flatten().map(Rule::parse).collect(),
        }
    }

    /// A schema that takes anything.
    pub fn anything() -> Structural {
        Structural { kind: Type::Object, preserve: true, ..Structural::default() }
    }

    pub fn property(&self, name: &str) -> Option<&Structural> {
        self.properties.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|i| &self.properties[i].1)
    }
    /// Of a member of an object: its property's, else that of all others.
    pub fn member(&self, name: &str) -> Option<&Structural> {
        self.property(name).or(match &self.additional {
            Additional::Schema(s) => Some(s),
            _ => None,
        })
    }

    /// Sets `preserve` here and, where `all`, in everything below: `spec.preserveUnknownFields` of old definitions.
    pub fn preserve_all(&mut self) {
        self.preserve = true;
        if let Some(items) = &mut self.items {
            items.preserve_all();
        }
        self.properties.iter_mut().for_each(|(_, p)| p.preserve_all());
        if let Additional::Schema(s) = &mut self.additional {
            s.preserve_all();
        }
    }
}

impl Checks {
    fn parse(v: &Value) -> Option<Box<Checks>> {
        let number = |key: &str| v[key].as_f64();
        let count = |key: &str| v[key].as_u64();
        let all = |key: &str| -> Box<[Structural]> {
            v[key].as_array().into_iter().flatten().map(Structural::parse).collect()
        };
        let checks = Checks {
            format: text(v, "format"),
            pattern: text(v, "pattern"),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag(v, "exclusiveMinimum"),
            exclusive_maximum: flag(v, "exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: texts(v, "required"),
            allowed: v["enum"].as_array().cloned().unwrap_or_default().into(),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: v.get("not").filter(|n| n.is_object()).map(|n| Box::new(Structural::parse(n))),
        };
        (checks != Checks::default()).then(|| Box::new(checks))
    }
}

/// The members that every object has beside its schema's.
pub(crate) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Null, where the schema has no place for it.
fn is_wrong_null(v: &Value, s: &Structural) -> bool {
    v.is_null() && !s.nullable
}

/// Removes what the schema does not know and returns the paths: upstream's `pruning.Prune`. The root is an embedded resource.
pub fn prune(tree: &mut Value, schema: &Structural) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_value(tree, Some(schema), true, &mut String::new(), &mut unknown);
    unknown
}

/// How many unknown fields are told.
const MAX_UNKNOWN: usize = 100;

fn prune_value(v: &mut Value, s: Option<&Structural>, root: bool, path: &mut String, unknown: &mut Vec<String>) {
    let preserve = s.is_some_and(|s| s.preserve);
    let mark = path.len();
    match v {
        Value::Object(o) => {
            let embedded = root || s.is_some_and(|s| s.embedded);
            o.retain(|key, v| {
                if embedded && is_meta(key) {
                    return true;
                }
                let known = s.map(|s| (s.member(key), matches!(s.additional, Additional::Any)));
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                let keep = match known {
                    Some((Some(below), _)) => {
                        prune_value(v, Some(below), false, path, unknown);
                        true
                    }
                    Some((None, true)) => {
                        if !preserve {
                            prune_value(v, None, false, path, unknown);
                        }
                        true
                    }
                    _ if preserve => true,
                    _ => {
                        if unknown.len() < MAX_UNKNOWN {
                            unknown.push(format!("unknown field \"{path}\""));
                        }
                        false
                    }
                };
                path.truncate(mark);
                keep
            });
        }
        Value::Array(list) => {
            let items = s.and_then(|s| s.items.as_deref());
            if preserve && items.is_none() {
                return;
            }
            for (i, v) in list.iter_mut().enumerate() {
                path.push_str(&format!("[{i}]"));
                prune_value(v, items, false, path, unknown);
                path.truncate(mark);
            }
        }
        _ => {}
    }
}

/// Fills in defaults, and drops nulls that the schema has no place for: upstream's `PruneNonNullableNullsWithoutDefaults`
/// and `Default`.
pub fn default(v: &mut Value, s: &Structural) {
    match v {
        Value::Object(o) => {
            defaults_of(o, s);
            o.retain(|key, v| match s.member(key) {
                Some(below) if is_wrong_null(v, below) => match &below.default {
                    Some(default) => {
                        *v = (**default).clone();
                        true
                    }
                    None => false,
                },
                _ => true,
            });
            for (key, v) in o.iter_mut() {
                if let Some(below) = s.member(key) {
                    default(v, below);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &s.items else { return };
            for v in list {
                match &items.default {
                    Some(d) if is_wrong_null(v, items) => *v = (**d).clone(),
                    _ => {}
                }
                default(v, items);
            }
        }
        _ => {}
    }
}

fn defaults_of(o: &mut Map<String, Value>, s: &Structural) {
    for (name, p) in s.properties.iter() {
        let Some(d) = &p.default else { continue };
        if o.get(&**name).is_none_or(|v| is_wrong_null(v, p)) {
            o.insert(name.to_string(), (**d).clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_go_where_nothing_preserves_them() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "string"},
                "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"strict": {"type": "object", "properties": {"x": {"type": "integer"}}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"v": {"type": "string"}}}},
                "any": {"type": "object", "additionalProperties": true},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            }},
        }}));
        let mut tree = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "extra": 1,
            "spec": {"a": "x", "b": 1, "raw": {"free": {"y": 1}, "strict": {"x": 1, "z": 2}},
                "map": {"m": {"v": "1", "w": 2}}, "any": {"s": "1", "o": {"gone": 1}},
                "template": {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {}}, "spec": {"gone": 1}, "gone": 2},
                "list": [{"k": "1", "l": 2}]}});
        let mut unknown = prune(&mut tree, &schema);
        unknown.sort();
        assert_eq!(
            tree,
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {"a": "x", "raw": {"free": {"y": 1}, "strict": {"x": 1}}, "map": {"m": {"v": "1"}}, "any": {"s": "1", "o": {}},
                "template": {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {}}, "spec": {}}, "list": [{"k": "1"}]}})
        );
        let want = [
            "extra",
            "spec.any.o.gone",
            "spec.b",
            "spec.list[0].l",
            "spec.map.m.w",
            "spec.raw.strict.z",
            "spec.template.gone",
            "spec.template.spec.gone",
        ];
        assert_eq!(unknown, want.map(|f| format!("unknown field \"{f}\"")));
    }

    #[test]
    fn defaults_fill_what_is_missing() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "object", "default": {}, "properties": {"c": {"type": "string", "default": "d"}}},
            "e": {"type": "object", "properties": {"f": {"type": "string", "default": "g"}}},
            "n": {"type": "string", "nullable": true, "default": "x"},
            "z": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string", "default": "v"}}}},
        }}));
        assert!(schema.has_defaults);
        for (tree, want) in [
            (json!({}), json!({"a": 1, "b": {"c": "d"}, "n": "x"})),
            (json!({"a": null, "n": null, "z": null}), json!({"a": 1, "b": {"c": "d"}, "n": null})),
            (
                json!({"e": {}, "list": [{}], "a": 2, "n": "y"}),
                json!({"a": 2, "b": {"c": "d"}, "e": {"f": "g"}, "list": [{"k": "v"}], "n": "y"}),
            ),
        ] {
            let mut got = tree.clone();
            default(&mut got, &schema);
            assert_eq!(got, want, "{tree}");
        }
    }
}
