//! The verbs, on the wire.

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cx;
use tests::api::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: create_and_get, patches)
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
    cx.api.try_patch(&path, "text/plain", &json!({})).await.refused(415, "UnsupportedMediaType");
}
