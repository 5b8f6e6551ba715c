//! Trees walked along their schema: what is wrong in them, which fields they have, what differs.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::entry::Entry;
use super::node::Node;
use super::set::{self, Set};

/// What upstream's typed parser refuses in a configuration: elements of lists that are not named, or more than once
/// (unless `duplicates`). One text a problem, with its path.
pub(super) fn problems(node: Node, v: &Value, duplicates: bool) -> Vec<String> {
    let mut out = Vec::new();
    look(node, v, duplicates, &mut String::new(), &mut out);
    out
}

fn look(node: Node, v: &Value, duplicates: bool, path: &mut String, out: &mut Vec<String>) {
    let mark = path.len();
    match v {
        Value::Object(o) if node.is_object() => {
            for (k, v) in o {
                if let Some(child) = node.child(k) {
                    path.push('.');
                    path.push_str(k);
                    look(child, v, duplicates, path, out);
                    path.truncate(mark);
                }
            }
        }
        Value::Array(list) if node.is_list() => {
            let mut seen = HashSet::new();
            for (i, item) in list.iter().enumerate() {
                let element = match node.name(item) {
                    Ok(element) => element,
                    Err(error) => {
                        out.push(format!("{path}: element {i}: {error}"));
                        continue;
                    }
                };
                let shown = set::shown(&element);
                if !seen.insert(element) && !duplicates {
                    out.push(format!("{path}: duplicate entries for key {shown}"));
                }
                path.push_str(&shown);
                look(node.item(), item, duplicates, path, out);
                path.truncate(mark);
            }
        }
        _ => {}
    }
}

/// A path as decoding shows it, `spec.containers[0].x`, in the way of this module: `.spec.containers[name="c"].x`.
pub(super) fn shown(root: Node, tree: &Value, path: &str) -> String {
    let (mut out, mut node, mut at) = (String::new(), Some(root), tree);
    for step in path.split('.') {
        let (key, places) = step.split_once('[').unwrap_or((step, ""));
        out.push('.');
        out.push_str(key);
        (node, at) = (node.and_then(|n| n.child(key)), &at[key]);
        for i in places.split('[').filter_map(|i| i.trim_end_matches(']').parse::<usize>().ok()) {
            let item = &at[i];
            match node.filter(|n| n.is_list()).and_then(|n| n.name(item).ok()) {
                Some(element) => out.push_str(&set::shown(&element)),
                None => out.push_str(&format!("[{i}]")),
            }
            (node, at) = (node.map(Node::item), item);
        }
    }
    out
}

/// `TypedValue.ToFieldSet` of a whole tree. Nobody owns the root itself.
pub(super) fn fields(node: Node, v: &Value) -> Set {
    Set { owned: false, ..below(node, v) }
}

fn below(node: Node, v: &Value) -> Set {
    let mut out = Set::default();
    match v {
        Value::Object(o) if node.is_object() => {
            out.owned = o.is_empty();
            for (k, v) in o {
                if let Some(child) = node.child(k) {
                    let mut set = below(child, v);
                    set.owned |= !node.names(k);
                    out.add(format!("f:{k}"), set);
                }
            }
        }
        Value::Array(list) if node.is_list() => {
            let named: Vec<(String, &Value)> = list.iter().filter_map(|i| Some((node.name(i).ok()?, i))).collect();
            let twice = set::repeated(named.iter().map(|(e, _)| e));
            for (e, item) in &named {
                // an element that occurs twice is owned as one
                let mut set = if twice.contains(e) { Set::default() } else { below(node.item(), item) };
                set.owned = true;
                out.add(e.clone(), set);
            }
        }
        _ => out.owned = true,
    }
    out
}

/// A set with all fields that the schema names above its members: `EnsureNamedFieldsAreMembers`.
pub(super) fn with_named(node: Node, set: &Set) -> Set {
    let mut out = Set { owned: set.owned, children: BTreeMap::new() };
    for (e, child) in &set.children {
        let mut named = with_named(node.step(e), child);
        named.owned |= child.has_below() && e.strip_prefix("f:").is_some_and(|name| node.names(name));
        out.add(e.clone(), named);
    }
    out
}

