//! Names, labels and annotation keys, beside upstream's regular expressions.
#![no_main]

use std::sync::LazyLock;

use api::{Value, kinds, names};
use libfuzzer_sys::fuzz_target;
use regex::Regex;

fn is(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a pattern")
}
static LABEL: LazyLock<Regex> = LazyLock::new(|| is("(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"));
static PART: LazyLock<Regex> = LazyLock::new(|| is("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"));
static SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| is("[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"));
static DNS: LazyLock<Regex> = LazyLock::new(|| is("[a-z0-9]([-a-z0-9]*[a-z0-9])?"));
static DNS1035: LazyLock<Regex> = LazyLock::new(|| is("[a-z]([-a-z0-9]*[a-z0-9])?"));

fn subdomain(s: &str) -> bool {
    s.len() <= 253 && SUBDOMAIN.is_match(s)
}
fn qualified(s: &str) -> bool {
    let part = |s: &str| s.len() <= 63 && PART.is_match(s);
    match s.split_once('/') {
        Some((prefix, name)) => subdomain(prefix) && part(name),
        None => part(s),
    }
}

static KINDS: LazyLock<api::Registry> = LazyLock::new(kinds::registry);

fuzz_target!(|text: &str| {
    for (name, errors, fits) in [
        ("label value", names::label_value(text), text.len() <= 63 && LABEL.is_match(text)),
        ("qualified name", names::qualified_name(text), qualified(text)),
        ("subdomain", names::dns_subdomain(text, false), subdomain(text)),
        ("label", names::dns_label(text, false), text.len() <= 63 && DNS.is_match(text)),
        ("1035 label", names::dns1035_label(text, false), text.len() <= 63 && DNS1035.is_match(text)),
    ] {
        assert_eq!(errors.is_empty(), fits, "{name} {text:?}: {errors:?}");
    }
    let _ = (names::path_segment(text, true), names::config_map_key(text), names::env_var_name(text));
    let _ = (names::port_name(text), names::http_header_name(text));

    let meta = |labels: Value, annotations: Value| {
        let tree = serde_json::json!({"metadata": {"name": "a", "namespace": "b", "labels": labels, "annotations": annotations}});
        let pods = KINDS.resource("", "v1", "pods").expect("pods");
        kinds::validate_metadata(pods, &tree).is_empty()
    };
    assert_eq!(meta(serde_json::json!({ text: "v" }), Value::Null), qualified(text), "label {text:?}");
    assert_eq!(
        meta(serde_json::json!({ "k": text }), Value::Null),
        text.len() <= 63 && LABEL.is_match(text),
        "{text:?}"
    );
    // annotation keys are checked in lower case
    assert_eq!(
        meta(Value::Null, serde_json::json!({ text: text })),
        qualified(&text.to_lowercase()),
        "annotation {text:?}"
    );
});
