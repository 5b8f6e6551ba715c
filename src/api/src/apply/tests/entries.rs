//! `managedFields`: what Kubernetes puts around the core.

use serde_json::json;

use super::super::*;
use crate::schema::find;

const LATER: &str = "2021-01-01T00:00:00Z";

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "apps/v1", subresource: "", now: "2020-01-01T00:00:00Z", has_status: true }
}
fn schema() -> Schema<'static> {
    find("io.k8s.api.apps.v1.Deployment").unwrap().into()
}
fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec})
}
fn managers(object: &Value) -> Vec<&str> {
    let all = object["metadata"]["managedFields"].as_array();
    all.into_iter().flatten().filter_map(|e| e["manager"].as_str()).collect()
}

#[test]
fn what_a_client_brings_as_managed_fields() {
    let live = apply(schema(), None, &deployment(json!({"replicas": 1})), &writer("a"), false).unwrap();
    let entry = |operation: &str| {
        json!({"manager": "b", "operation": operation, "apiVersion": "apps/v1", "time": LATER, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}})
    };
    for (brought, subresource, want) in [
        (Value::Null, "", vec!["a"]),
        // reset
        (json!([]), "", vec![]),
        (json!([{}]), "", vec![]),
        // replaced, as kubectl does on the way from client-side apply
        (json!([entry("Apply")]), "", vec!["b"]),
        // not understood: those that were there stay
        (json!([entry("Eat")]), "", vec!["a"]),
        (json!([{}, {}]), "", vec!["a"]),
        // a subresource may not
        (json!([entry("Apply")]), "status", vec!["a"]),
        (json!([]), "status", vec!["a"]),
    ] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = brought.clone();
        record(schema(), &live, &mut new, &Writer { subresource, ..writer("u") });
        assert_eq!(managers(&new), want, "{brought} {subresource}");
        if want == ["b"] {
            assert_eq!(new["metadata"]["managedFields"][0]["time"], LATER);
        }
    }
    // after a reset nobody is recorded, until the next apply
    let mut new = deployment(json!({"replicas": 2}));
    record(schema(), &deployment(json!({"replicas": 1})), &mut new, &writer("u"));
    assert!(new["metadata"].get("managedFields").is_none());
}

#[test]
fn managed_fields_may_not_be_applied() {
    for managed in [json!([]), json!([{}])] {
        let mut config = deployment(json!({}));
        config["metadata"]["managedFields"] = managed;
        let e = apply(schema(), None, &config, &writer("m"), true).unwrap_err();
        assert_eq!((e.code, e.message.as_str()), (400, "metadata.managedFields must be nil"));
    }
}

#[test]
fn time_goes_by_where_something_changes() {
    let time = |object: &Value| object["metadata"]["managedFields"][0]["time"].as_str().map(str::to_owned);
    let (one, later) = (deployment(json!({"replicas": 1})), Writer { now: LATER, ..writer("a") });
    let live = apply(schema(), None, &one, &writer("a"), false).unwrap();
    let same = apply(schema(), Some(&live), &one, &later, false).unwrap();
    assert_eq!(same, live);
    let changed = apply(schema(), Some(&live), &deployment(json!({"replicas": 2})), &later, false).unwrap();
    assert_eq!(time(&changed).as_deref(), Some(LATER));
    // a custom resource's empty object, which by its schema stands for all that is in it
    let custom = crate::crd::Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "integer"}}}}}));
    let object = |spec: Value| json!({"metadata": {"name": "c"}, "spec": spec});
    let first = apply(Schema::Custom(&custom), Some(&object(json!({"a": 1}))), &object(json!({})), &writer("a"), false);
    let first = first.unwrap();
    assert_eq!(apply(Schema::Custom(&custom), Some(&first), &object(json!({})), &later, false).unwrap(), first);
    // an update that changes nothing
    let mut new = live.clone();
    record(schema(), &live, &mut new, &Writer { now: LATER, ..writer("u") });
    assert_eq!(new, live);
}

#[test]
fn subresources_have_entries_of_their_own() {
    let live = apply(schema(), None, &deployment(json!({"replicas": 1})), &writer("a"), false).unwrap();
    let status = |n: i64| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"x": "y"}},
            "spec": {"paused": true}, "status": {"replicas": n}})
    };
    let w = Writer { subresource: "status", ..writer("a") };
    let live = apply(schema(), Some(&live), &status(1), &w, false).unwrap();
    let all = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    let entry = all.iter().find(|e| e["subresource"] == "status").unwrap();
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:status": {"f:replicas": {}}}),
        "spec is reset"
    );
    // the main resource resets status: neither owned nor a conflict
    let mut config = status(5);
    config["spec"] = json!({"replicas": 1});
    let both = apply(schema(), Some(&live), &config, &writer("b"), false).unwrap();
    let b = both["metadata"]["managedFields"].as_array().unwrap().iter().find(|e| e["manager"] == "b").unwrap();
    assert_eq!(b["fieldsV1"]["f:status"], Value::Null);
    let e =
        apply(schema(), Some(&live), &status(2), &Writer { subresource: "status", ..writer("c") }, false).unwrap_err();
    assert_eq!(
        e.message,
        "Apply failed with 1 conflict: conflict with \"a\" with subresource \"status\": .status.replicas"
    );
}

