//! Events. `events.k8s.io/v1` is the same object under other field names: conversion's business.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{UNKNOWN, name, since};
use crate::kinds::tree::{has, number, same, some, text};
use crate::names;
use crate::strategy::{Column, NAME, field_text};

pub(super) struct Event;

impl Strategy for Event {
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, event: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let involved = Path::root("involvedObject");
        let (about, own) = (text(&event["involvedObject"], "namespace"), text(&event["metadata"], "namespace"));
        let new_style = has(event, "eventTime");
        // events about cluster-scoped objects live in `default`
        let fits = match about {
            "" => own == "default" || new_style && own == "kube-system",
            _ => new_style || about == own,
        };
        if !fits {
            errors.push(field::Error::invalid(&involved.child("namespace"), about, "does not match event.namespace"));
        }
        let wrong = names::dns_label(own, false);
        errors.extend(wrong.iter().map(|e| field::Error::invalid(&Path::root("namespace"), own, e)));
        if new_style {
            validate_new_style(&mut errors, event);
        }
        errors
    }

    /// `events.k8s.io/v1` asks for more than the versions before it.
    fn validate_version(&self, version: (&str, &str), new: &Value, old: Option<&Value>) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if version == ("events.k8s.io", "v1") {
            match old {
                None => validate_strictly(&mut errors, new),
                Some(old) => validate_change(&mut errors, new, old),
            }
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            // the names in events.k8s.io
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reportingController",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
    fn select_field(&self, event: &Value, field: &str) -> String {
        let source = || text(&event["source"], "component").to_owned();
        match field {
            "source" if source().is_empty() => text(event, "reportingComponent").into(),
            "source" => source(),
            "reportingController" => text(event, "reportingComponent").into(),
            _ => match field.strip_prefix("regarding.") {
                Some(key) => field_text(&event["involvedObject"], key),
                None => field_text(event, field),
            },
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::new("Last Seen", "string"),
                Column::new("Type", "string"),
                Column::new("Reason", "string"),
                Column::new("Object", "string"),
                Column::wide("Subobject", "string"),
                Column::wide("Source", "string"),
                Column::new("Message", "string"),
                Column::wide("First Seen", "string"),
                Column::wide("Count", "string"),
                Column { priority: 1, ..NAME },
            ]
        }
    }
    fn cells(&self, event: &Value, now_seconds: i64) -> Vec<Value> {
        let time = |key: &str| since(&event[key], now_seconds);
        let first = if has(event, "firstTimestamp") { time("firstTimestamp") } else { time("eventTime") };
        let last = match &event["series"] {
            Value::Null if has(event, "lastTimestamp") => time("lastTimestamp"),
            Value::Null => first.clone(),
            series => since(&series["lastObservedTime"], now_seconds),
        };
        let count = match (&event["series"], number(event, "count")) {
            (Value::Null, 0) => 1,
            (Value::Null, n) => n,
            (series, _) => number(series, "count"),
        };
        let about = &event["involvedObject"];
        let kind = text(about, "kind").to_lowercase();
        let object = if text(about, "name").is_empty() { kind } else { format!("{kind}/{}", text(about, "name")) };
        vec![
            if last.is_empty() { UNKNOWN.into() } else { last.into() },
            text(event, "type").into(),
            text(event, "reason").into(),
            object.into(),
            text(about, "fieldPath").into(),
            source(event).into(),
            text(event, "message").trim().into(),
            first.into(),
            count.into(),
            name(event),
        ]
    }
}

/// `formatEventSource`
fn source(event: &Value) -> String {
    let component = match text(&event["source"], "component") {
        "" => text(event, "reportingComponent"),
        c => c,
    };
    match [text(&event["source"], "host"), text(event, "reportingInstance")].into_iter().find(|h| !h.is_empty()) {
        Some(host) => format!("{component}, {host}"),
        None => component.into(),
    }
}

/// What events written with `eventTime` must have.
fn validate_new_style(errors: &mut Vec<field::Error>, event: &Value) {
    for key in ["reportingComponent", "reportingInstance", "action", "reason"] {
        let (path, value) = (Path::root(key), text(event, key));
        if value.is_empty() {
            errors.push(field::Error::required(&path, ""));
        } else if key == "reportingComponent" {
            errors.extend(names::qualified_name(value).iter().map(|e| field::Error::invalid(&path, value, e)));
        } else if value.len() > 128 {
            errors.push(field::Error::invalid(&path, "", "can have at most 128 characters"));
        }
    }
    if text(event, "message").len() > 1024 {
        errors.push(field::Error::invalid(&Path::root("message"), "", "can have at most 1024 characters"));
    }
}

