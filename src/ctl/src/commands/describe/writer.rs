//! Lines with levels and tabs; the columns are aligned when all is written.

use api::Value;

use crate::objects::text;
use crate::print::tabs::align;

#[derive(Default)]
pub struct Out {
    text: String,
}

impl Out {
    /// A line, two spaces in a level. The text brings its own newline where one belongs there.
    pub fn put(&mut self, level: usize, line: impl AsRef<str>) {
        self.text.extend(std::iter::repeat_n("  ", level));
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }
    /// `Label:\tvalue`
    pub fn field(&mut self, level: usize, label: &str, value: impl AsRef<str>) {
        self.put(level, format!("{label}:\t{}", value.as_ref()));
    }
    /// The same where there is a value.
    pub fn some(&mut self, level: usize, label: &str, value: &str) {
        if !value.is_empty() {
            self.field(level, label, value);
        }
    }
    /// A table with its header underlined.
    pub fn table(&mut self, level: usize, headers: &[&str], rows: &[Vec<String>]) {
        self.put(level, headers.join("\t"));
        self.put(level, headers.iter().map(|h| "-".repeat(h.len())).collect::<Vec<_>>().join("\t"));
        rows.iter().for_each(|r| self.put(level, r.join("\t")));
    }
    /// The text with its tabs.
    pub fn raw(self) -> String {
        self.text
    }
    pub fn finish(self) -> String {
        align(&self.text)
    }

    pub fn name(&mut self, o: &Value) {
        self.field(0, "Name", text(o, "/metadata/name"));
    }
    pub fn namespace(&mut self, o: &Value) {
        self.field(0, "Namespace", text(o, "/metadata/namespace"));
    }
    /// `Labels:`, one a line.
    pub fn labels(&mut self, level: usize, label: &str, v: &Value) {
        let mut all: Vec<String> = v
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect();
        all.sort();
        if all.is_empty() {
            all.push("<none>".into());
        }
        for (i, line) in all.iter().enumerate() {
            if i == 0 { self.field(level, label, line) } else { self.put(level, format!("\t{line}")) }
        }
    }
    /// `Annotations:`, long ones under their keys; without the last-applied configuration.
    pub fn annotations(&mut self, level: usize, v: &Value) {
        let mut first = true;
        let all = v.as_object().into_iter().flatten();
        for (key, value) in all.filter(|(k, _)| *k != crate::commands::apply::LAST_APPLIED) {
            let head = if std::mem::take(&mut first) { "Annotations:\t" } else { "\t" };
            let value = value.as_str().unwrap_or_default().trim_end_matches('\n');
            if value.len() + key.len() + 2 > 140 || value.contains('\n') {
                self.put(level, format!("{head}{key}:"));
                for line in value.split('\n') {
                    self.put(level, format!("\t  {}", shorten(line, 138)));
                }
            } else {
                self.put(level, format!("{head}{key}: {value}"));
            }
        }
        if first {
            self.field(level, "Annotations", "<none>");
        }
    }
}

fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Texts of a list, apart by commas; `<none>`.
pub fn joined(v: &Value, separator: &str) -> String {
    let all: Vec<&str> = v.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if all.is_empty() { "<none>".into() } else { all.join(separator) }
}

/// A time as Go's RFC1123Z, here: `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(t) => t.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// How long ago, as in tables.
pub fn since(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(t) => api::human_duration(jiff::Timestamp::now().as_second() - t.as_second()),
        Err(_) => "<unknown>".into(),
    }
}

/// A label selector, as kubectl prints it.
pub fn selector(v: &Value) -> String {
    if v.is_null() {
        return "<none>".into();
    }
    // a service's or a replication controller's is a plain map
    let plain = v.get("matchLabels").is_none() && v.get("matchExpressions").is_none();
    let labels = if plain { v } else { &v["matchLabels"] };
    let mut parts: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for e in crate::objects::list(v, "/matchExpressions") {
        let (key, values) = (text(e, "/key"), joined(&e["values"], ","));
        parts.push(match text(e, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    if parts.is_empty() { "<none>".into() } else { parts.join(",") }
}

/// A value as a field shows it: texts bare, nothing as nothing.
pub fn plain(v: &Value) -> String {
    match v {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}
