//! Strategic merge patch: upstream's `strategicpatch`, with all its directives.
//!
//! | directive | where | does |
//! |---|---|---|
//! | `$patch: replace` | map, or list element | the map or list is replaced by the patch's |
//! | `$patch: delete` | map, or list element with the merge key | empties the map, deletes the element |
//! | `$deleteFromPrimitiveList/f` | beside list `f` | deletes these values |
//! | `$setElementOrder/f` | beside list `f` | orders it so; elements that only the server has keep their places |
//! | `$retainKeys` | map | deletes all other keys |

use serde_json::{Map, Value};

use crate::schema::{Field, Shape, Type};
use crate::{Reason, Status};

type Object = Map<String, Value>;

const MARKER: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// `application/strategic-merge-patch+json`. `schema` tells how lists merge; where it knows nothing, lists are replaced and
/// maps merged.
pub fn strategic(tree: &mut Value, patch: &Value, schema: &'static Type) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request("Invalid JSON Patch"));
    };
    if !tree.is_object() {
        *tree = Value::Object(Object::new());
    }
    let Value::Object(original) = tree else { return Ok(()) };
    merge_map(original, patch.clone(), Some(schema))
}

fn bad_request(what: &str) -> Status {
    Status::bad_request(what)
}

/// Upstream answers these as plain Go errors.
fn failure(text: String) -> Status {
    Status::new(Reason::Unknown, text)
}

fn unknown_directive(directive: &Value, map: &Object) -> Status {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    failure(format!("unknown patch type: {directive} in map: {}", go(&Value::Object(map.clone()))))
}

fn no_merge_key(map: &Object, key: &str) -> Status {
    failure(format!("map: {} does not contain declared merge key: {key}", go(&Value::Object(map.clone()))))
}

