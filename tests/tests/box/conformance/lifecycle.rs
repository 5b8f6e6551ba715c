//! The life of an object of every kind, as upstream's "… API operations", "… lifecycle" and "… status" tests walk it: create, get,
//! list in its namespace and in all, watch, patch, update, its status, delete, delete by label.

use futures::StreamExt as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::api::{Lines, MERGE_PATCH};
use tests::{Cx, Reply};

use crate::crud::names;

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: every_kind, approval)
}

/// The objects of `kinds.rs`, under other names: that test may run beside this one.
fn objects(namespace: &str) -> Vec<Value> {
    let text = include_str!("../kinds.yaml")
        .replace("namespace: NS", &format!("namespace: {namespace}"))
        .replace("kinds", "life")
        .replace("Kinds", "Life")
        .replace("203.0.113.7", "203.0.113.9");
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|d| <Value as serde::Deserialize>::deserialize(d).expect("YAML"));
    // what they select is their own
    let apart = |o: Value| {
        let text = o.to_string().replace(r#""k":"k1""#, &format!(r#""k":{}"#, o["kind"]));
        serde_json::from_str(&text).expect("as it was")
    };
    objects.filter(|o| !o.is_null()).map(apart).collect()
}

/// What somebody says in the status of a kind.
fn said(kind: &str) -> Value {
    let condition = json!({"type": "Patched", "status": "True", "reason": "Test", "message": "said",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    match kind {
        "CronJob" => json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
        "Ingress" => json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
        "Job" => json!({"startTime": "2026-01-01T00:00:00Z"}),
        "PersistentVolume" => json!({"reason": "Test", "message": "said"}),
        "Pod" => json!({"message": "said", "reason": "Test"}),
        "ResourceClaim" => {
            json!({"allocation": {"devices": {"results": [{"request": "a", "driver": "d.io", "pool": "p", "device": "d0"}]}}})
        }
        "ResourceQuota" => json!({"hard": {"count/widgets.k.io": "9"}}),
        "VolumeAttachment" => json!({"attached": true}),
        "CertificateSigningRequest" => json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Test"}]}),
        _ => json!({"conditions": [condition]}),
    }
}

/// Whether all of `part` is in `whole`; of a list, its elements.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(w), Value::Object(p)) => p.iter().all(|(k, v)| w.get(k).is_some_and(|w| has(w, v))),
        (Value::Array(w), Value::Array(p)) => p.iter().all(|v| w.iter().any(|w| has(w, v))),
        (w, p) => w == p,
    }
}

/// The next event about an object that `is` so.
async fn seen(watch: &mut Lines, what: &str, kind: &str, is: impl Fn(&Value) -> bool) {
    loop {
        let (event, object) = watch.event().await;
        assert_ne!(event, "ERROR", "{what}: {object}");
        if event == kind && is(&object) {
            return;
        }
        assert!(event != "DELETED", "{what}: {object}");
    }
}

/// Reads, changes and writes back until nobody else has written between.
async fn replace(cx: &Cx, path: &str, change: impl Fn(&mut Value)) -> Value {
    loop {
        let mut object = cx.api.get(path).await;
        change(&mut object);
        let Reply { code, body, .. } = cx.api.try_put(path, &object).await;
        if code != 409 {
            assert!(code.is_success(), "PUT {path}: {code}: {body}");
            return body;
        }
    }
}

async fn every_kind(cx: Cx) {
    let objects = objects(&cx.ns);
    futures::stream::iter(&objects).for_each_concurrent(8, |object| life(&cx, object)).await;
}

