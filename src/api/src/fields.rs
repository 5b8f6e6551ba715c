//! Field selectors: upstream's `fields.Selector`.

use std::cell::OnceCell;

use serde_json::Value;

use crate::labels::ParseError;
use crate::{Kind, Object, Strategy};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// `a=b,c!=d`. All terms must hold; without any it selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// `fields.ParseSelector`. The names of the fields are not checked: [`FieldSelector::check`].
    pub fn parse(text: &str) -> Result<FieldSelector, ParseError> {
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|p| !p.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(ParseError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(Term { field: field.into(), value: unescape(value)?, equal });
        }
        Ok(FieldSelector { terms })
    }

    /// Parses and checks that the kind's fields can be selected; the errors are what clients get.
    pub fn for_kind(text: &str, kind: &Kind) -> Result<FieldSelector, ParseError> {
        let selector = FieldSelector::parse(text)?;
        selector.check(kind.strategy.as_ref())?;
        Ok(selector)
    }

    /// Errors in upstream's words if a field is not selectable.
    pub fn check(&self, strategy: &dyn Strategy) -> Result<(), ParseError> {
        for Term { field, .. } in &self.terms {
            if !matches!(field.as_str(), "metadata.name" | "metadata.namespace") && !strategy.is_selectable(field) {
                return Err(ParseError(strategy.unselectable(field)));
            }
        }
        Ok(())
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// Whether it looks at more than the object's name and place, which are the same in every version.
    pub fn looks_inside(&self) -> bool {
        self.terms.iter().any(|t| !matches!(t.field.as_str(), "metadata.name" | "metadata.namespace"))
    }
    /// The value that `field` must equal, if the selector says so: lets a list by `metadata.name` be a get.
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether a stored object is selected.
    pub fn matches(&self, strategy: &dyn Strategy, object: &Object) -> bool {
        let tree = OnceCell::new();
        self.terms.iter().all(|t| {
            let known = match t.field.as_str() {
                "metadata.name" => Some(object.name()),
                "metadata.namespace" => Some(object.namespace()),
                field => strategy.stored_field(object, field),
            };
            let is = match known {
                Some(value) => value == t.value,
                None => strategy.select_field(tree.get_or_init(|| object.tree()), &t.field) == t.value,
            };
            is == t.equal
        })
    }
    /// Whether a tree in the storage version is selected.
    pub fn matches_tree(&self, strategy: &dyn Strategy, object: &Value) -> bool {
        let meta = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        self.holds(|field| match field {
            "metadata.name" => meta("name"),
            "metadata.namespace" => meta("namespace"),
            _ => strategy.select_field(object, field),
        })
    }
    fn holds(&self, value: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|t| (value(&t.field) == t.value) == t.equal)
    }
}

/// At commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.char_indices().map(|(i, _)| i).find(|i| {
        let rest = &term[*i..];
        rest.starts_with("!=") || rest.starts_with('=')
    })?;
    let (field, rest) = term.split_at(at);
    let (equal, value) = match rest.strip_prefix("!=") {
        Some(value) => (false, value),
        None => (true, rest.strip_prefix("==").or(rest.strip_prefix('='))?),
    };
    Some((field, equal, value))
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(ParseError(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            ',' | '=' => {
                return Err(ParseError(format!("invalid field selector: unescaped character in value: {}", c as u32)));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoStrategy, Strategy};
    use serde_json::json;

    struct Pods;
    impl Strategy for Pods {
        fn selectable_fields(&self) -> &'static [&'static str] {
            &["spec.nodeName", "status.phase"]
        }
    }

    #[test]
    fn fields_select() {
        let pod = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "x,y"}, "status": {}});
        let cases = [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=n", true),
            ("metadata.name!=a", false),
            ("spec.nodeName=x\\,y", true),
            ("spec.nodeName=x", false),
            ("status.phase=", true),
            ("status.phase!=Running", true),
        ];
        for (text, want) in cases {
            let s = FieldSelector::parse(text).unwrap();
            s.check(&Pods).unwrap();
            assert_eq!(s.matches_tree(&Pods, &pod), want, "{text}");
        }
        assert_eq!(FieldSelector::parse("metadata.name=a").unwrap().requires("metadata.name"), Some("a"));
    }

    #[test]
    fn errors_are_upstreams() {
        let of = |t: &str, s: &dyn Strategy| FieldSelector::parse(t).and_then(|f| f.check(s)).unwrap_err().to_string();
        assert_eq!(of("foo", &Pods), "invalid selector: 'foo'; can't understand 'foo'");
        assert_eq!(of("x=1", &Pods), "field label not supported: x");
        assert_eq!(
            of("x=1", &NoStrategy),
            r#""x" is not a known field selector: only "metadata.name", "metadata.namespace""#
        );
        assert_eq!(of("x=a\\b", &Pods), "invalid field selector: invalid escape sequence: \\b");
    }
}
