//! Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::config_map::{MAX_BYTES, check_key, decoded_length, validate_immutable};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{ensure, entries, has, or_zero, text};
use crate::strategy::{AGE, Column, NAME, age, copy};

pub(super) struct Secret;

impl Strategy for Secret {
    fn default(&self, secret: &mut Value) {
        or_zero(secret, "type", "Opaque");
        // write-only: its texts go into `data`
        let Some(Value::Object(texts)) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else { return };
        if let Some(data) = ensure(secret, "data").filter(|_| !texts.is_empty()) {
            for (key, value) in texts {
                data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        }
    }

    fn has_status(&self) -> bool {
        false
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        // a client that leaves the type out means the old one
        if text(new, "type").is_empty() {
            copy(new, old, "type");
        }
    }

    fn validate(&self, secret: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let data = Path::root("data");
        let total: usize = entries(secret, "data")
            .map(|(key, value)| {
                check_key(&mut errors, &data.key(key), key);
                if value.is_null() { 0 } else { decoded_length(&mut errors, &data.key(key), value) }
            })
            .sum();
        if total > MAX_BYTES {
            errors.push(field::Error::too_long(&data, MAX_BYTES));
        }
        let mut needs = |keys: &[&str]| {
            for key in keys.iter().filter(|k| secret["data"].get(k).is_none()) {
                errors.push(field::Error::required(&data.key(key), ""));
            }
        };
        match text(secret, "type") {
            "kubernetes.io/service-account-token" => {
                let annotations = &secret["metadata"]["annotations"];
                if text(annotations, "kubernetes.io/service-account.name").is_empty() {
                    let (metadata, key) = (Path::root("metadata"), "kubernetes.io/service-account.name");
                    let annotations = metadata.child("annotations");
                    errors.push(field::Error::required(&annotations.key(key), ""));
                }
            }
            "kubernetes.io/dockercfg" => needs_json(&mut errors, secret, ".dockercfg"),
            "kubernetes.io/dockerconfigjson" => needs_json(&mut errors, secret, ".dockerconfigjson"),
            "kubernetes.io/basic-auth" if ["username", "password"].iter().all(|k| secret["data"].get(k).is_none()) => {
                needs(&["username", "password"]);
            }
            "kubernetes.io/ssh-auth" if text(&secret["data"], "ssh-privatekey").is_empty() => {
                errors.push(field::Error::required(&data.key("ssh-privatekey"), ""));
            }
            "kubernetes.io/tls" => needs(&["tls.crt", "tls.key"]),
            _ => {}
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if new["type"] != old["type"] {
            errors.push(field::Error::invalid(&Path::root("type"), new["type"].clone(), "field is immutable"));
        }
        errors.extend(validate_immutable(new, old, &["data"]));
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Type", "string"), Column::new("Data", "string"), AGE] }
    }
    fn cells(&self, secret: &Value, now_seconds: i64) -> Vec<Value> {
        vec![
            name(secret),
            json!(text(secret, "type")),
            entries(secret, "data").count().into(),
            age(secret, now_seconds),
        ]
    }
}

/// A Docker configuration must be there and be JSON.
fn needs_json(errors: &mut Vec<field::Error>, secret: &Value, key: &str) {
    let data = Path::root("data");
    let path = data.key(key);
    if !has(&secret["data"], key) {
        return errors.push(field::Error::required(&path, ""));
    }
    let bytes = STANDARD.decode(text(&secret["data"], key)).unwrap_or_default();
    if serde_json::from_slice::<Value>(&bytes).is_err() {
        errors.push(field::Error::invalid(&path, "<secret contents redacted>", "invalid JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_goes_into_data() {
        let mut s = json!({"stringData": {"a": "hello"}, "data": {"a": "eA==", "b": "eQ=="}});
        Secret.default(&mut s);
        assert_eq!(s, json!({"type": "Opaque", "data": {"a": "aGVsbG8=", "b": "eQ=="}}));
        assert!(Secret.validate(&s).is_empty());
        s["data"]["c"] = json!("***");
        assert_eq!(Secret.validate(&s).len(), 1);
        let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(Secret.validate(&tls)[0].to_string(), "data[tls.key]: Required value");
    }
}