async fn life(cx: &Cx, object: &Value) {
    let (kind, home) = (object["kind"].as_str().expect("a kind"), object["apiVersion"].as_str().expect("a version"));
    let root = if home.contains('/') { format!("/apis/{home}") } else { format!("/api/{home}") };
    let list = cx.api.get(&root).await;
    let resources = list["resources"].as_array().expect("discovery");
    let resource = resources
        .iter()
        .find(|r| r["kind"] == kind && !r["name"].as_str().is_some_and(|n| n.contains('/')))
        .unwrap_or_else(|| panic!("{home} has {kind}"));
    let plural = resource["name"].as_str().expect("a name");
    let within = if resource["namespaced"] == true { format!("/namespaces/{}", cx.ns) } else { String::new() };
    let (path, all) = (format!("{root}{within}/{plural}"), format!("{root}/{plural}"));
    let name = object["metadata"]["name"].as_str().expect("a name");
    let at = format!("{path}/{name}");
    let selector = format!("labelSelector=life%3D{}", cx.ns);

    // create, once
    let mut object = object.clone();
    tests::pods::merge(&mut object["metadata"], json!({"labels": {"life": cx.ns}}));
    let made = cx.api.post(&path, object.clone()).await;
    cx.api.try_post(&path, &object).await.refused(409, "AlreadyExists");
    assert_eq!(cx.api.get(&at).await["metadata"]["uid"], made["metadata"]["uid"], "{at}");

    // list and watch
    let mut listed = Value::Null;
    for place in [&path, &all] {
        listed = cx.api.get(&format!("{place}?{selector}")).await;
        assert_eq!(names(&listed), [name], "{place}");
        assert_eq!(listed["kind"], format!("{kind}List"), "{place}");
    }
    let from = listed["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut watch = cx.api.lines(&format!("{all}?watch=1&{selector}&resourceVersion={from}")).await;

    // patch and update
    let patched = cx.api.merge(&at, json!({"metadata": {"labels": {"patched": "yes"}}})).await;
    assert_eq!(patched["metadata"]["labels"]["patched"], "yes", "{at}");
    seen(&mut watch, &at, "MODIFIED", |o| o["metadata"]["labels"]["patched"] == "yes").await;
    let updated = replace(cx, &at, |o| o["metadata"]["annotations"]["updated"] = json!("yes")).await;
    assert_eq!(updated["metadata"]["annotations"]["updated"], "yes", "{at}");
    seen(&mut watch, &at, "MODIFIED", |o| o["metadata"]["annotations"]["updated"] == "yes").await;

    if resources.iter().any(|r| r["name"] == format!("{plural}/status")) {
        status(cx, (kind, &at), &mut watch).await;
    }

    // gone, and the next one by its label
    cx.api.delete(&at).await;
    seen(&mut watch, &at, "DELETED", |_| true).await;
    if resource["verbs"].as_array().is_some_and(|v| v.iter().any(|v| v == "deletecollection")) {
        let again = cx.api.post(&path, object).await;
        assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"], "{at}");
        seen(&mut watch, &at, "ADDED", |_| true).await;
        cx.api.delete(&format!("{path}?labelSelector=life%3Dof-nobody")).await;
        assert_eq!(names(&cx.api.get(&format!("{path}?{selector}")).await), [name], "{at}: it has another label");
        cx.api.delete(&format!("{path}?{selector}")).await;
        seen(&mut watch, &at, "DELETED", |_| true).await;
    }
    assert!(names(&cx.api.get(&format!("{all}?{selector}")).await).is_empty(), "{at}");
}

/// Reads, patches and updates the status: it alone changes, and everybody sees it.
async fn status(cx: &Cx, (kind, at): (&str, &str), watch: &mut Lines) {
    let path = format!("{at}/status");
    let before = cx.api.get(&path).await;
    assert_eq!(before["kind"], kind, "{path}");
    let said = said(kind);
    let mut patch = json!({"status": said});
    if ["CertificateSigningRequest", "CronJob", "Ingress", "Job"].contains(&kind) {
        patch["metadata"] = json!({"annotations": {"patchedstatus": "true"}});
    }
    let patched = cx.api.try_patch(&path, MERGE_PATCH, &patch).await;
    assert!(patched.code.is_success(), "{path}: {}", patched.body);
    assert!(has(&patched.body, &patch), "{path}: {}", patched.body);
    seen(watch, &path, "MODIFIED", |o| has(&o["status"], &said)).await;
    let mut again = said.clone();
    // something else than what is there
    match again["conditions"][0]["reason"].as_str() {
        Some(_) => again["conditions"][0]["message"] = "again".into(),
        None if kind == "ResourceQuota" => again["hard"]["count/widgets.k.io"] = "8".into(),
        None if kind == "VolumeAttachment" => again["attached"] = false.into(),
        None if kind == "Ingress" => again["loadBalancer"]["ingress"][0]["ip"] = "203.0.113.2".into(),
        None if kind == "CronJob" => again["lastScheduleTime"] = "2026-01-01T00:01:00Z".into(),
        None if kind == "Pod" || kind == "PersistentVolume" => again["message"] = "again".into(),
        None => (),
    }
    let replaced = replace(cx, &path, |o| {
        for (key, value) in again.as_object().into_iter().flatten() {
            o["status"][key] = value.clone();
        }
        // what is no status is not written there
        o["spec"] = json!({});
    })
    .await;
    assert!(has(&replaced["status"], &again), "{path}: {again} is not in {}", replaced["status"]);
    assert_eq!(replaced["spec"], before["spec"], "{path}");
}

/// Approved by one hand, which says nothing else; and neither approved nor denied in its status.
async fn approval(cx: Cx) {
    let objects = objects(&cx.ns);
    let mut csr = objects.into_iter().find(|o| o["kind"] == "CertificateSigningRequest").expect("one");
    csr["metadata"]["name"] = cx.ns.clone().into();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    cx.api.post(path, csr).await;
    let at = format!("{path}/{}", cx.ns);
    let approved = json!({"type": "Approved", "status": "True", "reason": "Test", "message": "said"});
    let patch = json!({"status": {"conditions": [approved]}});
    cx.api.try_patch(&format!("{at}/status"), MERGE_PATCH, &patch).await.refused(422, "Invalid");
    let seen = cx.api.merge(&format!("{at}/approval"), patch).await;
    assert!(has(&seen["status"]["conditions"], &json!([approved])), "{seen}");
    let read = cx.api.get(&format!("{at}/approval")).await;
    assert_eq!(read["status"]["conditions"], seen["status"]["conditions"]);
    let more = json!({"type": "Reviewed", "status": "True", "reason": "Test"});
    let updated = replace(&cx, &format!("{at}/approval"), |o| {
        o["status"]["conditions"].as_array_mut().expect("conditions").push(more.clone());
    })
    .await;
    assert!(has(&updated["status"]["conditions"], &json!([approved, more])), "{updated}");
    cx.api.delete(&at).await;
    cx.api.try_get(&at).await.refused(404, "NotFound");
}
