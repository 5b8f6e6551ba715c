use serde_json::json;

use super::*;
use crate::decode::gvk;

fn there_and_back(tree: &serde_json::Value) -> serde_json::Value {
    let (group, version, kind) = gvk(tree);
    decode(&encode(group, version, kind, tree).expect("a known kind")).expect("what was encoded")
}

#[test]
fn a_list_of_encoded_objects_is_the_list() {
    let long = "x".repeat(300);
    let maps = [
        json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
        json!({"metadata": {"name": "b"}, "data": {"k": long}}),
    ];
    let tree =
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"}, "items": maps});
    let items: Vec<_> = maps.iter().map(|m| item("", "v1", "ConfigMap", m).unwrap()).collect();
    let length = items.iter().map(Vec::len).sum();
    let (head, tail) = list("", "v1", "ConfigMapList", &tree["metadata"], length).unwrap();
    assert_eq!([head, items.concat(), tail].concat(), encode("", "v1", "ConfigMapList", &tree).unwrap());
    for (map, item) in maps.iter().zip(&items) {
        assert_eq!(of_item("", "v1", "ConfigMap", item), encode("", "v1", "ConfigMap", map).unwrap());
    }
}

#[test]
fn trees_survive() {
    for tree in [
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "b", "labels": {"a": "", "b": "c"}, "creationTimestamp": "2024-05-06T07:08:09Z",
                "deletionGracePeriodSeconds": 0, "finalizers": ["x/y"],
                "managedFields": [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:a": {}}}, "time": "2024-05-06T07:08:09Z"}]},
            "spec": {
                "terminationGracePeriodSeconds": 0, "enableServiceLinks": false, "priority": -5,
                "overhead": {"cpu": "100m"},
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "configMap": {"name": "c", "optional": true}}],
                "containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}},
                    "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "envFrom": [{"secretRef": {"name": "s"}}],
                    "securityContext": {"runAsUser": 0, "privileged": false},
                    "livenessProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 3},
                    "readinessProbe": {"tcpSocket": {"port": 80}},
                    "lifecycle": {"preStop": {"exec": {"command": ["a", ""]}}}}],
                "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c"}],
            },
            "status": {"phase": "Running", "startTime": "1969-12-31T23:59:58Z",
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "image": "i", "imageID": "",
                    "state": {"running": {"startedAt": "2024-05-06T07:08:09Z"}}}]},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80, "targetPort": "http"}], "clusterIPs": ["None"], "internalTrafficPolicy": "Local"},
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "ü", "b": ""}, "binaryData": {"c": "AAEC"}, "immutable": false}),
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "", "b": "AA=="}, "stringData": {"x": "y"}, "type": "Opaque"}),
        json!({
            "apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Orphan",
            "preconditions": {"uid": "u"}, "dryRun": ["All"],
        }),
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {"resourceVersion": "7", "remainingItemCount": 0},
            "items": [{"metadata": {"name": "l"}, "spec": {"renewTime": "2024-05-06T07:08:09.000120Z", "leaseTransitions": 0}}],
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
            "data": {"spec": {"template": {"$patch": "replace"}}},
        }),
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": "u", "extra": {"a": ["b", "c"]}}, "status": {"allowed": false},
        }),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "ps", "kind": "P"}, "versions": [{
                "name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"a": {"type": "array", "items": {"type": "string", "enum": ["x", 1]}, "maximum": 1.5, "default": {"a": null}},
                        "b": {"additionalProperties": false}, "c": {"additionalProperties": {"type": "string"}}}}}}]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "m",
            "details": {"name": "n", "causes": [{"field": "f", "message": "m"}], "retryAfterSeconds": 1},
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0},
        }),
        json!({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}]}),
    ] {
        assert_eq!(there_and_back(&tree), tree);
    }
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.extend([tag, bytes.len() as u8]);
        out.extend(bytes);
    };
    let (mut meta, mut out) = (Vec::new(), MAGIC.to_vec());
    put(&mut meta, 0x0a, api_version.as_bytes());
    put(&mut meta, 0x12, kind.as_bytes());
    put(&mut out, 0x0a, &meta);
    put(&mut out, 0x12, raw);
    out
}

