//! `-o custom-columns=NAME:.metadata.name,…`

use api::Value;

use super::tabs::Rows;
use crate::error::{Error, Result};
use crate::jsonpath::{self, Template};

/// Columns that keep their widths over several calls.
pub struct Columns {
    headers: Vec<String>,
    paths: Vec<Template>,
    rows: Rows,
    header_due: bool,
}

impl Columns {
    pub fn parse(spec: &str, no_headers: bool) -> Result<Columns> {
        if spec.is_empty() {
            return Err(Error::other("custom-columns format specified but no custom columns given"));
        }
        let pairs = spec.split(',').map(|column| {
            column.split_once(':').ok_or_else(|| {
                Error::other(format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"))
            })
        });
        Columns::of(pairs.collect::<Result<Vec<_>>>()?, no_headers)
    }

    /// Two lines: headers and paths, apart by spaces.
    pub fn parse_file(text: &str, no_headers: bool) -> Result<Columns> {
        let mut lines = text.lines();
        let words =
            |l: Option<&'_ str>| l.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (headers, paths) = (words(lines.next()), words(lines.next()));
        if headers.len() != paths.len() {
            return Err(Error::other(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            )));
        }
        Columns::of(headers.iter().zip(&paths).map(|(h, p)| (h.as_str(), p.as_str())).collect(), no_headers)
    }

    fn of(pairs: Vec<(&str, &str)>, no_headers: bool) -> Result<Columns> {
        let path = |p: &str| Template::relaxed(p).map_err(Error::other);
        Ok(Columns {
            paths: pairs.iter().map(|(_, p)| path(p)).collect::<Result<_>>()?,
            headers: pairs.into_iter().map(|(h, _)| h.to_owned()).collect(),
            rows: Rows::default(),
            header_due: !no_headers,
        })
    }

    pub fn print(&mut self, v: &Value) -> Result<String> {
        let items = match v.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().collect(),
            None => vec![v],
        };
        let mut rows = Vec::new();
        if std::mem::take(&mut self.header_due) {
            rows.push(self.headers.clone());
        }
        for item in items {
            rows.push(
                self.paths.iter().map(|p| Ok(cell(&p.find(item).map_err(Error::other)?))).collect::<Result<_>>()?,
            );
        }
        Ok(self.rows.add(&rows))
    }
}

/// Values as Go's `%v` prints them.
fn cell(values: &[Value]) -> String {
    if values.is_empty() {
        return "<none>".into();
    }
    values.iter().map(go).collect::<Vec<_>>().join(",")
}

fn go(v: &Value) -> String {
    match v {
        Value::Null => "<none>".into(),
        Value::Array(a) => format!("[{}]", a.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(o) => {
            format!("map[{}]", o.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect::<Vec<_>>().join(" "))
        }
        other => jsonpath::text(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns() {
        let pods = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"containers": [{"image": "x"}, {"image": "y"}]}},
            {"metadata": {"name": "bbbbbb", "labels": {"k": "v"}}}
        ]});
        let mut c =
            Columns::parse("NAME:.metadata.name,IMAGES:spec.containers[*].image,L:.metadata.labels", false).unwrap();
        assert_eq!(
            c.print(&pods).unwrap(),
            "NAME     IMAGES   L\na        x,y      <none>\nbbbbbb   <none>   map[k:v]\n"
        );
        assert!(Columns::parse("NAME", false).is_err());
    }
}
