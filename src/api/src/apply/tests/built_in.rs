use serde_json::json;

use super::super::*;
use crate::schema::Type;
use crate::schema::find;

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "apps/v1", subresource: "", now: "2020-01-01T00:00:00Z", has_status: true }
}

fn deployment() -> &'static Type {
    find("io.k8s.api.apps.v1.Deployment").unwrap()
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn owned(object: &Value, manager: &str) -> Value {
    let all = object["metadata"]["managedFields"].as_array().unwrap();
    all.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn applying_creates_merges_and_prunes() {
    let first = config(json!({"replicas": 1, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
        {"name": "x", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "y", "image": "1"}]}}}));
    let live = apply(deployment(), None, &first, &writer("m"), false).unwrap();
    assert_eq!(
        owned(&live, "m"),
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:image": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}},
            "k:{\"name\":\"y\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}})
    );
    // defaulting adds what nobody owns
    let mut live = live;
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    let second = config(json!({"template": {"spec": {"containers": [{"name": "x", "image": "2"}]}}}));
    let live = apply(deployment(), Some(&live), &second, &writer("m"), false).unwrap();
    assert_eq!(
        live["spec"],
        json!({"template": {"spec": {"containers": [{"name": "x", "image": "2", "imagePullPolicy": "Always"}]}}})
    );
    // nothing new: nothing changes, not even the time
    let again =
        apply(deployment(), Some(&live), &second, &Writer { now: "2021-01-01T00:00:00Z", ..writer("m") }, false)
            .unwrap();
    assert_eq!(again, live);
}

#[test]
fn conflicts_name_manager_and_field() {
    let live = apply(deployment(), None, &config(json!({"replicas": 1, "paused": true})), &writer("a"), false).unwrap();
    let theirs = config(json!({"replicas": 2}));
    let e = apply(deployment(), Some(&live), &theirs, &writer("b"), false).unwrap_err();
    assert_eq!(e.code, 409);
    assert_eq!(e.message, "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    assert_eq!(e.causes[0].reason, "FieldManagerConflict");
    assert_eq!(e.causes[0].field, ".spec.replicas");
    let forced = apply(deployment(), Some(&live), &theirs, &writer("b"), true).unwrap();
    assert_eq!(forced["spec"], json!({"replicas": 2, "paused": true}));
    assert_eq!(owned(&forced, "a"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(owned(&forced, "b"), json!({"f:spec": {"f:replicas": {}}}));
    // agreeing is sharing
    let same = apply(deployment(), Some(&live), &config(json!({"replicas": 1})), &writer("b"), false).unwrap();
    assert_eq!(owned(&same, "a")["f:spec"]["f:replicas"], json!({}));
    // and what two own stays when one lets go
    let less = apply(deployment(), Some(&same), &config(json!({"paused": true})), &writer("a"), false).unwrap();
    assert_eq!(less["spec"], json!({"replicas": 1, "paused": true}));
}

#[test]
fn the_first_apply_finds_what_was_there_before() {
    let live = config(json!({"replicas": 1}));
    let e = apply(deployment(), Some(&live), &config(json!({"replicas": 2, "paused": true})), &writer("m"), false)
        .unwrap_err();
    assert_eq!(
        e.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn other_writes_are_recorded_once_somebody_applies() {
    let mut new = config(json!({"replicas": 3}));
    record(deployment(), &config(json!({"replicas": 1})), &mut new, &writer("u"));
    assert!(new["metadata"].get("managedFields").is_none());

    let live = apply(deployment(), None, &config(json!({"replicas": 1, "paused": true})), &writer("m"), false).unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(3);
    new["status"] = json!({"replicas": 3});
    new["spec"].as_object_mut().unwrap().remove("paused");
    record(deployment(), &live, &mut new, &writer("u"));
    // status is its subresource's
    assert_eq!(owned(&new, "u"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&new, "m"), Value::Null);
}

#[test]
fn bad_configs_are_refused() {
    let keyless = config(json!({"template": {"spec": {"containers": [{"image": "x"}]}}}));
    let e = apply(deployment(), None, &keyless, &writer("m"), false).unwrap_err();
    assert!(e.code == 500 && e.message.contains("omits all key fields [\"name\"]"), "{e}");
    let mut owned = config(json!({}));
    owned["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(
        apply(deployment(), None, &owned, &writer("m"), false).unwrap_err().message,
        "metadata.managedFields must be nil"
    );
}

#[test]
fn sets_and_orders() {
    let service = find("io.k8s.api.core.v1.Pod").unwrap();
    let live = json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1"}}, "spec": {"containers": [{"name": "s"}, {"name": "b"}, {"name": "a"}]}});
    let config = json!({"metadata": {"finalizers": ["c", "a"], "labels": {}}, "spec": {"containers": [{"name": "a"}, {"name": "n"}, {"name": "b"}]}});
    let got = apply(service, Some(&live), &config, &writer("m"), true).unwrap();
    assert_eq!(got["metadata"]["finalizers"], json!(["c", "a", "b"]));
    assert_eq!(got["metadata"]["labels"], json!({"x": "1"}));
    let names: Vec<_> =
        got["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["s", "a", "n", "b"]);
    let set = owned(&got, "m");
    assert_eq!(set["f:metadata"]["f:finalizers"], json!({"v:\"a\"": {}, "v:\"c\"": {}}));
}
