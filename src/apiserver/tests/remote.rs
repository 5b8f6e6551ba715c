//! The two doors to the API, in process and over HTTPS, answer alike.

mod support;

use std::sync::Arc;

use api::{Gvr, Object, Status, Value};
use apiserver::User;
use client::{
    Client, DeleteOptions, HttpClient, HttpConfig, Informer, ListOptions, Patch, Precondition, Propagation, Selector,
    Target, WatchEvent, WriteOptions,
};
use futures::StreamExt;
use serde_json::json;
use support::{Cluster, soon};

fn of(group: &str, resource: &str) -> Gvr {
    Gvr::new(group, "v1", resource)
}

fn remote(c: &Cluster) -> (Arc<dyn Client>, tokio::sync::watch::Sender<Arc<rustls::ClientConfig>>) {
    let (sender, tls) = tokio::sync::watch::channel(c.tls.clone());
    let servers = vec![format!("https://localhost:{}", c.address.port())];
    (Arc::new(HttpClient::new(HttpConfig { servers, tls, user_agent: "tester/1".into() }).unwrap()), sender)
}

/// What can be compared: no times, uids, revisions.
fn told(answer: Result<Arc<Object>, Status>) -> Value {
    match answer {
        Err(s) => json!({"error": s.to_value()}),
        Ok(o) => {
            assert_eq!(o.tree()["metadata"]["resourceVersion"].as_str().unwrap_or("0"), o.revision().to_string());
            let mut tree = o.tree();
            for key in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
                tree["metadata"].as_object_mut().map(|m| m.remove(key));
            }
            tree
        }
    }
}

async fn script(client: &dyn Client) -> Vec<Value> {
    let (maps, none) = (of("", "configmaps"), WriteOptions::default());
    let (all, a) = (Target::within(maps.clone(), "default"), Target::one(maps, "default", "a"));
    let tree = |v: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"l": v}}, "data": {"k": v}});
    let mut out = Vec::new();
    out.push(told(client.get(&a).await));
    let dry = WriteOptions { dry_run: true, ..none.clone() };
    client.create(&all, tree("0"), &dry).await.unwrap();
    let made = client.create(&all, tree("1"), &none).await;
    let first = made.clone().unwrap();
    out.push(told(made));
    out.push(told(client.create(&all, tree("1"), &none).await));
    out.push(told(client.patch(&a, Patch::Merge(json!({"data": {"m": "2"}})), &none).await));
    out.push(told(client.update(&a, first.tree(), &none).await));
    out.push(told(client.patch(&a, Patch::Json(json!([{"op": "remove", "path": "/data/k"}])), &none).await));
    let own = WriteOptions { field_manager: "me".into(), ..none.clone() };
    out.push(told(client.patch(&a, Patch::Apply { tree: tree("3"), force: true }, &own).await));
    let wrong = Precondition { uid: Some("x".into()), revision: None };
    let refused = client.delete(&a, &DeleteOptions { precondition: wrong, ..DeleteOptions::default() }).await;
    assert!(refused.unwrap_err().is_conflict());
    let right = Precondition { uid: Some(first.uid().into()), revision: None };
    let options =
        DeleteOptions { precondition: right, propagation: Some(Propagation::Background), ..Default::default() };
    let deleted = client.delete(&a, &options).await.unwrap();
    assert_eq!((deleted.name(), deleted.uid()), ("a", first.uid()));
    out.push(told(client.get(&a).await));

    let nodes = of("", "nodes");
    client.create(&Target::all(nodes.clone()), json!({"metadata": {"name": "x"}}), &none).await.unwrap();
    let x = Target::one(nodes, "", "x");
    let patch = Patch::Strategic(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    out.push(told(client.patch(&x.clone().sub("status"), patch, &none).await));
    client.delete(&x, &DeleteOptions::default()).await.unwrap();

    for name in ["p", "q", "r"] {
        let tree = json!({"metadata": {"name": name, "labels": {"odd": (name != "q").to_string()}}});
        client.create(&all, tree, &none).await.unwrap();
    }
    let options = ListOptions { labels: "odd=true".into(), limit: 1, ..ListOptions::default() };
    let page = client.list(&all, &options).await.unwrap();
    let rest = client.list(&all, &ListOptions { next: page.next.clone(), ..options }).await.unwrap();
    assert!(rest.revision == page.revision && rest.next.is_none());
    for o in page.items.iter().chain(&rest.items) {
        out.push(told(Ok(o.clone())));
        client
            .delete(&Target::one(of("", "configmaps"), "default", o.name()), &DeleteOptions::default())
            .await
            .unwrap();
    }
    let events = client.watch(&all, &ListOptions::default(), page.revision).await.unwrap().take(2);
    for event in soon(events.collect::<Vec<_>>()).await {
        let Ok(WatchEvent::Deleted(o)) = event else { panic!("not a deletion: {event:?}") };
        out.push(told(Ok(o)));
    }
    client.delete(&Target::one(of("", "configmaps"), "default", "q"), &DeleteOptions::default()).await.unwrap();
    out.push(told(client.get(&Target::one(of("", "nothings"), "default", "x")).await));
    out
}

#[tokio::test]
async fn both_doors_answer_alike() {
    let c = Cluster::start().await;
    let (remote, _tls) = remote(&c);
    let local = c.server.client(User::system("tester"));
    let (here, there) = (script(&*local).await, script(&*remote).await);
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(here, there);
    }
    assert_eq!(here.len(), there.len());
}

#[tokio::test]
async fn an_informer_follows_from_afar() {
    let c = Cluster::start().await;
    let (remote, _tls) = remote(&c);
    let local = c.server.client(User::system("tester"));
    let informer = Informer::start(remote, Selector::all(of("", "configmaps")), c.stop.clone());
    soon(informer.synced()).await;
    let seen = Arc::new(tokio::sync::Notify::new());
    let notify = seen.clone();
    informer.on_change(move |_| notify.notify_one());
    let all = Target::within(of("", "configmaps"), "default");
    for i in 0..50 {
        local.create(&all, json!({"metadata": {"name": format!("m{i}")}}), &WriteOptions::default()).await.unwrap();
    }
    soon(async {
        while informer.list(None).len() < 50 {
            seen.notified().await;
        }
    })
    .await;
    let last = informer.get("default", "m49").unwrap();
    let stored = local.get(&Target::one(of("", "configmaps"), "default", "m49")).await.unwrap();
    assert_eq!(last.json(), stored.json(), "byte for byte");
}
