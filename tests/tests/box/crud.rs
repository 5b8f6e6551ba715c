//! The verbs, on the wire.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::api::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};
use tests::{Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane:
        create_and_get, patches, update_conflicts, status_is_apart, selectors, paging, deletes, collections, dry_run,
        generated_names, strict_fields, yaml, scale, evictions, apply_server_side,
        concurrent_patches)
}

/// The names in a list, in its order.
pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|i| i["metadata"]["name"].as_str()).collect()
}

async fn create_and_get(cx: Cx) {
    let made = cx.config_map("a", json!({"k": "v"})).await;
    assert!(made["metadata"]["uid"].as_str().is_some_and(|u| u.len() == 36));
    let read = cx.api.get(&cx.core("configmaps/a")).await;
    assert_eq!(read, made);
    let again = cx.api.try_post(&cx.core("configmaps"), &json!({"metadata": {"name": "a"}})).await;
    let status = again.refused(409, "AlreadyExists");
    assert_eq!(status["message"], r#"configmaps "a" already exists"#);
    let none = cx.api.try_get(&cx.core("configmaps/b")).await.refused(404, "NotFound");
    assert_eq!(none["message"], r#"configmaps "b" not found"#);
    let bad =
        cx.api.try_post(&cx.core("configmaps"), &json!({"metadata": {"name": "A_b"}})).await.refused(422, "Invalid");
    assert!(bad["message"].as_str().is_some_and(|m| m.contains("RFC 1123")), "{bad}");
    let nowhere = cx.api.try_post("/api/v1/namespaces/no-such/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(nowhere.refused(404, "NotFound")["message"], r#"namespaces "no-such" not found"#);
}

async fn patches(cx: Cx) {
    cx.config_map("a", json!({"k": "v", "gone": "x"})).await;
    let path = cx.core("configmaps/a");
    let merged = cx.api.try_patch(&path, MERGE_PATCH, &json!({"data": {"m": "1", "gone": null}})).await.ok();
    assert_eq!(merged["data"], json!({"k": "v", "m": "1"}));
    let ops =
        json!([{"op": "test", "path": "/data/k", "value": "v"}, {"op": "replace", "path": "/data/k", "value": "w"}]);
    assert_eq!(cx.api.try_patch(&path, JSON_PATCH, &ops).await.ok()["data"]["k"], "w");
    cx.api.try_patch(&path, JSON_PATCH, &ops).await.refused(422, "Invalid");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "a", "image": "x:1", "env": [{"name": "A", "value": "1"}]}, {"name": "b", "image": "y:1"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    let patch = json!({"spec": {"containers": [{"name": "a", "image": "x:2"}]}});
    let patched = cx.api.try_patch(&cx.core("pods/p"), STRATEGIC_PATCH, &patch).await.ok();
    let images: Vec<_> = patched["spec"]["containers"].as_array().unwrap().iter().map(|c| c["image"].clone()).collect();
    assert_eq!(images, ["x:2", "y:1"], "containers merge by name");
    assert_eq!(patched["spec"]["containers"][0]["env"][0]["value"], "1");
    let patch = json!({"spec": {"containers": [{"name": "a", "command": ["other"]}]}});
    cx.api.try_patch(&cx.core("pods/p"), STRATEGIC_PATCH, &patch).await.refused(422, "Invalid");
    cx.api.try_patch(&path, "text/plain", &json!({})).await.refused(415, "UnsupportedMediaType");
}

async fn update_conflicts(cx: Cx) {
    let first = cx.config_map("a", json!({"k": "1"})).await;
    let path = cx.core("configmaps/a");
    let mut second = first.clone();
    second["data"]["k"] = "2".into();
    let second = cx.api.put(&path, second).await;
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let stale = cx.api.try_put(&path, &first).await.refused(409, "Conflict");
    assert!(
        stale["message"]
            .as_str()
            .is_some_and(|m| m.contains("the object has been modified; please apply your changes"))
    );
    // the same again is no change
    let same = cx.api.put(&path, second.clone()).await;
    assert_eq!(same["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let mut other = second;
    other["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000".into();
    cx.api.try_put(&path, &other).await.refused(409, "Conflict");
}

async fn status_is_apart(cx: Cx) {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]},
        "status": {"phase": "Running", "message": "forged"}});
    let made = cx.api.post(&cx.core("pods"), pod).await;
    assert_eq!((&made["status"]["phase"], &made["status"]["message"]), (&json!("Pending"), &Value::Null));
    let said = cx.api.merge(&cx.core("pods/p/status"), json!({"status": {"message": "said"}})).await;
    assert_eq!(said["status"]["message"], "said");
    let mut changed = cx.api.get(&cx.core("pods/p")).await;
    // the scheduler writes its status meanwhile
    changed["metadata"]["resourceVersion"] = Value::Null;
    changed["metadata"]["labels"] = json!({"a": "b"});
    changed["status"]["message"] = "again".into();
    let changed = cx.api.put(&cx.core("pods/p"), changed).await;
    assert_eq!((&changed["metadata"]["labels"]["a"], &changed["status"]["message"]), (&json!("b"), &json!("said")));
}

async fn selectors(cx: Cx) {
    for (name, labels) in
        [("a", json!({"app": "x", "tier": "1"})), ("b", json!({"app": "x", "tier": "2"})), ("c", json!({"app": "y"}))]
    {
        let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        cx.api.post(&cx.core("pods"), pod).await;
    }
    for (query, want) in [
        ("labelSelector=app%3Dx", vec!["a", "b"]),
        ("labelSelector=app%3Dx,tier!%3D1", vec!["b"]),
        ("labelSelector=tier+in+(1,2)", vec!["a", "b"]),
        ("labelSelector=!tier", vec!["c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=status.phase%3DPending,metadata.name!%3Da", vec!["b", "c"]),
        ("fieldSelector=spec.nodeName%3Dn9", vec![]),
    ] {
        let list = cx.api.get(&cx.core(&format!("pods?{query}"))).await;
        assert_eq!(names(&list), want, "{query}");
    }
    cx.api.try_get(&cx.core("pods?fieldSelector=spec.nonsense%3Dx")).await.refused(400, "BadRequest");
    cx.api.try_get(&cx.core("pods?labelSelector=a+b+c")).await.refused(400, "BadRequest");
}

async fn paging(cx: Cx) {
    for n in 0..7 {
        cx.config_map(&format!("p{n}"), json!({})).await;
    }
    let first = cx.api.get(&cx.core("configmaps?limit=3&labelSelector=")).await;
    assert_eq!(names(&first), ["kube-root-ca.crt", "p0", "p1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 5);
    // what comes and goes between the pages is not seen
    cx.config_map("p2a", json!({})).await;
    cx.api.delete(&cx.core("configmaps/p4")).await;
    let next = first["metadata"]["continue"].as_str().expect("more");
    let second = cx.api.get(&cx.core(&format!("configmaps?limit=3&continue={next}"))).await;
    assert_eq!(names(&second), ["p2", "p3", "p4"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let next = second["metadata"]["continue"].as_str().expect("more");
    let third = cx.api.get(&cx.core(&format!("configmaps?limit=3&continue={next}"))).await;
    assert_eq!(names(&third), ["p5", "p6"]);
    assert!(third["metadata"]["continue"].as_str().unwrap_or_default().is_empty());
    cx.api.try_get(&cx.core("configmaps?limit=3&continue=nonsense")).await.refused(400, "BadRequest");
}

async fn deletes(cx: Cx) {
    let made = cx.config_map("a", json!({})).await;
    let path = cx.core("configmaps/a");
    let wrong = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    cx.api.try_delete(&path, Some(&wrong)).await.refused(409, "Conflict");
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    let status = cx.api.try_delete(&path, Some(&right)).await.ok();
    assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    cx.api.try_delete(&path, None).await.refused(404, "NotFound");

    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/wait"]}});
    cx.api.post(&cx.core("configmaps"), held).await;
    let path = cx.core("configmaps/held");
    let deleted = cx.api.delete(&path).await;
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    let still = cx.api.get(&path).await;
    assert!(still["metadata"]["deletionTimestamp"].is_string());
    let forbidden =
        cx.api.try_patch(&path, MERGE_PATCH, &json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}})).await;
    forbidden.refused(422, "Invalid");
    cx.api.merge(&path, json!({"metadata": {"finalizers": null}})).await;
    cx.api.try_get(&path).await.refused(404, "NotFound");
}

async fn collections(cx: Cx) {
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        cx.api.post(&cx.core("configmaps"), json!({"metadata": {"name": name, "labels": {"l": label}}})).await;
    }
    let deleted = cx.api.delete(&cx.core("configmaps?labelSelector=l%3Dx")).await;
    assert_eq!(names(&deleted), ["a", "c"]);
    assert_eq!(names(&cx.api.get(&cx.core("configmaps?labelSelector=l")).await), ["b"]);
}

async fn dry_run(cx: Cx) {
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let made = cx.api.post(&cx.core("configmaps?dryRun=All"), map.clone()).await;
    assert!(made["metadata"]["uid"].is_string());
    cx.api.try_get(&cx.core("configmaps/a")).await.refused(404, "NotFound");
    let made = cx.api.post(&cx.core("configmaps"), map.clone()).await;
    cx.api.try_post(&cx.core("configmaps?dryRun=All"), &map).await.refused(409, "AlreadyExists");
    let patched = cx.api.merge(&cx.core("configmaps/a?dryRun=All"), json!({"data": {"k": "w"}})).await;
    assert_eq!(patched["data"]["k"], "w");
    cx.api.delete(&cx.core("configmaps/a?dryRun=All")).await;
    assert_eq!(cx.api.get(&cx.core("configmaps/a")).await, made);
    cx.api.try_post(&cx.core("configmaps?dryRun=Some"), &map).await.refused(422, "Invalid");
}

async fn generated_names(cx: Cx) {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = cx.api.post(&cx.core("configmaps"), json!({"metadata": {"generateName": "gen-"}})).await;
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        let suffix = name.strip_prefix("gen-").expect("its prefix");
        assert!(suffix.len() == 5 && suffix.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        assert!(seen.insert(name));
    }
}

async fn strict_fields(cx: Cx) {
    let wrong = json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "dataa": {}, "metadatum": 1});
    let strict =
        cx.api.try_post(&cx.core("configmaps?fieldValidation=Strict"), &wrong).await.refused(400, "BadRequest");
    assert!(strict["message"].as_str().is_some_and(|m| m.contains(r#"unknown field "dataa""#)), "{strict}");
    let warned = cx.api.try_post(&cx.core("configmaps?fieldValidation=Warn"), &wrong).await;
    assert!(warned.warnings().iter().any(|w| w.contains(r#"unknown field \"dataa\""#)), "{:?}", warned.warnings());
    assert!(warned.ok().get("dataa").is_none(), "an unknown field is dropped");
    let ignored = cx.api.try_put(&cx.core("configmaps/a?fieldValidation=Ignore"), &wrong).await;
    assert!(ignored.warnings().is_empty());
    ignored.ok();
    let mistyped =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x", "args": "no list"}]}});
    cx.api.try_post(&cx.core("pods"), &mistyped).await.refused(400, "BadRequest");
}

async fn yaml(cx: Cx) {
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: \"no\"\n  multi: |\n    one\n    two\n";
    let path = cx.core("configmaps");
    let response = cx.api.send(http::Method::POST, &path, "application/yaml", text.as_bytes().to_vec()).await;
    assert_eq!(response.status(), 201);
    let read = cx.api.get(&cx.core("configmaps/a")).await;
    assert_eq!(read["data"], json!({"k": "no", "multi": "one\ntwo\n"}));
}

async fn scale(cx: Cx) {
    let labels = json!({"app": "a"});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}}}});
    cx.api.post(&cx.of("apps/v1", "deployments"), deployment).await;
    let path = cx.of("apps/v1", "deployments/d/scale");
    let read = cx.api.get(&path).await;
    assert_eq!(
        (&read["kind"], &read["spec"]["replicas"], &read["status"]["selector"]),
        (&json!("Scale"), &json!(2), &json!("app=a"))
    );
    cx.api.merge(&path, json!({"spec": {"replicas": 3}})).await;
    let pods = cx.core("pods?labelSelector=app%3Da");
    cx.api.wait("has three", &pods, SOON, |l| names(l).len() == 3).await;
    let mut zero = cx.api.get(&path).await;
    zero["spec"]["replicas"] = 0.into();
    // whoever scales does not mind that the status moves
    zero["metadata"]["resourceVersion"] = Value::Null;
    cx.api.put(&path, zero).await;
    cx.api.wait("has none", &pods, SOON, |l| names(l).is_empty()).await;
}

async fn evictions(cx: Cx) {
    let pod =
        json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cx.api.post(&cx.core("pods/p/eviction"), eviction).await;
    cx.api.gone(&cx.core("pods/p"), SOON).await;
}

async fn apply_server_side(cx: Cx) {
    let path = cx.core("configmaps/a");
    let apply = "application/apply-patch+yaml";
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let one = cx.api.try_patch(&format!("{path}?fieldManager=one"), apply, &map(json!({"x": "1", "y": "1"}))).await;
    assert_eq!(one.code, 201);
    let two = cx.api.try_patch(&format!("{path}?fieldManager=two"), apply, &map(json!({"y": "2"}))).await;
    let conflict = two.refused(409, "Conflict");
    assert!(conflict["message"].as_str().is_some_and(|m| m.contains(r#"conflict with "one""#)), "{conflict}");
    cx.api.try_patch(&format!("{path}?fieldManager=two&force=true"), apply, &map(json!({"y": "2"}))).await.ok();
    // what its only owner no longer applies goes
    let one = cx.api.try_patch(&format!("{path}?fieldManager=one"), apply, &map(json!({}))).await.ok();
    assert_eq!(one["data"], json!({"y": "2"}));
    cx.api.try_patch(&path, apply, &map(json!({}))).await.refused(422, "Invalid");
}

/// A patch without a version never loses against another one: none of them is refused.
async fn concurrent_patches(cx: Cx) {
    cx.config_map("a", json!({})).await;
    let path = cx.core("configmaps/a");
    let all = (0..16).map(async |n| cx.api.merge(&path, json!({"data": {format!("k{n}"): "v"}})).await);
    futures::future::join_all(all).await;
    let read = cx.api.get(&path).await;
    assert_eq!(read["data"].as_object().map(serde_json::Map::len), Some(16));
}
