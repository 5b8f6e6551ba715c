//! Sets of fields: the trie that `fieldsV1` shows.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The fields below one field, by path element as `fieldsV1` writes it: `f:spec`, `k:{"name":"a"}`, `v:"x"`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Set {
    /// Whether the field itself is a member.
    pub owned: bool,
    pub children: BTreeMap<String, Set>,
}

impl Set {
    pub fn leaf() -> Set {
        Set { owned: true, children: BTreeMap::new() }
    }
    pub fn is_empty(&self) -> bool {
        !self.owned && self.children.values().all(Set::is_empty)
    }
    /// Adds a child unless it is empty.
    pub fn add(&mut self, element: String, child: Set) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.owned |= other.owned;
        for (e, theirs) in &other.children {
            let ours = out.children.get(e).map_or_else(|| theirs.clone(), |ours| ours.union(theirs));
            out.children.insert(e.clone(), ours);
        }
        out
    }
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set { owned: self.owned && other.owned, children: BTreeMap::new() };
        for (e, ours) in &self.children {
            if let Some(theirs) = other.children.get(e) {
                out.add(e.clone(), ours.intersection(theirs));
            }
        }
        out
    }
    pub fn difference(&self, other: &Set) -> Set {
        let mut out = Set { owned: self.owned && !other.owned, children: BTreeMap::new() };
        for (e, ours) in &self.children {
            let left = other.children.get(e).map_or_else(|| ours.clone(), |theirs| ours.difference(theirs));
            out.add(e.clone(), left);
        }
        out
    }

    pub fn from_value(v: &Value) -> Set {
        let mut set = Set::default();
        for (element, child) in v.as_object().into_iter().flatten() {
            match element.as_str() {
                "." => set.owned = true,
                _ => {
                    let mut child_set = Set::from_value(child);
                    child_set.owned |= child.as_object().is_some_and(Map::is_empty);
                    set.children.insert(element.clone(), child_set);
                }
            }
        }
        set
    }
    pub fn to_value(&self) -> Value {
        let mut out: Map<String, Value> = self.children.iter().map(|(e, c)| (e.clone(), c.to_value())).collect();
        if self.owned && !out.is_empty() {
            out.insert(".".into(), Value::Object(Map::new()));
        }
        Value::Object(out)
    }

    /// The members as upstream prints paths: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }
    fn collect(&self, path: &str, out: &mut Vec<String>) {
        if self.owned {
            out.push(path.to_owned());
        }
        for (element, child) in &self.children {
            child.collect(&format!("{path}{}", shown(element)), out);
        }
    }
}

fn shown(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{element}]"),
    }
}
