//! The events of an object.

use api::Value;

use super::writer::{Out, since};
use crate::error::{Error, Result};
use crate::objects::text;
use crate::session::Session;

/// The core events about an object, oldest first.
pub async fn of(s: &Session, o: &Value) -> Result<Vec<Value>> {
    let field = |name: &str, pointer: &str| {
        let value = text(o, pointer);
        (!value.is_empty()).then(|| format!("involvedObject.{name}={value}"))
    };
    let uid = match text(o, "/kind") {
        // the kubelet names its node by name
        "Node" => field("kind", "/kind"),
        _ => field("uid", "/metadata/uid"),
    };
    let fields: Vec<String> = [field("name", "/metadata/name"), field("namespace", "/metadata/namespace"), uid]
        .into_iter()
        .flatten()
        .collect();
    let mapping = s.mapping("events").await?;
    let namespace = text(o, "/metadata/namespace");
    match s.list(&mapping, namespace, &[("fieldSelector", &fields.join(",")), ("limit", "500")]).await {
        Ok(mut all) => {
            let mut events = match all["items"].take() {
                Value::Array(events) => events,
                _ => Vec::new(),
            };
            events.sort_by_cached_key(|e| last(e).to_owned());
            Ok(events)
        }
        // may see the object and not its events
        Err(Error::Status(_)) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

pub fn last(e: &Value) -> &str {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .into_iter()
        .map(|p| text(e, p))
        .find(|t| !t.is_empty())
        .unwrap_or_default()
}

pub fn describe(w: &mut Out, events: &[Value]) {
    if events.is_empty() {
        w.field(0, "Events", "<none>");
        return;
    }
    w.put(0, "Events:");
    let row = |e: &Value| {
        let first = ["/firstTimestamp", "/eventTime"]
            .into_iter()
            .map(|p| text(e, p))
            .find(|t| !t.is_empty())
            .unwrap_or_default();
        let series = e["series"]["count"].as_i64();
        let age = match series.or(e["count"].as_i64().filter(|n| *n > 1)) {
            None => since(first),
            Some(n) => format!("{} (x{n} over {})", since(last(e)), since(first)),
        };
        let source = text(e, "/source/component");
        let from = if source.is_empty() { text(e, "/reportingComponent") } else { source };
        vec![
            text(e, "/type").to_owned(),
            text(e, "/reason").to_owned(),
            age,
            from.to_owned(),
            text(e, "/message").trim().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = events.iter().map(row).collect();
    w.put(1, "Type\tReason\tAge\tFrom\tMessage");
    w.put(1, "----\t------\t----\t----\t-------");
    rows.iter().for_each(|r| w.put(1, r.join("\t")));
}
