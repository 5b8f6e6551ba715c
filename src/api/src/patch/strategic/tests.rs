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
    ];
    for (patch, code, text) in cases {
        match patched("io.k8s.api.core.v1.Pod", pod(spec.clone()), &pod(patch)) {
            Ok(_) => assert_eq!(code, 200),
            Err(e) => assert_eq!((e.code, e.message.as_str()), (code, text)),
        }
    }
}
