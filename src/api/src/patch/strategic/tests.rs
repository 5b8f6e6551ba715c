use serde_json::json;

use super::*;
use crate::schema;

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn patched(kind: &str, mut tree: Value, patch: &Value) -> Result<Value, Status> {
    strategic(&mut tree, patch, schema::find(kind).unwrap())?;
    Ok(tree)
}

#[test]
fn every_directive() {
    let cases = [
        (
            "lists merge by key",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "b"}]}),
        ),
        (
            "a new element goes before the server's",
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "b", "tty": null}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            "nested",
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "name": "x"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}]}]}),
        ),
        (
            "atomic lists are replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "null deletes",
            json!({"nodeName": "a", "nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeName": null, "x": null, "nodeSelector": {"a": null}}),
            json!({"nodeSelector": {"b": "2"}}),
        ),
        (
            "$patch delete in a list",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "delete", "name": "a"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "$patch replace in a list",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            "$patch replace: its own element is none, later directives are not looked at",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c"}, {"$patch": "replace", "name": "x"}, {"$patch": "delete", "name": "c"}, {"name": "d"}]}),
            json!({"containers": [{"name": "c"}, {"name": "d"}]}),
        ),
        (
            "$patch replace alone empties a list",
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"$patch": "replace"}]}),
            json!({"containers": []}),
        ),
        (
            "all of one key are deleted",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}, {"name": "a", "image": "2"}]}),
            json!({"containers": [{"$patch": "delete", "name": "a"}, {"$patch": "delete", "name": "none"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "what has another type is replaced",
            json!({"containers": {"a": 1}, "securityContext": [1]}),
            json!({"containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}}),
            json!({"containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}}),
        ),
        ("a deletion list where there is no list", json!({}), json!({"$deleteFromPrimitiveList/x": ["a"]}), json!({})),
        (
            "$setElementOrder with a deletion and server elements between",
            json!({"containers": [{"name": "1"}, {"name": "s1"}, {"name": "2"}, {"name": "s2"}, {"name": "3"}]}),
            json!({"$setElementOrder/containers": [{"name": "3"}, {"name": "4"}, {"name": "1"}],
                "containers": [{"name": "4"}, {"$patch": "delete", "name": "2"}]}),
            json!({"containers": [{"name": "s1"}, {"name": "s2"}, {"name": "3"}, {"name": "4"}, {"name": "1"}]}),
        ),
        (
            "$setElementOrder of a list that comes new",
            json!({}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            "$setElementOrder of nothing",
            json!({"nodeName": "a"}),
            json!({"$setElementOrder/containers": [{"name": "b"}]}),
            json!({"nodeName": "a"}),
        ),
        (
            "$retainKeys with a null and a deletion",
            json!({"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/", "type": null}, "emptyDir": null}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        ),
        (
            "$retainKeys alone",
            json!({"nodeName": "a", "hostname": "b"}),
            json!({"$retainKeys": ["nodeName"]}),
            json!({"nodeName": "a"}),
        ),
        (
            "a nested list below an element that is new",
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "b", "env": [{"name": "x", "value": "1"}, {"$patch": "delete", "name": "y"}],
                "$setElementOrder/env": [{"name": "x"}]}]}),
            json!({"containers": [{"name": "b", "env": [{"name": "x", "value": "1"}]}, {"name": "a"}]}),
        ),
        (
            "$patch replace in a map",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "replace", "runAsGroup": 2}}),
            json!({"securityContext": {"runAsGroup": 2}}),
        ),
        (
            "$patch delete in a map",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            "$retainKeys",
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        ),
        (
            "$setElementOrder",
            json!({"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "x"}]}),
            json!({"containers": [{"name": "s"}, {"name": "b", "image": "x"}, {"name": "a"}]}),
        ),
        (
            "$setElementOrder alone",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            "directives vanish where there is nothing to merge with",
            json!({}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name"]}], "$setElementOrder/volumes": [{"name": "v"}], "containers": [{"$patch": "delete", "name": "x"}]}),
            json!({"volumes": [{"name": "v"}], "containers": []}),
        ),
    ];
    for (what, spec, patch, want) in cases {
        let got = patched("io.k8s.api.core.v1.Pod", pod(spec), &pod(patch)).unwrap();
        assert_eq!(got, pod(want), "{what}");
    }
}

#[test]
fn primitive_lists() {
    let tree = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d", "a"],
        "$setElementOrder/finalizers": ["d", "a", "c"]}});
    let got = patched("io.k8s.api.core.v1.Pod", tree, &patch).unwrap();
    assert_eq!(got, json!({"metadata": {"finalizers": ["d", "a", "c"]}}));
}

#[test]
fn deployments_switch_strategy() {
    let tree = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let got = patched("io.k8s.api.apps.v1.Deployment", tree, &patch).unwrap();
    assert_eq!(got, json!({"spec": {"strategy": {"type": "Recreate"}}}));
}

#[test]
fn errors_are_upstreams() {
    let spec = json!({"containers": [{"name": "a"}]});
    let cases = [
        (json!({"containers": [{"image": "x"}]}), 500, "map: map[image:x] does not contain declared merge key: name"),
        (json!({"securityContext": {"$patch": "x"}, "containers": []}), 200, ""),
        (
            json!({"containers": [{"name": "a", "$patch": "x"}]}),
            500,
            "unknown patch type: x in map: map[$patch:x name:a]",
        ),
        (json!({"$retainKeys": ["a"], "b": 1}), 400, "invalid patch format of retainKeys"),
        (json!({"$retainKeys": "a"}), 400, "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": "a"}), 400, "invalid patch format of setElementOrder list"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"containers": [{"image": "x", "$patch": "delete"}]}),
            500,
            "map: map[$patch:delete image:x] does not contain declared merge key: name",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}),
            500,
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (json!({"containers": ["a"]}), 500, "list element types are not identical"),
    ];
    for (patch, code, text) in cases {
        match patched("io.k8s.api.core.v1.Pod", pod(spec.clone()), &pod(patch)) {
            Ok(_) => assert_eq!(code, 200),
            Err(e) => assert_eq!((e.code, e.message.as_str()), (code, text)),
        }
    }
}