/// What differs from one tree to another: `typed.Comparison`.
#[derive(Default)]
pub(super) struct Changes {
    pub added: Set,
    pub removed: Set,
    pub modified: Set,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }
    /// What the new tree says anew.
    pub fn written(&self) -> Cow<'_, Set> {
        match (self.modified.is_empty(), self.added.is_empty()) {
            (true, _) => Cow::Borrowed(&self.added),
            (_, true) => Cow::Borrowed(&self.modified),
            _ => Cow::Owned(self.modified.union(&self.added)),
        }
    }
    pub fn into_written(self) -> Set {
        match self.modified.is_empty() {
            true => self.added,
            false => self.written().into_owned(),
        }
    }
    /// Whether any of it can be the entry's: looks no deeper than the first level.
    pub fn touches(&self, entry: &Entry) -> bool {
        let sets = [&self.added, &self.removed, &self.modified];
        sets.iter().flat_map(|set| set.children.keys()).any(|element| entry.may_own(element))
    }
    pub fn each(&mut self, change: impl Fn(&mut Set)) {
        for set in [&mut self.added, &mut self.removed, &mut self.modified] {
            change(set);
        }
    }
    fn add(&mut self, element: &str, below: Changes) {
        let Changes { added, removed, modified } = below;
        for (set, below) in [(&mut self.added, added), (&mut self.removed, removed), (&mut self.modified, modified)] {
            if !below.is_empty() {
                set.children.insert(element.to_owned(), below);
            }
        }
    }
}

pub(super) fn compare(node: Node, old: &Value, new: &Value) -> Changes {
    let mut changes = differ(node, Some(old), Some(new));
    changes.each(|set| set.owned = false);
    changes
}

/// What comes or goes with a value that was not there or is no more: it, and all in it.
fn whole(node: Node, v: &Value) -> Set {
    let mut out = Set::leaf();
    match v {
        Value::Object(o) if node.is_object() => {
            let members = o.iter().filter_map(|(k, v)| Some((format!("f:{k}"), whole(node.child(k)?, v))));
            out.children.extend(members);
        }
        Value::Array(list) if node.is_list() => {
            for item in list {
                if let Ok(e) = node.name(item) {
                    // one that occurs twice comes as one
                    let once = !out.children.contains_key(&e);
                    out.children.insert(e, if once { whole(node.item(), item) } else { Set::leaf() });
                }
            }
        }
        _ => {}
    }
    out
}

fn differ<'a>(node: Node<'a>, old: Option<&'a Value>, new: Option<&'a Value>) -> Changes {
    let mut out = Changes::default();
    match (old, new) {
        _ if old == new => return out,
        (None, Some(new)) => return Changes { added: whole(node, new), ..out },
        (Some(old), None) => return Changes { removed: whole(node, old), ..out },
        _ => {}
    }
    if let (Some(o), Some(n)) = (node.object(old), node.object(new)) {
        let some = |of: Option<&Map<String, Value>>| of.is_some_and(|of| !of.is_empty());
        if some(o) || some(n) {
            let member = |of: Option<&'a Map<String, Value>>, k: &str| of?.get(k).or_else(|| node.unnamed(k));
            let olds = o.into_iter().flat_map(Map::keys);
            let news = n.into_iter().flat_map(Map::keys).filter(|k| o.is_none_or(|o| !o.contains_key(*k)));
            for k in olds.chain(news) {
                if let Some(child) = node.child(k) {
                    out.add(&format!("f:{k}"), differ(child, member(o, k), member(n, k)));
                }
            }
            return out;
        }
    }
    if let (Some(o), Some(n)) = (node.list(old), node.list(new))
        && !(o.is_empty() && n.is_empty())
    {
        // of one name: before, after
        let mut named: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (list, new) in [(o, false), (n, true)] {
            for item in list {
                if let Ok(e) = node.name(item) {
                    let (before, after) = named.entry(e).or_default();
                    if new { after } else { before }.push(item);
                }
            }
        }
        for (e, (before, after)) in named {
            out.add(&e, elements(node.item(), &before, &after));
        }
        return out;
    }
    if let (Some(o), Some(n)) = (old, new) {
        // an object where there was none, or none any more: its members come and go
        out.modified = Set::leaf();
        let full = |v: &Value| v.as_object().is_some_and(|o| !o.is_empty()) && node.is_object();
        if full(n) {
            out.added = fields(node, n);
        }
        if full(o) {
            out.removed = fields(node, o);
        }
    }
    out
}

/// The elements of one name before and after, of which a list should have one each; several are compared as a whole.
fn elements(node: Node, old: &[&Value], new: &[&Value]) -> Changes {
    let mut out = Changes::default();
    match (old, new) {
        (_, []) | ([], _) | ([_], [_]) if old.len() <= 1 && new.len() <= 1 => {
            return differ(node, old.first().copied(), new.first().copied());
        }
        ([_, _, ..], [_, _, ..]) => out.modified.owned = old != new,
        ([_, _, ..], _) => {
            if let Some(new) = new.first() {
                out = differ(node, None, Some(new));
            }
            out.removed.owned = true;
        }
        _ => {
            if let Some(old) = old.first() {
                out = differ(node, Some(old), None);
            }
            out.added.owned = true;
        }
    }
    out
}
