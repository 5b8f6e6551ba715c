//! Label selectors: upstream's `labels.Selector`, its string form and `metav1.LabelSelector`.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value};

use crate::field;
pub use crate::names::{dns_label, dns_subdomain, dns1035_label, label_value, path_segment, qualified_name};

/// A selector that cannot be understood, in upstream's words. As a [`crate::Status`] it is a `BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

impl From<ParseError> for crate::Status {
    fn from(e: ParseError) -> Self {
        crate::Status::bad_request(e.0)
    }
}

/// Anything that labels can be looked up in.
pub trait Labels {
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<Box<str>, Box<str>> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(|v| &**v)
    }
}
impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}
impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}
impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}
impl<T: Labels> Labels for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

/// `selection.Operator`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: BTreeSet<String>,
}

impl Requirement {
    /// `labels.NewRequirement`: checks the syntax of key and values. `path` roots the errors' fields.
    pub fn new(
        key: &str,
        operator: Operator,
        values: BTreeSet<String>,
        path: Option<&field::Path>,
    ) -> Result<Requirement, Vec<field::Error>> {
        let at = |name| path.map_or(field::Path::root(name), |p| p.child(name));
        let mut errors = Vec::new();
        let wrong = qualified_name(key);
        if !wrong.is_empty() {
            errors.push(field::Error::invalid(&at("key"), key, wrong.join("; ")));
        }
        let list = || Value::from_iter(values.iter().map(String::as_str));
        let path = at("values");
        let complaint = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                "for 'in', 'notin' operators, values set can't be empty"
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                "exact-match compatibility requires one single value"
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                "values set must be empty for exists and does not exist"
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                "for 'Gt', 'Lt' operators, exactly one value is required"
            }
            _ => "",
        };
        if !complaint.is_empty() {
            errors.push(field::Error::invalid(&path, list(), complaint));
        }
        for (i, v) in values.iter().enumerate() {
            let path = path.index(i);
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && v.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(field::Error::invalid(&path, v.as_str(), detail));
            }
            let wrong = label_value(v);
            if !wrong.is_empty() {
                errors.push(field::Error::invalid(&path.key(key), v.as_str(), wrong.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Requirement { key: key.into(), operator, values }) } else { Err(errors) }
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        let label = labels.label(&self.key);
        match self.operator {
            Operator::Equals | Operator::In => label.is_some_and(|v| self.values.contains(v)),
            Operator::NotEquals | Operator::NotIn => label.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
                let (Some(have), Some(bound)) = (label.and_then(|v| v.parse::<i64>().ok()), bound) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { have > bound } else { have < bound }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// All requirements must hold; without any it selects everything. The default is [`Selector::everything`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    nothing: bool,
    requirements: Vec<Requirement>,
}

impl Selector {
    pub fn everything() -> Selector {
        Selector::default()
    }
    pub fn nothing() -> Selector {
        Selector { nothing: true, requirements: Vec::new() }
    }
    /// The string form of `labelSelector=`: `a=b,c!=d,e in (x,y),!f`.
    pub fn parse(text: &str) -> Result<Selector, ParseError> {
        Ok(Selector::of(parse::parse(text)?))
    }
    fn of(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { nothing: false, requirements }
    }
    /// `labels.SelectorFromSet`: each label must be equal. The syntax is not checked.
    pub fn from_set<K: AsRef<str>, V: AsRef<str>>(set: impl IntoIterator<Item = (K, V)>) -> Selector {
        let equals = |(k, v): (K, V)| Requirement {
            key: k.as_ref().into(),
            operator: Operator::Equals,
            values: BTreeSet::from([v.as_ref().into()]),
        };
        Selector::of(set.into_iter().map(equals).collect())
    }
    /// `LabelSelectorAsSelector` of a typed selector: none selects nothing, an empty one everything.
    pub fn from_typed(selector: Option<&LabelSelector>) -> Result<Selector, ParseError> {
        let Some(selector) = selector else { return Ok(Selector::nothing()) };
        let expressions = selector.match_expressions.iter().flatten().map(|e| {
            let values = e.values.iter().flatten().cloned().collect();
            (e.key.as_str(), e.operator.as_str(), values)
        });
        let labels = selector.match_labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
        Selector::from_parts(labels, expressions)
    }
    /// `LabelSelectorAsSelector` of a `metav1.LabelSelector` tree: `null` selects nothing, `{}` everything.
    pub fn from_tree(selector: &Value) -> Result<Selector, ParseError> {
        if selector.is_null() {
            return Ok(Selector::nothing());
        }
        let text = |v: &Value| -> String { v.as_str().unwrap_or_default().into() };
        let expressions: Vec<(String, String, BTreeSet<String>)> = selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| {
                let values = e["values"].as_array().into_iter().flatten().map(text).collect();
                (text(&e["key"]), text(&e["operator"]), values)
            })
            .collect();
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        Selector::from_parts(
            labels.map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())),
            expressions.iter().map(|(k, o, v)| (k.as_str(), o.as_str(), v.clone())),
        )
    }
    fn from_parts<'a>(
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        expressions: impl Iterator<Item = (&'a str, &'a str, BTreeSet<String>)>,
    ) -> Result<Selector, ParseError> {
        let mut requirements = Vec::new();
        let equal = labels.map(|(k, v)| (k, "=", BTreeSet::from([v.to_owned()])));
        for (key, operator, values) in equal.chain(expressions) {
            let operator = match operator {
                "=" => Operator::Equals,
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
            };
            requirements.push(Requirement::new(key, operator, values, None).map_err(aggregate)?);
        }
        Ok(Selector::of(requirements))
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }
    /// Whether it has no requirements.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

