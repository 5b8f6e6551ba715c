//! A configuration laid over a live tree, and what goes from it: `TypedValue.Merge`, `TypedValue.RemoveItems` and the
//! updater's `prune`.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::node::Node;
use super::set::{self, Set};
use super::walk::{fields, with_named};

/// The configuration wins; what only the live tree has stays.
pub(super) fn merge(node: Node, live: &Value, config: &Value) -> Value {
    join(node, Some(live), Some(config)).unwrap_or_default()
}

fn join(node: Node, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    if let (Some(l), Some(c)) = (node.object(live), node.object(config)) {
        let empty = Map::new();
        let (l, c) = (l.unwrap_or(&empty), c.unwrap_or(&empty));
        if !(l.is_empty() && c.is_empty()) {
            let mut out = Map::new();
            for k in l.keys().chain(c.keys().filter(|k| !l.contains_key(*k))) {
                let child = node.child(k).unwrap_or(Node::Leaf);
                out.extend(join(child, l.get(k), c.get(k)).map(|v| (k.clone(), v)));
            }
            return Some(Value::Object(out));
        }
    }
    if let (Some(l), Some(c)) = (node.list(live), node.list(config))
        && !(l.is_empty() && c.is_empty())
    {
        return Some(Value::Array(lists(node, l, c)));
    }
    config.or(live).cloned()
}

/// The configuration's elements in its order; those that only the live list has keep their places before those that they
/// stood before, as far as the orders agree. Elements of the live list that occur twice stay so where the configuration
/// does not name them.
fn lists(node: Node, live: &[Value], config: &[Value]) -> Vec<Value> {
    let named = |list: &'_ [Value]| -> Vec<String> { list.iter().map(|i| node.name(i).unwrap_or_default()).collect() };
    let (left, right) = (named(live), named(config));
    let twice = set::repeated(left.iter());
    let ours: HashMap<&String, &Value> = left.iter().zip(live).filter(|(e, _)| !twice.contains(e)).collect();
    let known: HashSet<&String> = left.iter().collect();
    let theirs: HashSet<&String> = right.iter().collect();
    let mut shared: VecDeque<&String> = right.iter().filter(|e| known.contains(e)).collect();
    let mut next = shared.pop_front();

    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let mut merged: HashSet<&String> = HashSet::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some(a), Some(b)) = (left.get(l), right.get(r)) {
            if a == b {
                merged.insert(a);
                out.extend(join(node.item(), ours.get(a).copied(), Some(&config[r])));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            // shared, but not the one whose turn it is
            if theirs.contains(a) && next.is_some_and(|n| n != a) {
                l += 1;
                continue;
            }
        }
        if let Some(a) = left.get(l) {
            if !theirs.contains(a) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(a) {
                l += 1;
            }
        }
        if let Some(b) = right.get(r) {
            merged.insert(b);
            out.extend(join(node.item(), ours.get(b).copied(), Some(&config[r])));
            r += 1;
            if next == Some(b) {
                next = shared.pop_front();
            }
        }
    }
    out
}

/// `v` without what is `gone`; `None`: nothing is left of it. An object or list that is emptied so, but not gone itself, is
/// null, that it still counts as there; with `kept` it stays, empty, if it is in there, and goes otherwise. (Upstream leaves
/// null in both cases, which takes an `emptyDir: {}` away that somebody asked for.)
fn remove(node: Node, v: &Value, gone: &Set, kept: Option<&Set>) -> Option<Value> {
    match v {
        Value::Object(o) if node.is_object() => {
            let mut out = Map::new();
            for (k, v) in o {
                let element = format!("f:{k}");
                let left = match gone.children.get(&element) {
                    Some(set) if set.owned => None,
                    Some(set) if set.has_below() => {
                        let below = kept.map(|kept| kept.children.get(&element).unwrap_or(&NONE));
                        let rest = remove(node.child(k).unwrap_or(Node::Leaf), v, set, below);
                        rest.or_else(|| match below {
                            None => Some(Value::Null),
                            Some(kept) => kept.owned.then(|| empty_of(v)),
                        })
                    }
                    _ => Some(v.clone()),
                };
                out.extend(left.map(|v| (k.clone(), v)));
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(list) if node.is_list() => {
            let mut out = Vec::new();
            for item in list {
                let element = node.name(item).unwrap_or_default();
                match gone.children.get(&element) {
                    Some(set) if set.owned => {}
                    Some(set) if set.has_below() => {
                        let below = kept.map(|kept| kept.children.get(&element).unwrap_or(&NONE));
                        out.push(remove(node.item(), item, set, below).unwrap_or_else(|| empty_of(item)));
                    }
                    _ => out.push(item.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar.clone()),
    }
}

static NONE: Set = Set { owned: false, children: BTreeMap::new() };

fn empty_of(v: &Value) -> Value {
    if v.is_array() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) }
}

/// Takes from `merged` what its manager applied the `last` time and nobody has in `managed`, which is what all managers have
/// now. What was below the fields that go and is nobody's goes with them.
pub(super) fn prune(node: Node, merged: &Value, last: &Set, managed: &Set) -> Value {
    let without = |gone: &Set, kept| remove(node, merged, gone, kept).unwrap_or_else(|| empty_of(merged));
    let there = |v: &Value| with_named(node, &fields(node, v));
    let (last, all) = (with_named(node, last), there(merged));

    let left = there(&without(&last, None)).union(&with_named(node, managed));
    let owned = there(&without(&all.difference(&left), None));
    without(&all.difference(&owned).intersection(&last), Some(managed))
}