/// `validateV1EventSeries`
fn validate_series(errors: &mut Vec<field::Error>, event: &Value) {
    let Some(series) = some(event, "series") else { return };
    let path = Path::root("series");
    if number(series, "count") < 2 {
        errors.push(field::Error::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if !has(series, "lastObservedTime") {
        errors.push(field::Error::required(&path.child("lastObservedTime"), ""));
    }
}

/// `ValidateEventCreate` of `events.k8s.io/v1`: nothing of the old style.
fn validate_strictly(errors: &mut Vec<field::Error>, event: &Value) {
    validate_series(errors, event);
    if !has(event, "eventTime") {
        errors.push(field::Error::required(&Path::root("eventTime"), ""));
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(field::Error::invalid(&Path::root("type"), "", format!("has invalid value: {kind}")));
    }
    let source = &event["source"];
    for (key, set) in [
        ("firstTimestamp", has(event, "firstTimestamp")),
        ("lastTimestamp", has(event, "lastTimestamp")),
        ("count", number(event, "count") != 0),
        ("source", !text(source, "component").is_empty() || !text(source, "host").is_empty()),
    ] {
        if set {
            errors.push(field::Error::invalid(&Path::root(key), "", "needs to be unset"));
        }
    }
}

/// `ValidateEventUpdate` of `events.k8s.io/v1`: only its series goes on.
/// The message may change, which v1.36 forbids: upstream's conformance test of v1.20 patches it.
fn validate_change(errors: &mut Vec<field::Error>, new: &Value, old: &Value) {
    if !same(&new["series"], &old["series"]) {
        validate_series(errors, new);
    }
    for key in [
        "involvedObject",
        "reason",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingController",
        "reportingInstance",
    ] {
        let stored = if key == "reportingController" { "reportingComponent" } else { key };
        if !same(&new[stored], &old[stored]) {
            errors.push(field::Error::invalid(&Path::root(key), new[stored].clone(), "field is immutable"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_new_version_asks_for_more() {
        let event = |change: Value| {
            let mut e = json!({"metadata": {"name": "x", "namespace": "n"}, "eventTime": "2026-01-01T00:00:00.000000Z",
                "involvedObject": {"kind": "Pod", "namespace": "n"}, "type": "Normal", "reason": "r", "action": "a",
                "reportingComponent": "c", "reportingInstance": "i"});
            for (k, v) in change.as_object().into_iter().flatten() {
                e[k] = v.clone();
            }
            e
        };
        const NEW: (&str, &str) = ("events.k8s.io", "v1");
        let texts = |all: Vec<field::Error>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (change, want) in [
            (json!({}), ""),
            (json!({"eventTime": null}), "eventTime: Required value"),
            (json!({"type": "Odd"}), "type: Invalid value: \"\": has invalid value: Odd"),
            (json!({"count": 2}), "count: Invalid value: \"\": needs to be unset"),
            (json!({"source": {"host": "h"}}), "source: Invalid value: \"\": needs to be unset"),
            (
                json!({"series": {"count": 1, "lastObservedTime": "x"}}),
                "series.count: Invalid value: \"\": should be at least 2",
            ),
            (json!({"series": {"count": 2}}), "series.lastObservedTime: Required value"),
        ] {
            let got = texts(Event.validate_version(NEW, &event(change.clone()), None)).join("; ");
            assert_eq!(got, want, "{change}");
            assert!(Event.validate_version(("", "v1"), &event(change), None).is_empty());
        }
        let old = event(json!({}));
        let series = event(json!({"series": {"count": 2, "lastObservedTime": "x"}}));
        assert!(Event.validate_version(NEW, &series, Some(&old)).is_empty());
        assert!(Event.validate_version(NEW, &event(json!({"message": "patched"})), Some(&old)).is_empty());
        let other = event(json!({"reportingComponent": "d"}));
        assert_eq!(
            texts(Event.validate_version(NEW, &other, Some(&old))),
            [r#"reportingController: Invalid value: "d": field is immutable"#]
        );
    }

    #[test]
    fn events_read_as_upstreams() {
        let e = json!({"metadata": {"name": "x.1", "namespace": "n"}, "type": "Normal", "reason": "Pulled", "message": "hi ",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "count": 3,
            "firstTimestamp": "1970-01-01T00:00:10Z", "lastTimestamp": "1970-01-01T00:01:10Z",
            "source": {"component": "kubelet", "host": "h"}});
        let row = Event.cells(&e, 100);
        assert_eq!(
            row,
            [
                json!("30s"),
                json!("Normal"),
                json!("Pulled"),
                json!("pod/p"),
                json!(""),
                json!("kubelet, h"),
                json!("hi"),
                json!("90s"),
                json!(3),
                json!("x.1")
            ]
        );
        assert!(Event.validate(&e).is_empty());
        assert_eq!(Event.select_field(&e, "source"), "kubelet");
        assert_eq!(Event.select_field(&e, "involvedObject.name"), "p");
        let mut other = e.clone();
        other["metadata"]["namespace"] = json!("m");
        assert_eq!(
            Event.validate(&other)[0].to_string(),
            r#"involvedObject.namespace: Invalid value: "n": does not match event.namespace"#
        );
    }
}
