//! JSON to a tree, with the paths of duplicate fields.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Decoded;

/// Upstream stops counting strict errors there.
const MAX_DUPLICATES: usize = 100;

/// Decodes a JSON document. Duplicate fields are looked for only if `duplicates` (that takes about twice as long).
///
/// Errors with the decoder's text.
pub fn json(body: &[u8], duplicates: bool) -> Result<Decoded, String> {
    if !duplicates {
        let tree = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        return Ok(Decoded { tree, duplicates: Vec::new() });
    }
    let mut tracker = Tracker { path: String::new(), duplicates: Vec::new() };
    let mut decoder = serde_json::Deserializer::from_slice(body);
    let tree = tracker.deserialize(&mut decoder).and_then(|v| decoder.end().map(|()| v)).map_err(|e| e.to_string())?;
    Ok(Decoded { tree, duplicates: tracker.duplicates })
}

struct Tracker {
    /// Of the value being read: `spec.containers[0]`.
    path: String,
    duplicates: Vec<String>,
}

impl<'de> DeserializeSeed<'de> for &mut Tracker {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Tracker {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any valid JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut list = Vec::new();
        loop {
            self.path.push_str(&format!("[{}]", list.len()));
            let item = seq.next_element_seed(&mut *self);
            self.path.truncate(length);
            match item? {
                Some(v) => list.push(v),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if map.contains_key(&key) && self.duplicates.len() < MAX_DUPLICATES {
                let text = format!("duplicate field \"{}\"", self.path);
                if !self.duplicates.contains(&text) {
                    self.duplicates.push(text);
                }
            }
            let value = access.next_value_seed(&mut *self);
            self.path.truncate(length);
            map.insert(key, value?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_found_and_the_last_wins() {
        let body = br#"{"a":1,"b":[{"c":"x","c":"y"}],"a":2.5,"a":null,"t":true}"#;
        let d = json(body, true).unwrap();
        assert_eq!(d.tree, json!({"a": null, "b": [{"c": "y"}], "t": true}));
        assert_eq!(d.duplicates, [r#"duplicate field "b[0].c""#, r#"duplicate field "a""#]);
        assert_eq!(json(body, false).unwrap().tree, d.tree);
    }

    #[test]
    fn bad_documents_are_errors() {
        let deep = "[".repeat(100_000);
        for body in [&b"{"[..], b"{} x", b"", b"{\"a\":\xff}", deep.as_bytes()] {
            assert!(json(body, true).is_err() && json(body, false).is_err());
        }
    }
}
