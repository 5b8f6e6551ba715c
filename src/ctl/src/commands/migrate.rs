//! From client-side to server-side apply: kubectl's `csaupgrade`. Who updated the last-applied annotation was client-side apply;
//! what that owns becomes the applier's, so that what a configuration drops later is dropped.

use api::Value;
use serde_json::{Map, json};

use super::apply::LAST_APPLIED;
use crate::objects::{list, text};

/// The JSON patch that does it; `None` where there is nothing to do.
pub fn patch(object: &Value, manager: &str) -> Option<Value> {
    let entries = list(object, "/metadata/managedFields");
    let main = |e: &Value, operation: &str| text(e, "/operation") == operation && text(e, "/subresource").is_empty();
    let annotation = format!("f:{LAST_APPLIED}");
    let csa = |e: &Value| {
        main(e, "Update") && e["fieldsV1"]["f:metadata"]["f:annotations"].get(annotation.as_str()).is_some()
    };
    if !entries.iter().any(csa) {
        return None;
    }
    let mine = |e: &Value| main(e, "Apply") && text(e, "/manager") == manager;
    let mut applier = entries.iter().find(|e| mine(e)).or(entries.iter().find(|e| csa(e)))?.clone();
    applier["manager"] = manager.into();
    applier["operation"] = "Apply".into();
    let mut fields = applier["fieldsV1"].take();
    let mut rest = Vec::new();
    for e in entries {
        match csa(e) {
            true => unite(&mut fields, &e["fieldsV1"]),
            false if mine(e) => {}
            false => rest.push(e.clone()),
        }
    }
    applier["fieldsV1"] = fields;
    rest.insert(0, applier);
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": rest},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
    ]))
}

/// The union of two `fieldsV1`. A field without any below is a member; with some, `.` says so.
fn unite(fields: &mut Value, other: &Value) {
    let (Some(ours), Some(theirs)) = (fields.as_object_mut(), other.as_object()) else { return };
    for (element, below) in theirs {
        let Some(known) = ours.get_mut(element) else {
            ours.insert(element.clone(), below.clone());
            continue;
        };
        let empty = |v: &Value| v.as_object().is_some_and(Map::is_empty);
        if empty(known) != empty(below) {
            if empty(known) {
                *known = below.clone();
            }
            known["."] = json!({});
        } else {
            unite(known, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_side_entries_become_the_appliers() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let annotations = json!({"f:annotations": {".": {}, format!("f:{LAST_APPLIED}"): {}}});
        let object = json!({"metadata": {"resourceVersion": "5", "managedFields": [
            entry("kubectl", "Apply", json!({"f:data": {"f:a": {}}})),
            entry("before-first-apply", "Update", json!({"f:metadata": annotations, "f:data": {".": {}, "f:b": {}}})),
            entry("other", "Update", json!({"f:data": {"f:c": {}}})),
        ]}});
        let made = patch(&object, "kubectl").unwrap();
        assert_eq!(
            made[0]["value"],
            json!([
                entry(
                    "kubectl",
                    "Apply",
                    json!({"f:metadata": annotations, "f:data": {".": {}, "f:a": {}, "f:b": {}}})
                ),
                entry("other", "Update", json!({"f:data": {"f:c": {}}})),
            ])
        );
        assert_eq!(made[1]["value"], "5");
        let mut after = object;
        after["metadata"]["managedFields"] = made[0]["value"].clone();
        assert_eq!(patch(&after, "kubectl"), None);

        let mut a = json!({"f:x": {}, "f:y": {"f:z": {}}});
        unite(&mut a, &json!({"f:x": {"f:w": {}}, "f:y": {}}));
        assert_eq!(a, json!({"f:x": {".": {}, "f:w": {}}, "f:y": {".": {}, "f:z": {}}}));
    }
}
