//! Which names of a definition no other one of its group has taken: upstream's naming controller.

use serde_json::{Map, Value, json};

/// Why a name was not accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    pub reason: &'static str,
    pub message: String,
}

/// What the other definitions of a group have accepted: `(resources, kinds)`.
#[derive(Debug, Default)]
pub struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

fn texts<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    v[key].as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Taken {
    /// Adds `status.acceptedNames` of a definition, or the names of a built-in kind in that form.
    pub fn add(&mut self, names: &Value) {
        let text = |key: &str| names[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        self.resources.extend(text("plural"));
        self.resources.extend(text("singular"));
        self.resources.extend(texts(names, "shortNames").map(str::to_owned));
        self.kinds.extend(text("kind"));
        self.kinds.extend(text("listKind"));
    }

    /// The accepted names of a definition that asks for `wanted` and had `accepted`, and what stood in its way.
    pub fn accept(&self, wanted: &Value, accepted: &Value) -> (Value, Option<Conflict>) {
        let mut names: Map<String, Value> = accepted.as_object().cloned().unwrap_or_default();
        let mut conflict = None;
        let mut refuse = |reason, taken: Vec<&str>| {
            let message = match taken.as_slice() {
                [one] => format!("{one:?} is already in use"),
                many => format!(
                    "[{}]",
                    many.iter().map(|t| format!("{t:?} is already in use")).collect::<Vec<_>>().join(", ")
                ),
            };
            conflict = Some(Conflict { reason, message });
        };
        for (key, used, reason) in [
            ("plural", &self.resources, "PluralConflict"),
            ("singular", &self.resources, "SingularConflict"),
            ("kind", &self.kinds, "KindConflict"),
            ("listKind", &self.kinds, "ListKindConflict"),
        ] {
            let name = wanted[key].as_str().unwrap_or_default();
            if !name.is_empty() && used.iter().any(|u| u == name) {
                refuse(reason, vec![name]);
            } else if !name.is_empty() {
                names.insert(key.into(), json!(name));
            }
        }
        let short: Vec<&str> = texts(wanted, "shortNames").filter(|s| self.resources.iter().any(|u| u == s)).collect();
        if !short.is_empty() {
            refuse("ShortNamesConflict", short);
        } else {
            match wanted.get("shortNames") {
                Some(all) => drop(names.insert("shortNames".into(), all.clone())),
                None => drop(names.remove("shortNames")),
            }
        }
        match wanted.get("categories") {
            Some(all) => drop(names.insert("categories".into(), all.clone())),
            None => drop(names.remove("categories")),
        }
        (names.into(), conflict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_is_refused() {
        let mut taken = Taken::default();
        taken.add(&json!({"plural": "as", "singular": "a", "shortNames": ["x"], "kind": "A", "listKind": "AList"}));
        let free = json!({"plural": "bs", "singular": "b", "kind": "B", "listKind": "BList", "shortNames": ["y"]});
        assert_eq!(taken.accept(&free, &json!({"plural": "", "kind": ""})), (free.clone(), None));
        for (key, value, reason, message) in [
            ("singular", json!("a"), "SingularConflict", r#""a" is already in use"#),
            ("kind", json!("A"), "KindConflict", r#""A" is already in use"#),
            (
                "shortNames",
                json!(["x", "a"]),
                "ShortNamesConflict",
                r#"["x" is already in use, "a" is already in use]"#,
            ),
        ] {
            let mut wanted = free.clone();
            wanted[key] = value;
            let (accepted, conflict) = taken.accept(&wanted, &json!({}));
            let conflict = conflict.unwrap();
            assert_eq!((conflict.reason, conflict.message.as_str()), (reason, message));
            assert!(accepted.get(key).is_none(), "{key}");
        }
    }
}