/// An `ErrorList` as one text: upstream's `ToAggregate().Error()`.
fn aggregate(errors: Vec<field::Error>) -> ParseError {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    ParseError(if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) })
}

impl FromStr for Selector {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Selector, ParseError> {
        Selector::parse(text)
    }
}

/// The string form, requirements sorted by key, as in a Scale's `status.selector`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            r.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_upstreams() {
        let labels = json!({"a": "b", "n": "5", "x.io/y": ""});
        let cases = [
            ("", true),
            ("a", true),
            ("!a", false),
            ("!z", true),
            ("a=b", true),
            ("a==b", true),
            ("a = b", true),
            ("a=c", false),
            ("a!=c", true),
            ("z!=c", true),
            ("a in (b,c)", true),
            ("a in (c)", false),
            ("a notin (b)", false),
            ("z notin (b)", true),
            ("n>4", true),
            ("n<4", false),
            ("a>4", false),
            ("x.io/y=", true),
            ("x.io/y=,a=b", true),
            ("x.io/y in (,q)", true),
            ("in in (in)", false),
        ];
        for (text, want) in cases {
            let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches(&labels), want, "{text}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        let cases = [
            ("a=b,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            (
                "a in ()",
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), want, "{text}");
        }
        let e = Selector::parse("a/b/c=d").unwrap_err().to_string();
        assert!(
            e.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must"),
            "{e}"
        );
        let e = Selector::parse("a=-").unwrap_err().to_string();
        assert!(e.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label"), "{e}");
    }

    #[test]
    fn label_selector_trees() {
        assert!(!Selector::from_tree(&Value::Null).unwrap().matches(&json!({})));
        assert!(Selector::from_tree(&json!({})).unwrap().matches(&json!({})));
        let s = Selector::from_tree(&json!({"matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["y", "x"]}, {"key": "d", "operator": "Exists"}]}))
        .unwrap();
        assert_eq!(s.to_string(), "a=1,b=2,c notin (x,y),d");
        assert!(s.matches(&json!({"a": "1", "b": "2", "d": ""})));
        let bad = json!({"matchExpressions": [{"key": "c", "operator": "Bad"}]});
        let e = Selector::from_tree(&bad).unwrap_err().to_string();
        assert_eq!(e, "\"Bad\" is not a valid label selector operator");
    }
}
