//! The name of a template: upstream's `ComputeHash` and `SafeEncodeString`.

use api::Value;

/// Letters without vowels and look-alikes, so that no hash spells a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a, 32 bit.
struct Fnv(u32);

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u32::from(*b)).wrapping_mul(0x0100_0193);
        }
    }
    /// The same for equal trees: members in order of their keys, nulls left out, lengths in between.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut sorted: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
                sorted.sort_by_key(|(k, _)| *k);
                self.write(format!("{{{}", sorted.len()).as_bytes());
                for (k, v) in sorted {
                    self.write(format!("{k:?}:").as_bytes());
                    self.value(v);
                }
            }
            Value::Array(items) => {
                self.write(format!("[{}", items.len()).as_bytes());
                items.iter().for_each(|v| self.value(v));
            }
            scalar => self.write(scalar.to_string().as_bytes()),
        }
    }
}

/// The `pod-template-hash` of a template.
pub fn of(template: &Value, collisions: Option<i32>) -> String {
    let mut fnv = Fnv(0x811c_9dc5);
    fnv.value(template);
    if let Some(n) = collisions {
        fnv.write(&n.to_le_bytes());
    }
    fnv.0.to_string().bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hash_is_stable_and_counts_collisions() {
        let a = of(&json!({"spec": {"a": 1, "b": [1, 2]}, "metadata": {"creationTimestamp": null}}), None);
        assert_eq!(a, of(&json!({"metadata": {}, "spec": {"b": [1, 2], "a": 1}}), None));
        assert_ne!(a, of(&json!({"metadata": {}, "spec": {"b": [1, 2], "a": 1}}), Some(1)));
        assert!(a.len() <= 10 && a.bytes().all(|b| ALPHABET.contains(&b)));
    }
}
