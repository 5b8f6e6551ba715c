//! Any kind: its fields in title case, as kubectl describes custom resources.

use api::Value;

use super::writer::{Out, plain};
use crate::objects::text;

pub fn describe(w: &mut Out, o: &Value) {
    w.name(o);
    w.field(0, "Namespace", text(o, "/metadata/namespace"));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    let mut rest = o.clone();
    if let Some(meta) = rest["metadata"].as_object_mut() {
        for hidden in ["managedFields", "name", "namespace", "labels", "annotations"] {
            meta.remove(hidden);
        }
    }
    // the type's name first, whatever its order among the fields
    if let Some(all) = rest.as_object_mut() {
        let (version, kind) = (all.remove("apiVersion"), all.remove("kind"));
        let mut fields: Vec<(String, Value)> = std::mem::take(all).into_iter().collect();
        fields.extend(version.map(|v| ("apiVersion".to_owned(), v)));
        fields.extend(kind.map(|v| ("kind".to_owned(), v)));
        fields.sort_by_key(|(k, _)| label(k));
        for (key, value) in &fields {
            field(w, 0, key, value);
        }
    }
}

fn field(w: &mut Out, level: usize, key: &str, v: &Value) {
    let label = label(key);
    match v {
        Value::Object(o) => {
            w.put(level, format!("{label}:"));
            let mut fields: Vec<(&String, &Value)> = o.iter().collect();
            fields.sort_by_key(|(k, _)| self::label(k));
            fields.iter().for_each(|(k, v)| field(w, level + 1, k, v));
        }
        Value::Array(a) => {
            w.put(level, format!("{label}:"));
            for v in a {
                match v {
                    Value::Object(o) => {
                        let mut fields: Vec<(&String, &Value)> = o.iter().collect();
                        fields.sort_by_key(|(k, _)| self::label(k));
                        fields.iter().for_each(|(k, v)| field(w, level + 1, k, v));
                    }
                    other => w.put(level + 1, plain(other)),
                }
            }
        }
        Value::Null => w.field(level, &label, "<nil>"),
        other => w.field(level, &label, plain(other)),
    }
}

/// `creationTimestamp` is `Creation Timestamp`, `podCIDR` is `Pod CIDR`.
fn label(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if i == 0 {
            out.extend(c.to_uppercase());
            continue;
        }
        let (before, after) = (chars[i - 1], chars.get(i + 1));
        let starts = c.is_uppercase()
            && (before.is_lowercase() || before.is_ascii_digit() || after.is_some_and(|a| a.is_lowercase()));
        if starts && before != ' ' {
            out.push(' ');
        }
        out.push(c);
    }
    let word = |w: &str| match w.to_uppercase() {
        upper if ["API", "URL", "UID", "OSB", "GUID"].contains(&upper.as_str()) => upper,
        _ => w.to_owned(),
    };
    out.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for (key, want) in [
            ("creationTimestamp", "Creation Timestamp"),
            ("podCIDR", "Pod CIDR"),
            ("apiVersion", "API Version"),
            ("x", "X"),
            ("uid", "UID"),
            ("clusterIPs", "Cluster I Ps"),
        ] {
            assert_eq!(label(key), want, "{key}");
        }
    }
}
