//! Sets of fields: the trie that `fieldsV1` shows, structured-merge-diff's `fieldpath.Set`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

/// How deep `fieldsV1` may nest.
const MAX_DEPTH: usize = 127;

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
        !self.owned && !self.has_below()
    }
    /// Whether anything below is a member.
    pub fn has_below(&self) -> bool {
        self.children.values().any(|c| !c.is_empty())
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

    /// `None`: no `fieldsV1`. Path elements are written the one way in which they are compared.
    pub fn from_value(v: &Value) -> Option<Set> {
        Set::read(v, MAX_DEPTH, &canonical)
    }
    /// The same of what [`Set::into_value`] made.
    pub fn from_own(v: &Value) -> Option<Set> {
        Set::read(v, MAX_DEPTH, &|element| Some(element.to_owned()))
    }
    fn read(v: &Value, depth: usize, name: &impl Fn(&str) -> Option<String>) -> Option<Set> {
        let depth = depth.checked_sub(1)?;
        let mut set = Set::default();
        for (element, child) in v.as_object()? {
            if element == "." {
                set.owned = true;
                continue;
            }
            let mut below = Set::read(child, depth, name)?;
            below.owned |= child.as_object().is_some_and(Map::is_empty);
            set.children.insert(name(element)?, below);
        }
        Some(set)
    }
    pub fn into_value(self) -> Value {
        let mut out: Map<String, Value> = self.children.into_iter().map(|(e, c)| (e, c.into_value())).collect();
        if self.owned && !out.is_empty() {
            out.insert(".".into(), Value::Object(Map::new()));
        }
        Value::Object(out)
    }

    /// The members as upstream prints paths: `.spec.containers[name="a"].image`; those of one object before those below.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }
    fn collect(&self, path: &str, out: &mut Vec<String>) {
        let here = |element: &str| format!("{path}{}", shown(element));
        out.extend(self.children.iter().filter(|(_, c)| c.owned).map(|(e, _)| here(e)));
        for (element, child) in &self.children {
            child.collect(&here(element), out);
        }
    }
}

fn canonical(element: &str) -> Option<String> {
    match element.split_at_checked(2)? {
        ("f:", _) => Some(element.to_owned()),
        (kind @ ("v:" | "k:"), json) => {
            let value: Value = serde_json::from_str(json).ok()?;
            (kind == "v:" || value.is_object()).then(|| format!("{kind}{value}"))
        }
        ("i:", index) => index.parse::<i64>().ok().map(|_| element.to_owned()),
        _ => None,
    }
}

/// A path element in an error: `.name`, `[name="a"]`, `[="x"]`.
pub(super) fn shown(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("i:", index)) => format!("[{index}]"),
        _ => format!("[{element}]"),
    }
}

/// Of some elements those that occur more than once.
pub(super) fn repeated<'a>(elements: impl Iterator<Item = &'a String>) -> HashSet<&'a String> {
    let mut seen = HashSet::new();
    elements.filter(|e| !seen.insert(*e)).collect()
}
