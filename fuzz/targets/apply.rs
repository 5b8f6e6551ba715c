//! Server-side apply: `[live, config]`. What has been applied once changes nothing the second time, and an update of what
//! somebody applied keeps what the fields are. (What nobody owns is another matter: below a field that is owned alone it is
//! taken, as upstream takes it, for part of what was atomic, and goes with the second apply.)
#![no_main]

use api::Value;
use api::apply::{self, Writer};
use api::crd::Structural;
use api::schema::{self, Schema};
use libfuzzer_sys::fuzz_target;

fn both(schema: Schema<'_>, live: &Value, config: &Value) {
    let (mut live, mut config) = (live.clone(), config.clone());
    if schema.check(&mut live).is_err() || schema.check(&mut config).is_err() {
        return;
    }
    let writer = Writer {
        manager: "kubectl",
        api_version: "v1",
        subresource: "",
        now: "2020-01-01T00:00:00Z",
        has_status: true,
    };
    let _ = apply::apply(schema, Some(&live), &config, &writer, false);
    // entries of the input's making leave fields without an owner: all of them get one
    let mut whole = live.clone();
    let metadata = whole.get_mut("metadata").and_then(Value::as_object_mut);
    if metadata.and_then(|m| m.remove("managedFields")).is_some() {
        let owner = Writer { manager: "owner", ..writer };
        let Ok(owned) = apply::apply(schema, Some(&live), &whole, &owner, true) else { return };
        live = owned;
    }
    let Ok(once) = apply::apply(schema, Some(&live), &config, &writer, true) else { return };
    // where nobody owns anything, the next apply is the first
    if once["metadata"].get("managedFields").is_none() {
        return;
    }
    let later = Writer { now: "2021-01-01T00:00:00Z", ..writer };
    let twice = apply::apply(schema, Some(&once), &config, &later, false).expect("nobody else owns it");
    assert_eq!(twice, once);
    let mut new = live.clone();
    apply::record(schema, &once, &mut new, &Writer { manager: "u", ..later });
    if let Ok(first) = apply::apply(schema, None, &config, &writer, false) {
        apply::record(schema, &first, &mut live, &later);
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(Value::Array(pair)) = serde_json::from_slice(data) else { return };
    let [live, config] = pair.as_slice() else { return };
    if !live.is_object() || !config.is_object() {
        return;
    }
    both(schema::find("io.k8s.api.core.v1.Pod").expect("a known type").into(), live, config);
    let custom = serde_json::json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
        "free": {"x-kubernetes-preserve-unknown-fields": true}}}}});
    both(Schema::Custom(&Structural::parse(&custom)), live, config);
});
