//! Config maps.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{entries, flag, same};
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Strategy, names};

pub(super) struct ConfigMap;

/// `core.MaxSecretSize`, for config maps and secrets alike.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

impl Strategy for ConfigMap {
    fn has_status(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (data, binary) = (Path::root("data"), Path::root("binaryData"));
        let mut total = 0;
        for (key, value) in entries(object, "data") {
            check_key(&mut errors, &data.key(key), key);
            if object["binaryData"].get(key).is_some() {
                errors.push(field::Error::invalid(&data.key(key), key, "duplicate of key present in binaryData"));
            }
            total += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries(object, "binaryData") {
            check_key(&mut errors, &binary.key(key), key);
            total += decoded_length(&mut errors, &binary.key(key), value);
        }
        if total > MAX_BYTES {
            errors.push(field::Error::too_long(&Path::root(""), MAX_BYTES));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        validate_immutable(new, old, &["data", "binaryData"])
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Data", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let count = entries(object, "data").count() + entries(object, "binaryData").count();
        vec![name(object), count.into(), age(object, now_seconds)]
    }
}

pub(super) fn check_key(errors: &mut Vec<field::Error>, path: &Path, key: &str) {
    errors.extend(names::config_map_key(key).into_iter().map(|e| field::Error::invalid(path, key, e)));
}

/// The number of bytes behind a base64 text.
pub(super) fn decoded_length(errors: &mut Vec<field::Error>, path: &Path, value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    STANDARD.decode(text).map_or_else(
        |e| {
            errors.push(field::Error::invalid(path, text, format!("illegal base64 data: {e}")));
            0
        },
        |bytes| bytes.len(),
    )
}

/// What `immutable: true` means for config maps and secrets.
pub(super) fn validate_immutable(new: &Value, old: &Value, fields: &[&str]) -> Vec<field::Error> {
    let mut errors = Vec::new();
    if !flag(old, "immutable") {
        return errors;
    }
    if !flag(new, "immutable") {
        let path = Path::root("immutable");
        errors.push(field::Error::forbidden(&path, "field is immutable when `immutable` is set"));
    }
    for field in fields {
        if !same(new.get(field).unwrap_or(&Value::Null), old.get(field).unwrap_or(&Value::Null)) {
            let path = Path::root(field);
            errors.push(field::Error::forbidden(&path, "field is immutable when `immutable` is set"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let texts = |v: Value| ConfigMap.validate(&v).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(texts(json!({"data": {"a": "1"}, "binaryData": {"b": "AA=="}})).is_empty());
        let wrong = texts(json!({"data": {"a/b": "1"}}));
        assert!(
            wrong[0].starts_with(r#"data[a/b]: Invalid value: "a/b": a valid config key must consist of"#),
            "{wrong:?}"
        );
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let errors = ConfigMap.validate_update(&json!({"immutable": true, "data": {"a": "2"}}), &old);
        assert_eq!(errors[0].to_string(), "data: Forbidden: field is immutable when `immutable` is set");
    }
}
