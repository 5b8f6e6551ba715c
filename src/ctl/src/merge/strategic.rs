//! Strategic merge patches: `strategicpatch.CreateThreeWayMergePatch`.

use api::Value;
use api::schema::{Field, Shape, Type};
use serde_json::{Map, json};

type Object = Map<String, Value>;

/// From `current` to `modified`; what `original` had and `modified` has not is deleted.
pub fn three_way(original: &Value, modified: &Value, current: &Value, schema: &'static Type) -> Value {
    let empty = Object::new();
    let map = |v: &'_ Value| v.as_object().cloned().unwrap_or_default();
    let modified = modified.as_object().unwrap_or(&empty);
    let mut patch = maps(&map(current), modified, Some(schema), false, Side::Changes);
    let gone = maps(&map(original), modified, Some(schema), false, Side::Deletions);
    combine(&mut patch, gone, Some(schema));
    Value::Object(patch)
}

/// Which half of a difference is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Changes,
    Deletions,
}

fn has(field: Option<&Field>, strategy: &str) -> bool {
    field.is_some_and(|f| f.patch_strategy.split(',').any(|s| s == strategy))
}

fn inner(field: Option<&Field>) -> Option<&'static Type> {
    match field?.shape {
        Shape::Object(t) => Some(t.get()),
        Shape::List(Shape::Object(t)) => Some(t.get()),
        _ => None,
    }
}

fn maps(from: &Object, to: &Object, schema: Option<&'static Type>, retain_keys: bool, side: Side) -> Object {
    let mut patch = Object::new();
    let changes = side == Side::Changes;
    for (key, new) in to {
        let field = schema.and_then(|s| s.field(key));
        match (from.get(key), new) {
            (Some(Value::Object(a)), Value::Object(b)) if !has(field, "replace") => {
                let sub = maps(a, b, inner(field), has(field, "retainKeys"), side);
                if !sub.is_empty() {
                    patch.insert(key.clone(), Value::Object(sub));
                }
            }
            (Some(Value::Array(a)), Value::Array(b)) if has(field, "merge") => {
                lists(key, a, b, field, side, &mut patch);
            }
            (Some(old), new) if old == new || (old.is_null() && new.is_null()) => {}
            (None, Value::Null) => {}
            _ if changes => drop(patch.insert(key.clone(), new.clone())),
            _ => {}
        }
    }
    if !changes {
        patch.extend(from.keys().filter(|k| !to.contains_key(*k)).map(|k| (k.clone(), Value::Null)));
    }
    if retain_keys && changes && !patch.is_empty() {
        patch.insert("$retainKeys".into(), to.keys().cloned().collect());
    }
    patch
}

fn lists(key: &str, from: &[Value], to: &[Value], field: Option<&Field>, side: Side, patch: &mut Object) {
    let merge_key = field.map_or("", |f| f.merge_key);
    if merge_key.is_empty() {
        let missing = |a: &[Value], b: &[Value]| a.iter().filter(|v| !b.contains(v)).cloned().collect::<Vec<_>>();
        let (name, values) = match side {
            Side::Changes => (key.to_owned(), missing(to, from)),
            Side::Deletions => (format!("$deleteFromPrimitiveList/{key}"), missing(from, to)),
        };
        if !values.is_empty() {
            patch.insert(name, values.into());
        }
        return;
    }
    let find = |list: &'_ [Value], k: &Value| list.iter().position(|v| v.get(merge_key) == Some(k));
    let unclear = |list: &[Value]| {
        list.iter().enumerate().any(|(i, v)| v.get(merge_key).is_none_or(|k| find(list, k) != Some(i)))
    };
    if unclear(from) || unclear(to) {
        // keys that occur twice (53/TCP and 53/UDP) cannot be merged by key: the list as a whole
        if side == Side::Changes && from != to {
            let whole = std::iter::once(json!({"$patch": "replace"})).chain(to.iter().cloned());
            patch.insert(key.to_owned(), whole.collect());
        }
        return;
    }
    let mut out = Vec::new();
    for new in to {
        let old = find(from, &new[merge_key]).map(|i| &from[i]);
        match (old, new) {
            (Some(Value::Object(a)), Value::Object(b)) => {
                let mut sub = maps(a, b, inner(field), has(field, "retainKeys"), side);
                if !sub.is_empty() {
                    sub.insert(merge_key.to_owned(), new[merge_key].clone());
                    out.push(Value::Object(sub));
                }
            }
            _ if side == Side::Changes => out.push(new.clone()),
            _ => {}
        }
    }
    if side == Side::Deletions {
        let gone = from.iter().filter(|old| find(to, &old[merge_key]).is_none());
        out.extend(gone.map(|old| json!({"$patch": "delete", (merge_key): old[merge_key]})));
    }
    let order: Vec<usize> = to.iter().filter_map(|v| find(from, &v[merge_key])).collect();
    if side == Side::Changes && (!out.is_empty() || !order.is_sorted()) {
        let keys = to.iter().map(|v| json!({(merge_key): v[merge_key]}));
        patch.insert(format!("$setElementOrder/{key}"), keys.collect());
    }
    if !out.is_empty() {
        patch.insert(key.to_owned(), out.into());
    }
}

