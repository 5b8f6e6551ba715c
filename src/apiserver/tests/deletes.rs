//! Deleting: grace, finalizers, propagation, collections; and the client in process.

mod support;

use client::{ListOptions, Patch, Target, WatchEvent, WriteOptions};
use futures::StreamExt;
use serde_json::{Value, json};
use support::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let c = Cluster::start().await;
    c.made(MAPS, json!({"metadata": {"name": "a", "finalizers": ["x.io/f"]}})).await;
    let one = format!("{MAPS}/a");
    let held = c.delete(&one).await.json();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = c.json("POST", MAPS, json!({"metadata": {"name": "a"}})).await.failure();
    assert_eq!(again, (409, "object is being deleted: configmaps \"a\" already exists".into()));
    let added = c.json("PATCH", &one, json!({"metadata": {"finalizers": ["x.io/f", "x.io/g"]}})).await.failure();
    assert!(added.0 == 422 && added.1.contains("no new finalizers can be added"), "{added:?}");
    assert_eq!(c.json("PATCH", &one, json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!(c.get(&one).await.code, 404);
}

#[tokio::test]
async fn propagation_is_left_to_the_collector() {
    let c = Cluster::start().await;
    for (policy, want) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let one = format!("{MAPS}/{}", policy.to_lowercase());
        c.made(MAPS, json!({"metadata": {"name": policy.to_lowercase()}})).await;
        let held = c.json("DELETE", &one, json!({"propagationPolicy": policy})).await.json();
        assert_eq!(held["metadata"]["finalizers"], json!([want]));
    }
    c.made(MAPS, json!({"metadata": {"name": "a"}})).await;
    let one = format!("{MAPS}/a");
    for (body, code, text) in [
        (json!({"propagationPolicy": "Nope"}), 422, "Unsupported value: \"Nope\""),
        (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422, "cannot be both set"),
        (json!({"preconditions": {"uid": "other"}}), 409, "the UID in the precondition (other) does not match"),
        (json!({"preconditions": {"resourceVersion": "1"}}), 409, "the ResourceVersion in the precondition (1)"),
    ] {
        let (got, message) = c.json("DELETE", &one, body).await.failure();
        assert!(got == code && message.contains(text), "{got} {message}");
    }
    assert_eq!(c.delete(&format!("{one}?propagationPolicy=Background")).await.code, 200);
    assert_eq!(c.get(&one).await.code, 404);
}

#[tokio::test]
async fn pods_go_gracefully() {
    let c = Cluster::start().await;
    c.made(PODS, pod()).await;
    let one = format!("{PODS}/p");
    let going = c.delete(&one).await.json();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    // not longer, only shorter
    let longer = c.json("DELETE", &one, json!({"gracePeriodSeconds": 60})).await.json();
    assert_eq!(longer["metadata"]["resourceVersion"], going["metadata"]["resourceVersion"]);
    let shorter = c.json("DELETE", &one, json!({"gracePeriodSeconds": 5})).await.json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(shorter["metadata"]["deletionTimestamp"].as_str() < going["metadata"]["deletionTimestamp"].as_str());
    let mut events = c
        .watch(&format!("{PODS}?watch=1&resourceVersion={}", shorter["metadata"]["resourceVersion"].as_str().unwrap()))
        .await;
    let last = c.json("DELETE", &one, json!({"gracePeriodSeconds": 0})).await.json();
    assert_eq!((&last["kind"], &last["metadata"]["name"]), (&json!("Pod"), &json!("p")));
    assert_eq!(c.get(&one).await.code, 404);
    assert_eq!(events.seen().await, ("DELETED".into(), "p".into()));
}

#[tokio::test]
async fn a_namespace_waits_for_its_own_finalizer() {
    let c = Cluster::start().await;
    c.made("/api/v1/namespaces", json!({"metadata": {"name": "ns"}})).await;
    let one = "/api/v1/namespaces/ns";
    let mut tree = c.delete(one).await.json();
    assert_eq!(
        (&tree["status"]["phase"], &tree["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    tree["spec"]["finalizers"] = json!([]);
    let done = c.json("PUT", &format!("{one}/finalize"), tree).await;
    assert_eq!(done.code, 200, "{}", done.text());
    assert_eq!(c.get(one).await.code, 404);
    assert_eq!(c.delete("/api/v1/namespaces").await.code, 405);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let c = Cluster::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        c.made(MAPS, json!({"metadata": {"name": name, "labels": {"l": label}}})).await;
    }
    let gone = c.delete(&format!("{MAPS}?labelSelector=l%3Dx")).await.json();
    assert_eq!((&gone["kind"], gone["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 2));
    assert_eq!(c.get(MAPS).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_client_in_process_sees_the_same() {
    let c = Cluster::start().await;
    let client = c.server.client(apiserver::User::system("inside"));
    let maps = || api::Gvr::new("", "v1", "configmaps");
    let within = Target::within(maps(), "default");
    let list = client.list(&within, &ListOptions::default()).await.unwrap();
    let labels = ListOptions { labels: "l=x".into(), ..ListOptions::default() };
    let mut watch = client.watch(&within, &labels, list.revision).await.unwrap();
    let tree = json!({"metadata": {"name": "a", "labels": {"l": "x"}}, "data": {"k": "1"}});
    let made = client.create(&within, tree, &WriteOptions::default()).await.unwrap();
    let one = Target::one(maps(), "default", "a");
    assert!(std::sync::Arc::ptr_eq(&made, &client.get(&one).await.unwrap()));
    let patch = Patch::Merge(json!({"metadata": {"labels": {"l": "y"}}}));
    client.patch(&one, patch, &WriteOptions::default()).await.unwrap();
    client.delete(&one, &Default::default()).await.unwrap();
    assert!(client.get(&one).await.unwrap_err().is_not_found());
    let first = support::soon(watch.next()).await.unwrap().unwrap();
    assert!(matches!(first, WatchEvent::Added(o) if std::sync::Arc::ptr_eq(&o, &made)));
    assert!(matches!(support::soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Deleted(_)));
    let denied = client.list(&Target::within(maps(), "secret"), &ListOptions::default()).await;
    assert_eq!(denied.err().map(|s| s.code), Some(403));
}
