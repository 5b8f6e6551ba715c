//! Watches: what a client sees, from where, and for how long.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cx, Server};

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(ControlPlane: events, selected, bookmarks, initial_events, from_the_future);
    all.push(Trial::test("watching::resumes_across_a_restart", || {
        let server = Server::control_plane(&[]);
        server.run(resumes_across_a_restart(&server));
        Ok(())
    }));
    all.push(Trial::test("watching::too_old", || {
        let server = Server::control_plane(&[]);
        server.run(too_old(&server));
        Ok(())
    }));
    all
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a resource version")
}
fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

async fn events(cx: Cx) {
    let list = cx.api.get(&cx.core("configmaps")).await;
    let mut watch = cx.api.lines(&cx.core(&format!("configmaps?watch=1&resourceVersion={}", version(&list)))).await;
    cx.config_map("a", json!({"k": "1"})).await;
    cx.api.merge(&cx.core("configmaps/a"), json!({"data": {"k": "2"}})).await;
    cx.api.delete(&cx.core("configmaps/a")).await;
    let mut last = 0;
    for (want, k) in [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")] {
        let (kind, object) = watch.event().await;
        assert_eq!((kind.as_str(), name(&object), &object["data"]["k"]), (want, "a", &json!(k)));
        let at: u64 = version(&object).parse().expect("a number");
        assert!(at > last, "revisions go up");
        last = at;
    }
    // the same from the past
    let mut again = cx.api.lines(&cx.core(&format!("configmaps?watch=1&resourceVersion={}", version(&list)))).await;
    assert_eq!(again.event().await.0, "ADDED");
    let mut one = cx.api.lines(&cx.core("configmaps?watch=1&fieldSelector=metadata.name%3Dkube-root-ca.crt")).await;
    assert_eq!(one.event().await.0, "ADDED", "without a version, what is there comes first");
}

async fn selected(cx: Cx) {
    let mut watch = cx.api.lines(&cx.core("configmaps?watch=1&labelSelector=on%3Dyes")).await;
    cx.config_map("a", json!({})).await;
    let path = cx.core("configmaps/a");
    cx.api.merge(&path, json!({"metadata": {"labels": {"on": "yes"}}})).await;
    cx.api.merge(&path, json!({"metadata": {"labels": {"on": "no"}}})).await;
    cx.api.merge(&path, json!({"metadata": {"labels": {"on": "yes"}}})).await;
    for want in ["ADDED", "DELETED", "ADDED"] {
        assert_eq!(watch.event().await.0, want, "an object comes and goes with its label");
    }
}

async fn bookmarks(cx: Cx) {
    let list = cx.api.get(&cx.core("configmaps")).await;
    let query =
        format!("configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={}", version(&list));
    let mut watch = cx.api.lines(&cx.core(&query)).await;
    cx.config_map("a", json!({})).await;
    assert_eq!(watch.event().await.0, "ADDED");
    // at the latest when the watch ends
    let (kind, object) = watch.event().await;
    assert_eq!((kind.as_str(), &object["kind"]), ("BOOKMARK", &json!("ConfigMap")));
    assert!(version(&object) >= version(&list));
    assert_eq!(watch.next().await, None, "it ends when its time is over");
}

async fn initial_events(cx: Cx) {
    cx.config_map("a", json!({})).await;
    let query = "configmaps?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = cx.api.lines(&cx.core(query)).await;
    let mut seen = Vec::new();
    let end = loop {
        let (kind, object) = watch.event().await;
        if kind == "BOOKMARK" {
            break object;
        }
        seen.push(name(&object).to_owned());
    };
    seen.sort();
    assert_eq!(seen, ["a", "kube-root-ca.crt"]);
    assert_eq!(end["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

async fn from_the_future(cx: Cx) {
    let future = cx.api.try_get(&cx.core("configmaps?resourceVersion=99999999999")).await;
    assert_eq!(future.code, 504, "{}", future.body);
    assert_eq!(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

async fn resumes_across_a_restart(server: &Server) {
    server.start();
    let api = server.api().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({"metadata": {"name": name}});
    let seen = api.post(path, map("seen")).await;
    api.post(path, map("missed")).await;
    api.delete(&format!("{path}/seen")).await;
    server.stop();
    server.start();
    let api = server.api().await;
    api.post(path, map("new")).await;
    let mut watch = api.lines(&format!("{path}?watch=1&resourceVersion={}", version(&seen))).await;
    let mut got = Vec::new();
    while got.len() < 3 {
        let (kind, object) = watch.event().await;
        if name(&object) != "kube-root-ca.crt" {
            got.push(format!("{kind} {}", name(&object)));
        }
    }
    assert_eq!(got, ["ADDED missed", "DELETED seen", "ADDED new"]);
}

/// History is bounded in bytes: what was forgotten is said so.
async fn too_old(server: &Server) {
    server.start();
    let api = server.api().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let first = api.post(path, json!({"metadata": {"name": "a"}})).await;
    api.post(path, json!({"metadata": {"name": "b"}})).await;
    let page = api.get(&format!("{path}?limit=1")).await;
    assert_eq!((name(&page["items"][0]), &page["metadata"]["remainingItemCount"]), ("a", &json!(2)));
    let big = "x".repeat(900_000);
    // forgotten in steps of 512 revisions, as soon as there are 32 MB after them
    let small = (0..8).map(async |writer| {
        for n in 0..100 {
            api.merge(&format!("{path}/a"), json!({"data": {format!("w{writer}"): n.to_string()}})).await;
        }
    });
    futures::future::join_all(small).await;
    for n in 0..60 {
        api.merge(&format!("{path}/a"), json!({"data": {"n": n.to_string(), "big": big}})).await;
    }
    let watch = format!("{path}?watch=1&resourceVersion={}", version(&first));
    tests::until("the first is forgotten", tests::SOON, async || {
        let mut stream = api.lines(&watch).await;
        let (kind, object) = stream.event().await;
        if kind == "ERROR" && object["code"] == 410 && object["reason"] == "Expired" { Ok(()) } else { Err(kind) }
    })
    .await;
    // a list begun then goes on, with what there is now, if one wants that
    let next = |list: &Value| list["metadata"]["continue"].as_str().expect("more").to_owned();
    let status = api.try_get(&format!("{path}?limit=1&continue={}", next(&page))).await.refused(410, "Expired");
    let second = api.get(&format!("{path}?limit=1&continue={}", next(&status))).await;
    assert_eq!(name(&second["items"][0]), "b");
    assert_ne!(second["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);
    let third = api.get(&format!("{path}?limit=1&continue={}", next(&second))).await;
    assert_eq!(name(&third["items"][0]), "kube-root-ca.crt");
    assert_eq!(third["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
}