#[test]
fn conflicts_with_several() {
    let one = deployment(json!({"replicas": 1, "paused": true, "minReadySeconds": 3}));
    let live = apply(schema(), None, &one, &writer("z"), false).unwrap();
    let mut new = live.clone();
    new["spec"]["minReadySeconds"] = json!(4);
    record(schema(), &live, &mut new, &Writer { manager: "", ..writer("u") });
    let wanted = deployment(json!({"replicas": 2, "paused": false, "minReadySeconds": 5}));
    let e = apply(schema(), Some(&new), &wanted, &writer("m"), false).unwrap_err();
    assert_eq!(
        e.message,
        "Apply failed with 3 conflicts: conflicts with \"unknown\" using apps/v1:\n- .spec.minReadySeconds\nconflicts with \
         \"z\":\n- .spec.paused\n- .spec.replicas"
    );
    assert_eq!(e.causes.len(), 3);
    assert_eq!(e.causes[0].message, "conflict with \"unknown\" using apps/v1");
}

#[test]
fn old_updaters_become_one() {
    let mut live = apply(schema(), None, &deployment(json!({"replicas": 1})), &writer("a"), false).unwrap();
    for i in 0..12 {
        let (manager, now) = (format!("u{i:02}"), format!("2020-01-01T00:00:{i:02}Z"));
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{i}")] = json!("x");
        record(schema(), &live, &mut new, &Writer { manager: &manager, now: &now, ..writer("") });
        live = new;
    }
    let names = managers(&live);
    assert_eq!(names.len(), 11);
    assert_eq!(names[..3], ["a", "ancient-changes", "u03"]);
    let ancient = &live["metadata"]["managedFields"][1];
    assert_eq!(ancient["time"], "2020-01-01T00:00:02Z");
    let labels = ancient["fieldsV1"]["f:metadata"]["f:labels"].as_object().unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), [".", "f:l0", "f:l1", "f:l2"]);
}

#[test]
fn from_client_side_apply() {
    const KEY: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let was = deployment(json!({"replicas": 1, "paused": true}));
    let mut live = was.clone();
    live["metadata"]["annotations"][KEY] = was.to_string().into();
    live["spec"]["revisionHistoryLimit"] = json!(10);
    let wanted = deployment(json!({"replicas": 2, "paused": true}));
    // another manager has no such right
    assert!(apply(schema(), Some(&live), &wanted, &writer("other"), false).unwrap_err().is_conflict());
    let done = apply(schema(), Some(&live), &wanted, &writer("kubectl"), false).unwrap();
    assert_eq!(done["spec"]["replicas"], 2);
    assert_eq!(done["metadata"]["annotations"][KEY], format!("{wanted}\n"));
    // what client-side apply did not write, or somebody changed since, is a conflict
    let wanted = deployment(json!({"replicas": 2, "revisionHistoryLimit": 3}));
    let e = apply(schema(), Some(&live), &wanted, &writer("kubectl"), false).unwrap_err();
    assert_eq!(
        e.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.revisionHistoryLimit"
    );
    live["spec"]["replicas"] = json!(3);
    let e = apply(schema(), Some(&live), &wanted, &writer("kubectl"), false).unwrap_err();
    assert_eq!(e.causes.len(), 2);
}