/// As Go's `%v` prints it.
fn go(v: &Value) -> String {
    match v {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(a) => format!("[{}]", a.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(o) => {
            format!("map[{}]", o.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

fn element_type(field: Option<&Field>) -> Option<&'static Type> {
    match field?.shape {
        Shape::Object(t) => Some(t.get()),
        Shape::List(Shape::Object(t)) => Some(t.get()),
        _ => None,
    }
}

fn strategy(field: Option<&Field>, name: &str) -> bool {
    field.is_some_and(|f| f.patch_strategy.split(',').any(|s| s == name))
}

fn merge_map(original: &mut Object, mut patch: Object, schema: Option<&'static Type>) -> Result<(), Status> {
    if let Some(directive) = patch.remove(MARKER) {
        match directive.as_str() {
            Some("replace") => *original = patch,
            Some("delete") => original.clear(),
            _ => return Err(unknown_directive(&directive, &patch)),
        }
        return Ok(());
    }
    retain_keys(original, &mut patch)?;
    set_element_orders(original, &mut patch, schema)?;

    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE) {
            Some(list) => (list.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let field = schema.and_then(|s| s.field(&key));
        match (original.get_mut(&key), value) {
            (Some(Value::Object(o)), Value::Object(p)) if !strategy(field, "replace") => {
                merge_map(o, p, element_type(field))?;
            }
            (Some(Value::Array(o)), Value::Array(p)) if deletes || strategy(field, "merge") => {
                let merge_key = field.map_or("", |f| f.merge_key);
                *o = merge_list(std::mem::take(o), p, element_type(field), merge_key, deletes)?;
            }
            (_, value) if !deletes => {
                if let Some(value) = plain(value) {
                    original.insert(key, value);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A patch value that meets nothing to merge with: nulls and directives go, the rest is the value.
fn plain(v: Value) -> Option<Value> {
    match v {
        Value::Object(o) => {
            if o.get(MARKER).is_some_and(|d| d == "delete") {
                return None;
            }
            let directive = |k: &str| k == MARKER || k == RETAIN || k.starts_with(DELETE) || k.starts_with(ORDER);
            let kept = o.into_iter().filter(|(k, v)| !directive(k) && !v.is_null());
            Some(Value::Object(kept.filter_map(|(k, v)| Some((k, plain(v)?))).collect()))
        }
        Value::Array(a) => {
            let marker = |v: &Value| v.as_object().is_some_and(|o| o.len() == 1 && o.contains_key(MARKER));
            Some(Value::Array(a.into_iter().filter(|v| !marker(v)).filter_map(plain).collect()))
        }
        other => Some(other),
    }
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(list) = patch.remove(RETAIN) else { return Ok(()) };
    let Value::Array(list) = list else { return Err(bad_request("invalid patch format of retainKeys")) };
    let kept = |k: &str| list.iter().any(|v| v == k);
    let directive = |k: &str| k.starts_with(DELETE) || k.starts_with(ORDER);
    if patch.iter().any(|(k, v)| !v.is_null() && !directive(k) && !kept(k)) {
        return Err(bad_request("invalid patch format of retainKeys"));
    }
    original.retain(|k, _| kept(k));
    Ok(())
}

fn set_element_orders(original: &mut Object, patch: &mut Object, schema: Option<&'static Type>) -> Result<(), Status> {
    let keys: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
    for directive in keys {
        let order = patch.remove(&directive).unwrap_or_default();
        let Value::Array(order) = order else {
            return Err(bad_request("invalid patch format of setElementOrder list"));
        };
        let key = &directive[ORDER.len()..];
        let field = schema.and_then(|s| s.field(key));
        let merge_key = field.map_or("", |f| f.merge_key);
        let ours = match original.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) => Some(list.clone()),
            Some(_) => return Err(bad_request("the element order of a field that is not a list")),
        };
        let theirs = match patch.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) => Some(list),
            Some(_) => return Err(bad_request("the element order of a field that is not a list")),
        };
        if let Some(list) = &theirs {
            check_order(list, &order, merge_key)?;
        }
        // `$deleteFromPrimitiveList` must have worked before the order is set
        let ours = match (ours, patch.remove(&format!("{DELETE}{key}"))) {
            (Some(list), Some(Value::Array(delete))) => Some(merge_list(list, delete, None, "", true)?),
            (list, _) => list,
        };
        let server = ours.clone().unwrap_or_default();
        let merged = match (ours, theirs) {
            (Some(ours), None) => ours,
            (None, Some(theirs)) => match plain(Value::Array(theirs)) {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            },
            (Some(ours), Some(theirs)) if strategy(field, "merge") => {
                merge_list(ours, theirs, element_type(field), merge_key, false)?
            }
            (Some(_), Some(theirs)) => theirs,
            (None, None) => continue,
        };
        let ordered = in_order(merged, &order, &server, merge_key);
        original.insert(key.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

/// The patch's elements must appear in its order, in the same sequence.
fn check_order(list: &[Value], order: &[Value], merge_key: &str) -> Result<(), Status> {
    let wanted = list.iter().filter(|v| v.get(MARKER).is_none());
    let mut rest = order.iter();
    for v in wanted {
        if !rest.any(|o| same(o, v, merge_key)) {
            let text = "The order in patch list:\n%v\n doesn't match %s list:\n%v\n"
                .replacen("%v", &go(&Value::Array(list.to_vec())), 1)
                .replacen("%s", "$setElementOrder", 1)
                .replacen("%v", &go(&Value::Array(order.to_vec())), 1);
            return Err(failure(text));
        }
    }
    Ok(())
}

/// Whether two elements are the same one: by merge key, or by value where there is none.
fn same(a: &Value, b: &Value, merge_key: &str) -> bool {
    if merge_key.is_empty() { a == b } else { a.get(merge_key).is_some() && a.get(merge_key) == b.get(merge_key) }
}

fn index(list: &[Value], v: &Value, merge_key: &str) -> Option<usize> {
    list.iter().position(|o| same(o, v, merge_key))
}

/// `normalizeElementOrder`: what the patch names comes in its order; the server's own elements stay before what they stood
/// before.
fn in_order(merged: Vec<Value>, order: &[Value], server: &[Value], merge_key: &str) -> Vec<Value> {
    let (mut named, mut own): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| index(order, v, merge_key).is_some());
    named.sort_by_key(|v| index(order, v, merge_key));
    own.sort_by_key(|v| index(server, v, merge_key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + own.len());
    let (mut named, mut own) = (named.into_iter().peekable(), own.into_iter().peekable());
    while let (Some(l), Some(r)) = (own.peek(), named.peek()) {
        let places = (index(server, l, merge_key), index(server, r, merge_key));
        let own_first = matches!(places, (Some(l), Some(r)) if l < r);
        out.extend(if own_first { own.next() } else { named.next() });
    }
    out.extend(own);
    out.extend(named);
    out
}

fn merge_list(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    schema: Option<&'static Type>,
    merge_key: &str,
    deletes: bool,
) -> Result<Vec<Value>, Status> {
    if deletes {
        original.retain(|v| !patch.contains(v));
        return Ok(original);
    }
    let Some(first) = original.first().or(patch.first()) else { return Ok(original) };
    let maps = first.is_object();
    if original.iter().chain(&patch).any(|v| v.is_object() != maps || v.is_array()) {
        return Err(failure("list element types are not identical".into()));
    }
    if !maps {
        let server = original.clone();
        for v in &patch {
            if !original.contains(v) {
                original.push(v.clone());
            }
        }
        return Ok(in_order(original, &patch, &server, ""));
    }
    if merge_key.is_empty() {
        let name = schema.map_or("", Type::go_name);
        return Err(failure(format!("cannot merge lists without merge key for {name}")));
    }

    let mut elements = Vec::with_capacity(patch.len());
    let mut replace = false;
    for v in patch {
        let Value::Object(element) = v else { continue };
        match element.get(MARKER).map(Value::as_str) {
            None => elements.push(element),
            Some(Some("delete")) => {
                let Some(key) = element.get(merge_key) else { return Err(no_merge_key(&element, merge_key)) };
                original.retain(|o| o.get(merge_key) != Some(key));
            }
            // the element itself says nothing else
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => {
                return Err(failure("merging lists cannot yet be specified in the patch".into()));
            }
            Some(_) => return Err(unknown_directive(&element[MARKER], &element)),
        }
    }
    if replace {
        return Ok(elements.into_iter().filter_map(|e| plain(Value::Object(e))).collect());
    }
    let server = original.clone();
    let order: Vec<Value> = elements.iter().cloned().map(Value::Object).collect();
    for element in elements {
        let Some(key) = element.get(merge_key) else { return Err(no_merge_key(&element, merge_key)) };
        match original.iter_mut().find(|o| o.get(merge_key) == Some(key)) {
            Some(Value::Object(o)) => merge_map(o, element, schema)?,
            _ => original.extend(plain(Value::Object(element))),
        }
    }
    Ok(in_order(original, &order, &server, merge_key))
}

#[cfg(test)]
mod tests;
