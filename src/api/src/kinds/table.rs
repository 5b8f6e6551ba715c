//! What the printers of several kinds share: upstream's `pkg/printers/internalversion`.

use jiff::Timestamp;
use serde_json::Value;

use super::tree::{entries, items, text};
use crate::labels::Selector;
use crate::strategy::{Column, human_duration};

pub(crate) const NONE: &str = "<none>";
pub(crate) const UNSET: &str = "<unset>";
pub(crate) const UNKNOWN: &str = "<unknown>";

pub(crate) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The text, or `<none>`.
pub(crate) fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// Texts with commas, or `<none>`.
pub(crate) fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    or_none(&texts.into_iter().collect::<Vec<_>>().join(","))
}

/// Upstream's `labels.FormatLabels`: `a=1,b=2`, or `<none>`.
pub(crate) fn labels(owner: &Value, key: &str) -> Value {
    let mut pairs: Vec<String> =
        entries(owner, key).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.sort();
    or_none(&pairs.join(","))
}

/// `metav1.FormatLabelSelector`.
pub(crate) fn selector(v: &Value) -> Value {
    match Selector::from_tree(v) {
        Err(_) => "<error>".into(),
        Ok(s) => or_none(&s.to_string()),
    }
}

/// The names and the images of a template's containers.
pub(crate) fn containers(pod_spec: &Value) -> [Value; 2] {
    let column = |field| {
        let texts: Vec<&str> = items(pod_spec, "containers").iter().map(|c| text(c, field)).collect();
        Value::String(texts.join(","))
    };
    [column("name"), column("image")]
}

pub(crate) fn timestamp(v: &Value) -> Option<i64> {
    v.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// `translateTimestampSince`, `<unknown>` without one.
pub(crate) fn since(v: &Value, now_seconds: i64) -> String {
    timestamp(v).map_or(UNKNOWN.into(), |t| human_duration(now_seconds - t))
}

/// A number that is absent when it is 0.
pub(crate) fn count(v: &Value) -> Value {
    v.as_i64().unwrap_or_default().into()
}

/// `<unset>`, or the text.
pub(crate) fn or_unset(v: &Value) -> Value {
    match v {
        Value::Null => UNSET.into(),
        other => other.clone(),
    }
}

/// What the default convertor shows beside the name: `Created At`.
pub(crate) const CREATED_AT: Column = Column::new("Created At", "date");

pub(crate) fn created_at(object: &Value) -> Value {
    object["metadata"]["creationTimestamp"].clone()
}

/// `listWithMoreString`: at most three of them.
pub(crate) fn at_most_three(all: &[String]) -> Value {
    let head = all.iter().take(3).cloned().collect::<Vec<_>>().join(",");
    match all.len() {
        0 => UNSET.into(),
        n if n > 3 => format!("{head} + {} more...", n - 3).into(),
        _ => head.into(),
    }
}
