//! What goes with what: owners and their dependents, namespaces and all in them.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cx, SOON};

use super::crud::names;

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: background, foreground, orphan, absent_owner, namespaces, used_claims)
}

/// An owner and its dependent; the owner's uid.
async fn pair(cx: &Cx, blocks: bool) {
    let owner = cx.config_map("owner", json!({})).await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks});
    cx.api
        .post(&cx.core("configmaps"), json!({"metadata": {"name": "dependent", "ownerReferences": [reference]}}))
        .await;
}

fn policy(policy: &str) -> Value {
    json!({"propagationPolicy": policy})
}

async fn background(cx: Cx) {
    pair(&cx, false).await;
    cx.api.try_delete(&cx.core("configmaps/owner"), Some(&policy("Background"))).await.ok();
    cx.api.try_get(&cx.core("configmaps/owner")).await.refused(404, "NotFound");
    cx.api.gone(&cx.core("configmaps/dependent"), SOON).await;
}

async fn foreground(cx: Cx) {
    pair(&cx, true).await;
    // the dependent takes its time
    cx.api.merge(&cx.core("configmaps/dependent"), json!({"metadata": {"finalizers": ["example.com/wait"]}})).await;
    cx.api.try_delete(&cx.core("configmaps/owner"), Some(&policy("Foreground"))).await.ok();
    let dependent = cx.core("configmaps/dependent");
    cx.api.wait("is being deleted", &dependent, SOON, |o| o["metadata"]["deletionTimestamp"].is_string()).await;
    let owner = cx.api.get(&cx.core("configmaps/owner")).await;
    assert_eq!(owner["metadata"]["finalizers"], json!(["foregroundDeletion"]), "it waits for its dependent");
    cx.api.merge(&dependent, json!({"metadata": {"finalizers": null}})).await;
    cx.api.gone(&cx.core("configmaps/owner"), SOON).await;
}

async fn orphan(cx: Cx) {
    pair(&cx, true).await;
    cx.api.try_delete(&cx.core("configmaps/owner"), Some(&policy("Orphan"))).await.ok();
    cx.api.gone(&cx.core("configmaps/owner"), SOON).await;
    let kept = cx.api.get(&cx.core("configmaps/dependent")).await;
    assert_eq!(kept["metadata"].get("ownerReferences"), None, "nobody owns it now");
}

async fn absent_owner(cx: Cx) {
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "00000000-0000-4000-8000-000000000000"});
    cx.api
        .post(&cx.core("configmaps"), json!({"metadata": {"name": "dependent", "ownerReferences": [reference]}}))
        .await;
    cx.api.gone(&cx.core("configmaps/dependent"), SOON).await;
}

async fn namespaces(cx: Cx) {
    let ns = format!("{}-x", cx.ns);
    cx.api.post("/api/v1/namespaces", json!({"metadata": {"name": ns}})).await;
    let path = format!("/api/v1/namespaces/{ns}");
    cx.api.wait("has its CA", &format!("{path}/configmaps/kube-root-ca.crt"), SOON, |_| true).await;
    cx.api
        .post(&format!("{path}/configmaps"), json!({"metadata": {"name": "a", "finalizers": ["example.com/wait"]}}))
        .await;
    cx.api.post(&format!("{path}/secrets"), json!({"metadata": {"name": "s"}})).await;
    let terminating = cx.api.delete(&path).await;
    assert_eq!(terminating["status"]["phase"], "Terminating");
    let late = cx
        .api
        .try_post(&format!("{path}/secrets"), &json!({"metadata": {"name": "late"}}))
        .await
        .refused(403, "Forbidden");
    assert!(late["message"].as_str().is_some_and(|m| m.contains("because it is being terminated")), "{late}");
    let secrets = format!("{path}/secrets");
    cx.api.wait("is empty", &secrets, SOON, |l| names(l).is_empty()).await;
    // what holds it up is said
    let held = |o: &Value| tests::pods::condition(o, "NamespaceFinalizersRemaining") == Some("True");
    cx.api.wait("says what holds it", &path, SOON, held).await;
    cx.api.merge(&format!("{path}/configmaps/a"), json!({"metadata": {"finalizers": null}})).await;
    cx.api.gone(&path, SOON).await;
    cx.api.try_delete("/api/v1/namespaces/default", None).await.refused(403, "Forbidden");
}

/// A claim that a pod uses outlives its deletion.
async fn used_claims(cx: Cx) {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Mi"}}});
    let (claim, pods) = (cx.core("persistentvolumeclaims/c"), cx.core("pods"));
    let made = cx.api.post(&cx.core("persistentvolumeclaims"), json!({"metadata": {"name": "c"}, "spec": spec})).await;
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let spec = json!({"nodeName": "nowhere", "volumes": [volume], "containers": [{"name": "c", "image": "i"}]});
    cx.api.post(&pods, json!({"metadata": {"name": "p"}, "spec": spec})).await;
    cx.api.delete(&claim).await;
    let held = cx.api.get(&claim).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    cx.api.try_delete(&format!("{pods}/p"), Some(&json!({"gracePeriodSeconds": 0}))).await.ok();
    cx.api.gone(&claim, SOON).await;
}
