//! Trees walked along their schema: field sets, merges and comparisons.

use serde_json::{Map, Value};

use super::set::Set;
use crate::crd::{Additional, List, Structural, Type as CustomType};
use crate::schema::{self, Field, ListType, Schema, Shape, Type};

/// A place in the schema.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    view: View<'a>,
}

#[derive(Clone, Copy)]
enum View<'a> {
    /// A scalar, or what is owned as one.
    Leaf,
    Struct(&'static Type),
    Map(&'static Shape),
    Set,
    /// A list of objects with these comma-separated keys.
    Keyed(&'static Shape, &'static str),
    /// A custom resource, or an object in one.
    Custom(&'a Structural),
    /// `metadata` within one; of the members that no schema names each is owned as a whole.
    Free,
    /// A list of objects with these keys in a custom resource.
    CustomKeyed(&'a Structural, &'a [Box<str>]),
}

impl<'a> Node<'a> {
    pub fn root(schema: Schema<'a>) -> Node<'a> {
        Node {
            view: match schema {
                Schema::Type(t) => View::Struct(t),
                Schema::Custom(s) => View::Custom(s),
            },
        }
    }
    fn of(field: &'static Field) -> Node<'static> {
        let view = match (&field.shape, field.list) {
            _ if field.atomic => View::Leaf,
            (Shape::List(_), ListType::Set) => View::Set,
            (Shape::List(of), ListType::Map(keys)) => View::Keyed(of, keys),
            (shape, _) => return Node::element(shape),
        };
        Node { view }
    }
    fn element(shape: &'static Shape) -> Node<'static> {
        let view = match shape {
            Shape::Object(t) if !t.atomic => View::Struct(t.get()),
            Shape::Map(of) => View::Map(of),
            _ => View::Leaf,
        };
        Node { view }
    }
    fn custom(s: &'a Structural) -> Node<'a> {
        let view = match (&s.list, s.kind) {
            _ if s.atomic => View::Leaf,
            (List::Set, _) => View::Set,
            (List::Map(keys), _) => s.items.as_deref().map_or(View::Leaf, |items| View::CustomKeyed(items, keys)),
            (_, CustomType::Object) => View::Custom(s),
            (_, CustomType::Any) if s.preserve => View::Free,
            _ => View::Leaf,
        };
        Node { view }
    }
    /// Below a field or key of a map.
    fn child(self, key: &str) -> Option<Node<'a>> {
        let free = Some(Node { view: View::Free });
        match self.view {
            View::Struct(t) => t.field(key).map(Node::of),
            View::Map(of) => Some(Node::element(of)),
            View::Custom(_) if key == "metadata" => schema::find(OBJECT_META).map(|t| Node { view: View::Struct(t) }),
            View::Custom(s) => s.member(key).map(Node::custom).or(free),
            View::Free => free,
            _ => None,
        }
    }
    /// Every member is owned by its key, as in a map.
    fn is_map(self) -> bool {
        match self.view {
            View::Map(_) | View::Free => true,
            View::Custom(s) => matches!(s.additional, Additional::Any | Additional::Schema(_)),
            _ => false,
        }
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The path element of a list's element; `None` where it lacks a key. Ports without a protocol are TCP's.
fn element(view: View, item: &Value) -> Option<String> {
    match view {
        View::Set => Some(format!("v:{item}")),
        View::Keyed(_, keys) => {
            let mut key = Map::new();
            for k in keys.split(',') {
                let value = match item.get(k) {
                    Some(v) => v.clone(),
                    None if k == "protocol" => "TCP".into(),
                    None if keys.contains(',') => continue,
                    None => return None,
                };
                key.insert(k.to_owned(), value);
            }
            (!key.is_empty()).then(|| format!("k:{}", Value::Object(key)))
        }
        View::CustomKeyed(of, keys) => {
            let mut key = Map::new();
            for k in keys {
                // a key may be left to its default
                let default = of.property(k).and_then(|p| p.default.as_deref());
                key.extend(item.get(&**k).or(default).map(|v| (k.to_string(), v.clone())));
            }
            (!key.is_empty()).then(|| format!("k:{}", Value::Object(key)))
        }
        _ => None,
    }
}

fn inner(view: View<'_>) -> Node<'_> {
    match view {
        View::CustomKeyed(of, _) => Node::custom(of),
        View::Keyed(of, _) => Node::element(of),
        _ => Node { view: View::Leaf },
    }
}

/// Errors, in upstream's words, if a list element lacks the key by which it would be found again.
pub(super) fn check_keys(node: Node, v: &Value, path: &str) -> Result<(), String> {
    match (node.view, v) {
        (View::Struct(_) | View::Map(_) | View::Custom(_) | View::Free, Value::Object(o)) => {
            for (k, v) in o {
                if let Some(child) = node.child(k) {
                    check_keys(child, v, &format!("{path}.{k}"))?;
                }
            }
        }
        (View::Keyed(..) | View::CustomKeyed(..), Value::Array(list)) => {
            let keys = match node.view {
                View::Keyed(_, keys) => keys.to_owned(),
                View::CustomKeyed(_, keys) => keys.join(","),
                _ => String::new(),
            };
            for (i, item) in list.iter().enumerate() {
                let Some(e) = element(node.view, item) else {
                    return Err(format!(
                        "{path}: element {i}: associative list with keys has an element that omits key field {keys:?} (and doesn't have default value)"
                    ));
                };
                check_keys(inner(node.view), item, &format!("{path}[{}]", &e[2..]))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// `TypedValue.ToFieldSet`
pub(super) fn fields(node: Node, v: &Value) -> Set {
    let mut set = Set::default();
    match (node.view, v) {
        (View::Struct(_) | View::Map(_) | View::Custom(_) | View::Free, Value::Object(o)) => {
            set.owned = o.is_empty();
            for (k, v) in o {
                if let Some(child) = node.child(k) {
                    let mut below = fields(child, v);
                    below.owned |= node.is_map();
                    set.add(field(k), below);
                }
            }
        }
        (View::Set | View::Keyed(..) | View::CustomKeyed(..), Value::Array(list)) => {
            for item in list {
                if let Some(e) = element(node.view, item) {
                    let mut below = fields(inner(node.view), item);
                    below.owned = true;
                    set.add(e, below);
                }
            }
        }
        _ => set.owned = true,
    }
    set
}

/// What differs from one tree to another: `typed.Comparison`.
#[derive(Default)]
pub(super) struct Changes {
    pub added: Set,
    pub removed: Set,
    pub modified: Set,
}

impl Changes {
    fn add(&mut self, element: String, below: Changes) {
        self.added.add(element.clone(), below.added);
        self.removed.add(element.clone(), below.removed);
        self.modified.add(element, below.modified);
    }
}

pub(super) fn compare(node: Node, old: Option<&Value>, new: Option<&Value>) -> Changes {
    let mut out = Changes::default();
    if old == new {
        return out;
    }
    let as_object = |v: Option<&Value>| v.is_none_or(Value::is_object);
    let as_list = |v: Option<&Value>| v.is_none_or(Value::is_array);
    match node.view {
        View::Struct(_) | View::Map(_) | View::Custom(_) | View::Free if as_object(old) && as_object(new) => {
            let get = |v: Option<&Value>| v.and_then(Value::as_object).cloned().unwrap_or_default();
            let (old_map, new_map) = (get(old), get(new));
            let gone = old_map.keys().filter(|k| !new_map.contains_key(*k));
            for k in new_map.keys().chain(gone) {
                if let Some(child) = node.child(k) {
                    out.add(field(k), compare(child, old_map.get(k), new_map.get(k)));
                }
            }
            let bare = |m: &Map<String, Value>| node.is_map() || m.is_empty();
            out.added.owned = old.is_none() && bare(&new_map);
            out.removed.owned = new.is_none() && bare(&old_map);
        }
        View::Set | View::Keyed(..) | View::CustomKeyed(..) if as_list(old) && as_list(new) => {
            let index = |v: Option<&Value>| -> Vec<(String, Value)> {
                let items = v.and_then(Value::as_array).into_iter().flatten();
                items.filter_map(|i| Some((element(node.view, i)?, i.clone()))).collect()
            };
            let (old_items, new_items) = (index(old), index(new));
            let find = |items: &[(String, Value)], e: &str| items.iter().find(|(x, _)| x == e).map(|(_, v)| v.clone());
            let gone = old_items.iter().filter(|(e, _)| find(&new_items, e).is_none());
            for (e, _) in new_items.iter().chain(gone) {
                let (o, n) = (find(&old_items, e), find(&new_items, e));
                let mut below = compare(inner(node.view), o.as_ref(), n.as_ref());
                below.added.owned |= o.is_none();
                below.removed.owned |= n.is_none();
                out.add(e.clone(), below);
            }
        }
        _ => match (old, new) {
            (None, _) => out.added = Set::leaf(),
            (_, None) => out.removed = Set::leaf(),
            _ => out.modified = Set::leaf(),
        },
    }
    out
}

/// `TypedValue.Merge`: the config wins; what only the live tree has stays. Lists take the config's order, with the elements
/// that only the live list has before those that they preceded.
pub(super) fn merge(node: Node, live: &mut Value, config: &Value) {
    match (node.view, &mut *live, config) {
        (View::Struct(_) | View::Map(_) | View::Custom(_) | View::Free, Value::Object(l), Value::Object(c)) => {
            for (k, v) in c {
                match (l.get_mut(k), node.child(k)) {
                    (Some(live), Some(child)) => merge(child, live, v),
                    _ => drop(l.insert(k.clone(), v.clone())),
                }
            }
        }
        (View::Set | View::Keyed(..) | View::CustomKeyed(..), Value::Array(l), Value::Array(c)) => {
            let keyed = |list: Vec<Value>| -> Vec<(String, Value)> {
                list.into_iter().filter_map(|v| Some((element(node.view, &v)?, v))).collect()
            };
            let mut ours = keyed(std::mem::take(l));
            let theirs = keyed(c.clone());
            for (e, v) in theirs {
                let Some(i) = ours.iter().position(|(x, _)| *x == e) else {
                    l.push(v);
                    continue;
                };
                // what only the live list has and stood before this one
                let before: Vec<_> = ours.drain(..=i).collect();
                let mut later = Vec::new();
                for (x, mut item) in before {
                    if x == e {
                        merge(inner(node.view), &mut item, &v);
                        l.push(item);
                    } else if c.iter().any(|i| element(node.view, i).as_deref() == Some(&x)) {
                        later.push((x, item));
                    } else {
                        l.push(item);
                    }
                }
                ours.splice(0..0, later);
            }
            l.extend(ours.into_iter().map(|(_, v)| v));
        }
        (_, live, config) => *live = config.clone(),
    }
}

/// Removes what is in `last` and, with all below it, not in `keep`. Objects and lists that this empties go as well, unless
/// they are kept themselves.
pub(super) fn prune(v: &mut Value, last: &Set, keep: &Set) {
    let none = Set::default();
    for (e, below) in &last.children {
        let kept = keep.children.get(e).unwrap_or(&none);
        let whole = below.owned && kept.is_empty();
        let rest = |child: &mut Value| -> bool {
            if whole {
                return false;
            }
            let full =
                |v: &Value| v.as_object().is_some_and(|o| !o.is_empty()) || v.as_array().is_some_and(|a| !a.is_empty());
            let was_full = full(child);
            prune(child, below, kept);
            kept.owned || !was_full || full(child)
        };
        match (e.split_at_checked(2), &mut *v) {
            (Some(("f:", name)), Value::Object(o)) => {
                if let Some(child) = o.get_mut(name)
                    && !rest(child)
                {
                    o.remove(name);
                }
            }
            (Some(("v:", value)), Value::Array(list)) => {
                let value: Value = serde_json::from_str(value).unwrap_or_default();
                list.retain_mut(|item| *item != value || rest(item));
            }
            (Some(("k:", keys)), Value::Array(list)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let is = |item: &Value| {
                    keys.iter().all(|(k, v)| match item.get(k) {
                        Some(have) => have == v,
                        None => k == "protocol" && v == "TCP",
                    })
                };
                list.retain_mut(|item| !is(item) || rest(item));
            }
            _ => {}
        }
    }
}