#[test]
fn what_go_writes() {
    // metadata {name "a", generateName "", creationTimestamp {}}, immutable: false
    let raw = b"\x0a\x07\x0a\x01a\x12\x00\x42\x00\x20\x00";
    let want = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "immutable": false});
    assert_eq!(decode(&envelope("v1", "ConfigMap", raw)).unwrap(), want);

    // an unknown field of each wire type; data {"k": ""} as an entry without a value
    let raw = b"\xf8\x07\x01\xf9\x07aaaaaaaa\xfd\x07aaaa\xfa\x07\x02xy\x12\x03\x0a\x01k";
    let want = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": ""}});
    assert_eq!(decode(&envelope("v1", "ConfigMap", raw)).unwrap(), want);

    // spec {replicas 0 (pointer), selector {} (pointer), template {}, strategy {type ""}, minReadySeconds 0, paused false}
    let raw = b"\x12\x0e\x08\x00\x12\x00\x1a\x00\x22\x02\x0a\x00\x28\x00\x38\x00";
    let want = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "selector": {}}});
    assert_eq!(decode(&envelope("apps/v1", "Deployment", raw)).unwrap(), want);

    // a negative int32 takes ten bytes
    let raw = b"\x12\x0c\xc8\x01\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let want = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"priority": -5}});
    assert_eq!(decode(&envelope("v1", "Pod", raw)).unwrap(), want);
}

#[test]
fn watch_frames_hold_the_object() {
    let object = encode("", "v1", "ConfigMap", &json!({"metadata": {"name": "a"}})).unwrap();
    let frame = watch_frame("ADDED", &object);
    assert_eq!(frame[..4], (frame.len() as u32 - 4).to_be_bytes());
    let event = decode(&envelope("v1", "WatchEvent", &frame[4..])).unwrap();
    let want = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    assert_eq!((&event["type"], &event["object"]), (&json!("ADDED"), &want));
}

#[test]
fn malformed_bytes_are_errors() {
    for bytes in [
        &b""[..],
        b"{}",
        b"k8s\0\x0a",
        b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"k8s\0\x00",
        b"k8s\0\x0b",
        b"k8s\0\x08\x01",
        &envelope("v1", "ConfigMap", b"\x08\x01"),
        &envelope("v1", "ConfigMap", b"\x0a\x03\x0a\x01\xff"),
        &envelope("v1", "ConfigMap", b"\x0a\x04\x42\x02\x08\x80"),
        &envelope("apps/v1", "ControllerRevision", b"\x12\x03\x0a\x01{"),
    ] {
        assert!(matches!(decode(bytes), Err(Error::Malformed(_))), "{bytes:?}");
    }
    let unknown = decode(&envelope("example.com/v1", "Foo", b"")).unwrap_err();
    assert_eq!(unknown, Error::Unknown { api_version: "example.com/v1".into(), kind: "Foo".into() });
    // JSONSchemaProps.not.not.not...
    let deep = (0..400).fold(json!({}), |inner, _| json!({"not": inner}));
    let crd = json!({"spec": {"versions": [{"name": "v", "schema": {"openAPIV3Schema": deep}}]}});
    let bytes = encode("apiextensions.k8s.io", "v1", "CustomResourceDefinition", &crd).unwrap();
    assert_eq!(decode(&bytes), Err(malformed("exceeded max depth")));
}

#[test]
fn bytes_that_are_cut_or_changed_never_panic() {
    let pod = json!({"metadata": {"name": "a", "creationTimestamp": "2024-05-06T07:08:09Z"}, "spec": {"containers": [{"name": "c",
        "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 1}}}]}});
    let bytes = encode("", "v1", "Pod", &pod).unwrap();
    for i in 0..bytes.len() {
        let _ = decode(&bytes[..i]);
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[i] ^= flip;
            let _ = decode(&changed);
        }
    }
}