/// Adds the deletions to the changes.
fn combine(patch: &mut Object, more: Object, schema: Option<&'static Type>) {
    for (key, value) in more {
        let field = schema.and_then(|s| s.field(&key));
        match (patch.get_mut(&key), value) {
            (Some(Value::Object(a)), Value::Object(b)) => combine(a, b, inner(field)),
            (Some(Value::Array(a)), Value::Array(b)) => {
                let replaced = a.first().is_some_and(|v| v["$patch"] == "replace");
                let merge_key = field.map_or("", |f| f.merge_key);
                for element in b.into_iter().filter(|_| !replaced) {
                    let same = a
                        .iter_mut()
                        .find(|v| element.get("$patch").is_none() && v.get(merge_key) == element.get(merge_key));
                    match (same, element) {
                        (Some(Value::Object(x)), Value::Object(y)) => combine(x, y, inner(field)),
                        (_, element) => a.push(element),
                    }
                }
            }
            (None, value) => drop(patch.insert(key, value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::schema::find_kind;

    fn deploy(containers: Value, more: Value) -> Value {
        let mut v = json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": containers}}}});
        v["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        v
    }

    #[test]
    fn three_ways_meet() {
        let schema = find_kind("apps", "v1", "Deployment").unwrap();
        let old = deploy(
            json!([{"name": "a", "image": "a:1", "tty": true}, {"name": "b", "image": "b:1"}]),
            json!({"replicas": 2}),
        );
        let new = deploy(json!([{"name": "a", "image": "a:2"}, {"name": "c", "image": "c:1"}]), json!({}));
        let live = deploy(
            json!([{"name": "a", "image": "a:1", "tty": true, "imagePullPolicy": "Always"}, {"name": "b", "image": "b:1"}, {"name": "injected", "image": "i"}]),
            json!({"replicas": 5, "paused": true}),
        );
        let patch = three_way(&old, &new, &live, schema);
        let want = json!({"spec": {
            "replicas": null,
            "template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
                "containers": [
                    {"name": "a", "image": "a:2", "tty": null},
                    {"name": "c", "image": "c:1"},
                    {"$patch": "delete", "name": "b"}
                ]
            }}
        }});
        assert_eq!(patch, want);
        let mut result = live.clone();
        api::patch::strategic(&mut result, &patch, schema).unwrap();
        let names: Vec<&str> = result["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"a") && names.contains(&"c") && names.contains(&"injected") && !names.contains(&"b"));
        assert_eq!((&result["spec"]["replicas"], &result["spec"]["paused"]), (&Value::Null, &json!(true)));
        assert_eq!(three_way(&new, &new, &result, schema), json!({}));
    }

    #[test]
    fn volumes_keep_one_source() {
        let schema = find_kind("", "v1", "Pod").unwrap();
        let pod = |source: Value| {
            let mut v = json!({"name": "v"});
            v.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            json!({"spec": {"volumes": [v]}})
        };
        let (a, b) = (pod(json!({"emptyDir": {}})), pod(json!({"hostPath": {"path": "/x"}})));
        let patch = three_way(&a, &b, &a, schema);
        let mut result = a.clone();
        api::patch::strategic(&mut result, &patch, schema).unwrap();
        assert_eq!(result, b);
    }

    #[test]
    fn ports_with_one_number_twice() {
        let schema = find_kind("", "v1", "Service").unwrap();
        let dns = |target: i32| {
            json!({"spec": {"ports": [
            {"port": 53, "protocol": "TCP", "name": "t", "targetPort": target}, {"port": 53, "protocol": "UDP", "name": "u"}]}})
        };
        let patch = three_way(&dns(1), &dns(2), &dns(1), schema);
        let mut result = dns(1);
        api::patch::strategic(&mut result, &patch, schema).unwrap();
        assert_eq!(result, dns(2));
    }
}