#[test]
fn structs_that_are_always_there_are_nobodys() {
    let live = deployment(json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [{"name": "a", "resources": {}}]}}}));
    let done = apply(schema(), Some(&live), &deployment(json!({})), &writer("m"), false).unwrap();
    assert_eq!(
        done["metadata"]["managedFields"][1]["fieldsV1"],
        json!({"f:spec": {
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:resources": {}}}}}}})
    );
}

/// Seen at kube-apiserver's.
#[test]
fn a_creation_is_its_writers() {
    let core = |kind: &str| Schema::Type(find(&format!("io.k8s.api.core.v1.{kind}")).unwrap());
    let metadata = json!({"name": "x", "namespace": "n", "uid": "u", "creationTimestamp": "2020-01-01T00:00:00Z", "labels": {"a": "b"}});
    let labels = json!({"f:labels": {".": {}, "f:a": {}}});
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "resources": {}}]}});
    for (schema, body, fields) in [
        (core("ConfigMap"), json!({"data": {"k": "v"}}), json!({"f:data": {".": {}, "f:k": {}}})),
        (
            core("Namespace"),
            json!({"spec": {"finalizers": []}, "status": {"phase": "Active"}}),
            json!({"f:spec": {"f:finalizers": {}}}),
        ),
        (
            core("Service"),
            json!({"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}, "status": {"loadBalancer": {}}}),
            json!({"f:spec": {"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:selector": {}}}),
        ),
        (
            core("Event"),
            json!({"source": {"component": "c"}, "involvedObject": {"name": "x"}}),
            json!({"f:source": {"f:component": {}}, "f:involvedObject": {}}),
        ),
        (
            core("PersistentVolumeClaim"),
            json!({"spec": {"resources": {"requests": {"storage": "1"}}}}),
            json!({"f:spec": {"f:resources": {"f:requests": {".": {}, "f:storage": {}}}}}),
        ),
        (
            core("PodTemplate"),
            json!({"template": pod}),
            json!({"f:template": {"f:metadata": labels,
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:resources": {}}}}}}),
        ),
        // here the template is a pointer: it is set as a whole
        (
            core("ReplicationController"),
            json!({"spec": {"template": pod}}),
            json!({"f:spec": {"f:template": {".": {}, "f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}},
                "f:spec": {".": {}, "f:containers": {".": {}, "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:resources": {}}}}}}}),
        ),
    ] {
        let mut new = body;
        new["metadata"] = metadata.clone();
        record_new(schema, &mut new, &writer("m"));
        let all = new["metadata"]["managedFields"].as_array().unwrap();
        let mut want = fields;
        want["f:metadata"] = labels.clone();
        assert_eq!((all.len(), &all[0]["operation"], &all[0]["fieldsV1"]), (1, &json!("Update"), &want));
    }
}

#[test]
fn a_creation_may_bring_its_owners() {
    let mut new = deployment(json!({"replicas": 1, "paused": true}));
    let theirs = json!({"manager": "old", "operation": "Apply", "apiVersion": "apps/v1", "time": LATER, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}});
    new["metadata"]["managedFields"] = json!([theirs]);
    record_new(schema(), &mut new, &writer("m"));
    assert_eq!(managers(&new), ["m"]);
    for nobody in [json!([]), json!([{}]), json!("what")] {
        new["metadata"]["managedFields"] = nobody;
        record_new(schema(), &mut new, &writer("m"));
        assert_eq!(managers(&new), ["m"]);
    }
}

#[test]
fn a_status_that_comes_for_the_first_time() {
    let mut live = deployment(json!({"replicas": 1}));
    record_new(schema(), &mut live, &writer("m"));
    let mut new = live.clone();
    new["status"] = json!({"replicas": 1});
    // the main resource does not write it
    record(schema(), &live, &mut new, &writer("m"));
    assert_eq!(managers(&new), ["m"]);
    record(schema(), &live, &mut new, &Writer { subresource: "status", ..writer("ctl") });
    assert_eq!(managers(&new), ["ctl", "m"]);
    assert_eq!(new["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
}

#[test]
fn metadata_outlives_what_was_applied_in_it() {
    let mut first = deployment(json!({"paused": true}));
    first["metadata"]["finalizers"] = json!(["a.b/c"]);
    let mut live = apply(schema(), None, &first, &writer("m"), false).unwrap();
    live["metadata"]["uid"] = json!("u");
    let done = apply(schema(), Some(&live), &deployment(json!({})), &writer("m"), false).unwrap();
    assert_eq!(done["metadata"]["finalizers"], Value::Null);
    assert_eq!((&done["metadata"]["name"], &done["metadata"]["uid"]), (&json!("d"), &json!("u")));
}

#[test]
fn field_sets_are_read_as_they_are_written() {
    let set =
        json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {}, "v:1": {}, "i:0": {}}});
    assert_eq!(Set::from_value(&set).unwrap().into_value(), set);
    let spaced = json!({"f:c": {"k:{\"protocol\": \"TCP\", \"port\":1}": {}}});
    assert_eq!(Set::from_value(&spaced).unwrap().paths(), [".c[port=1,protocol=\"TCP\"]"]);
    for bad in
        [json!({"x:a": {}}), json!({"k:1": {}}), json!({"v:{": {}}), json!([]), json!({"f:a": 1}), json!({"é": {}})]
    {
        assert_eq!(Set::from_value(&bad), None, "{bad}");
    }
    let deep = (0..200).fold(json!({}), |v, _| json!({ "f:a": v }));
    assert_eq!(Set::from_value(&deep), None);
}
