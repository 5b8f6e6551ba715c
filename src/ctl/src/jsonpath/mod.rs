//! kubectl's JSONPath templates, as `k8s.io/client-go/util/jsonpath` has them.
//!
//! ```text
//!   {range .items[?(@.kind=="Pod")]}{.metadata.name}{"\t"}{..image}{"\n"}{end}
//! ```
//!
//! A field that is missing gives nothing; an index out of bounds is an error.

mod eval;
mod parse;

use api::Value;

/// A parsed template: texts and actions.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Node>),
    Range(Vec<Node>, Vec<Part>),
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Field(String),
    Wildcard,
    Recursive,
    Literal(Value),
    /// `[from:to:step]`
    Slice(Option<i64>, Option<i64>, i64),
    /// `[index]`
    Index(i64),
    /// `[a,b]`
    Union(Vec<Vec<Node>>),
    Filter(Vec<Node>, Option<(Operator, Vec<Node>)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    pub fn parse(text: &str) -> Result<Template, String> {
        parse::template(text)
    }

    /// A single path, with or without braces and its first dot: `RelaxedJSONPathExpression`.
    pub fn relaxed(text: &str) -> Result<Template, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        if inner.contains(['{', '}']) {
            return Err(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'".into(),
            );
        }
        let dot = if inner.starts_with(['.', '[', '$', '@']) { "" } else { "." };
        Template::parse(&format!("{{{dot}{inner}}}"))
    }

    /// What the template prints of `v`.
    pub fn render(&self, v: &Value) -> Result<String, String> {
        let mut out = String::new();
        eval::render(&self.parts, v, &mut out)?;
        Ok(out)
    }

    /// The values that the template's paths find, for columns, sorting and waiting.
    pub fn find(&self, v: &Value) -> Result<Vec<Value>, String> {
        let mut found = Vec::new();
        for part in &self.parts {
            if let Part::Path(path) = part {
                found.extend(eval::path(path, v)?);
            }
        }
        Ok(found)
    }
}

/// As a template prints one value: texts bare, objects and lists as JSON.
pub fn text(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store() -> Value {
        json!({
            "kind": "List", "n": 3, "on": true, "none": null, "a.b": "dotted",
            "items": [
                {"kind": "Pod", "metadata": {"name": "p1", "labels": {"app": "x", "k8s.io/y": "z"}}, "spec": {"nice": 1}},
                {"kind": "Pod", "metadata": {"name": "p2"}, "spec": {"nice": 5}},
                {"kind": "Svc", "metadata": {"name": "s1"}}
            ],
            "words": ["a", "b", "c", "d"]
        })
    }

    #[test]
    fn templates() {
        let cases = [
            ("plain", "plain"),
            ("{.kind}", "List"),
            ("{ .kind }", "List"),
            ("{$.kind}{@.n}", "List3"),
            ("kind is {.kind}, {.on}", "kind is List, true"),
            ("{.items[*].metadata.name}", "p1 p2 s1"),
            ("{.items[0].metadata.name}", "p1"),
            ("{.items[-1].metadata.name}", "s1"),
            ("{.items[-1:].metadata.name}", "s1"),
            ("{.words[1:3]}", "b c"),
            ("{.words[:2]}", "a b"),
            ("{.words[0:4:2]}", "a c"),
            ("{.words[0,2]}", "a c"),
            ("{.words}", r#"["a","b","c","d"]"#),
            ("{['kind','n']}", "List 3"),
            ("{.items[0]['kind', 'metadata']['name']}", "p1"),
            ("{.items[0].metadata.labels.k8s\\.io/y}", "z"),
            ("{.items[0].metadata.labels['k8s\\.io/y']}", "z"),
            ("{.items[0].metadata.labels['app']}", "x"),
            ("{.a\\.b}", "dotted"),
            ("{..name}", "p1 p2 s1"),
            ("{.items..nice}", "1 5"),
            ("{.items[0].spec.*}", "1"),
            ("{.items[?(@.kind==\"Pod\")].metadata.name}", "p1 p2"),
            ("{.items[?(@.kind=='Svc')].metadata.name}", "s1"),
            ("{.items[?(@.kind != 'Pod')].metadata.name}", "s1"),
            ("{.items[?(@.spec.nice>1)].metadata.name}", "p2"),
            ("{.items[?(@.spec.nice<=5)].metadata.name}", "p1 p2"),
            ("{.items[?(@.spec)].metadata.name}", "p1 p2"),
            ("{range .items[*]}{.metadata.name}{\"\\n\"}{end}", "p1\np2\ns1\n"),
            ("{range .items[*]}{.kind}:{range .metadata.labels}{.app}{end};{end}", "Pod:x;Pod:;Svc:;"),
            ("{range .items[*]}[{.metadata.name}, {.spec.nice}] {end}", "[p1, 1] [p2, 5] [s1, ] "),
            ("{.missing}|{.missing.too}", "|"),
            ("{.none}", "null"),
            ("{'it\\'s'}", "it's"),
            ("{\"tab\\t\"}", "tab\t"),
        ];
        for (template, want) in cases {
            let got = Template::parse(template).and_then(|t| t.render(&store()));
            assert_eq!(got.as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(
            Template::parse("{.words[9]}").unwrap().render(&store()).unwrap_err(),
            "array index out of bounds: index 9, length 4"
        );
        for bad in ["{.a", "{range .items[*]}x", "{end}", "{.a[0}", "{.a[?(@.x==]}", "{\"x}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn relaxed() {
        for path in ["metadata.name", ".metadata.name", "{.metadata.name}", "{metadata.name}"] {
            let t = Template::relaxed(path).unwrap();
            assert_eq!(t.find(&store()["items"][0]).unwrap(), [json!("p1")], "{path}");
        }
        assert!(Template::relaxed("{.a}{.b}").is_err());
    }
}
