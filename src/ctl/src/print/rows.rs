//! The tables that the server makes, laid out as `get` prints them.

use api::Value;

use super::tabs::Rows;
use crate::mapping::Mapping;
use crate::objects::{list, text};

/// What to show beside the server's columns.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub wide: bool,
    pub no_headers: bool,
    pub with_namespace: bool,
    pub with_kind: bool,
    pub show_labels: bool,
    pub label_columns: Vec<String>,
}

/// Prints the tables of one type, with the headers once.
pub struct TablePrinter<'a> {
    options: &'a Options,
    mapping: &'a Mapping,
    rows: Rows,
    columns: Vec<Value>,
    header_due: bool,
}

impl<'a> TablePrinter<'a> {
    pub fn new(options: &'a Options, mapping: &'a Mapping) -> TablePrinter<'a> {
        TablePrinter { options, mapping, rows: Rows::default(), columns: Vec::new(), header_due: !options.no_headers }
    }

    /// The text of a `Table`. Later ones of a watch need no column definitions.
    pub fn print(&mut self, table: &Value) -> String {
        if let [_, ..] = list(table, "/columnDefinitions") {
            self.columns = list(table, "/columnDefinitions").to_vec();
        }
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|i| self.options.wide || self.columns[*i]["priority"].as_i64().unwrap_or(0) == 0)
            .collect();
        let mut rows = Vec::new();
        if std::mem::take(&mut self.header_due) {
            rows.push(self.header(&shown));
        }
        rows.extend(list(table, "/rows").iter().map(|row| self.row(row, &shown)));
        self.rows.add(&rows)
    }

    fn header(&self, shown: &[usize]) -> Vec<String> {
        let mut header: Vec<String> = Vec::new();
        if self.options.with_namespace {
            header.push("NAMESPACE".into());
        }
        header.extend(shown.iter().map(|i| text(&self.columns[*i], "/name").to_uppercase()));
        header.extend(self.options.label_columns.iter().map(|l| l.rsplit('/').next().unwrap_or(l).to_uppercase()));
        if self.options.show_labels {
            header.push("LABELS".into());
        }
        header
    }

    fn row(&self, row: &Value, shown: &[usize]) -> Vec<String> {
        let mut cells = Vec::new();
        let meta = &row["object"]["metadata"];
        if self.options.with_namespace {
            cells.push(text(meta, "/namespace").to_owned());
        }
        for &i in shown {
            let mut text = cell(&row["cells"][i]);
            if self.options.with_kind && self.columns[i]["format"] == "name" {
                text = format!("{}/{text}", self.mapping.short());
            }
            cells.push(text);
        }
        for label in &self.options.label_columns {
            cells.push(meta["labels"].get(label).and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        if self.options.show_labels {
            cells.push(labels(&meta["labels"]));
        }
        cells
    }
}

/// `a=b,c=d`, `<none>`
pub fn labels(v: &Value) -> String {
    let all: Vec<String> =
        v.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

fn cell(v: &Value) -> String {
    match v {
        Value::Null => String::new(),
        // one line, whatever is in it
        Value::String(s) => match s.find(['\n', '\r', '\u{c}']) {
            Some(end) => format!("{}...", &s[..end]),
            None => s.clone(),
        },
        other => other.to_string(),
    }
}
