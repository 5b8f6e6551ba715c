//! Lists, pages, tables and watches, over HTTPS.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Events};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"l": label}}})
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect()
}

async fn five(c: &Cluster) {
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        c.made(MAPS, map(name, label)).await;
    }
    c.made("/api/v1/namespaces/other/configmaps", map("a", "x")).await;
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let c = Cluster::start().await;
    five(&c).await;
    for (query, want) in [
        ("", vec!["a", "b", "c", "d", "e"]),
        ("?labelSelector=l%3Dx", vec!["a", "c", "e"]),
        ("?labelSelector=l%20notin%20(x)", vec!["b", "d"]),
        ("?fieldSelector=metadata.name%3Db", vec!["b"]),
        ("?fieldSelector=metadata.name!%3Db,metadata.namespace=default", vec!["a", "c", "d", "e"]),
        ("?resourceVersion=0&limit=2", vec!["a", "b", "c", "d", "e"]),
    ] {
        let list = c.get(&format!("{MAPS}{query}")).await.json();
        assert_eq!(names(&list), want, "{query}");
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    }
    assert_eq!(names(&c.get("/api/v1/configmaps").await.json()).len(), 6);
    assert_eq!(c.get("/api/v1/secrets").await.json()["items"], json!([]));

    // pages stay on the first one's revision
    let first = c.get("/api/v1/configmaps?limit=2").await.json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(4)));
    let next = first["metadata"]["continue"].as_str().unwrap();
    c.made(MAPS, map("bb", "x")).await;
    c.delete(&format!("{MAPS}/c")).await;
    let second = c.get(&format!("/api/v1/configmaps?limit=3&continue={next}")).await.json();
    assert_eq!(names(&second), ["c", "d", "e"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let next = second["metadata"]["continue"].as_str().unwrap();
    let last = c.get(&format!("/api/v1/configmaps?limit=3&continue={next}")).await.json();
    assert_eq!((names(&last), &last["metadata"]["continue"]), (vec!["a"], &Value::Null));

    // the past, exactly
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let then = c.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await.json();
    assert_eq!(names(&then), ["a", "b", "c", "d", "e"]);
    let now = c.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan")).await.json();
    assert_eq!(names(&now), ["a", "b", "bb", "d", "e"]);
    let future = c.get(&format!("{MAPS}?resourceVersion=99999")).await;
    assert_eq!(future.failure().0, 504);
    assert!(future.failure().1.starts_with("Timeout: Too large resource version: 99999, current: "));
    assert_eq!(c.get(&format!("{MAPS}?continue=rubbish")).await.code, 400);
}

#[tokio::test]
async fn tables_and_partial_metadata() {
    let c = Cluster::start().await;
    five(&c).await;
    let table = c.send("GET", MAPS, &[("accept", TABLE)], "").await.json();
    assert_eq!((&table["kind"], table["rows"].as_array().unwrap().len()), (&json!("Table"), 5));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = c.send("GET", &format!("{MAPS}/a?includeObject=Object"), &[("accept", TABLE)], "").await.json();
    assert_eq!(whole["rows"][0]["object"]["kind"], "ConfigMap");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = c.send("GET", MAPS, &[("accept", partial)], "").await.json();
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata"))
    );

    let answer = c.open("GET", &format!("{MAPS}?watch=1"), &[("accept", TABLE)], Default::default()).await;
    let mut events = Events::new(answer.into_body());
    let (first, second) = (events.next().await.unwrap(), events.next().await.unwrap());
    assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert!(!first["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(second["object"]["columnDefinitions"].as_array().is_none_or(Vec::is_empty));
}

async fn expect(events: &mut Events, want: &[(&str, &str)]) {
    for (kind, name) in want {
        assert_eq!(events.seen().await, (kind.to_string(), name.to_string()));
    }
}

#[tokio::test]
async fn a_watch_tells_what_a_selector_sees() {
    let c = Cluster::start().await;
    five(&c).await;
    let revision = c.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut all = c.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await;
    let mut xs = c.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}&labelSelector=l%3Dx")).await;
    let mut one = c.watch(&format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Db")).await;
    let relabel = |name: &str, l: &str| (format!("{MAPS}/{name}"), json!({"metadata": {"labels": {"l": l}}}));
    for (name, label) in [("a", "y"), ("b", "x"), ("c", "x")] {
        let (path, patch) = relabel(name, label);
        assert_eq!(c.json("PATCH", &path, patch).await.code, 200);
    }
    let (path, patch) = ("/api/v1/namespaces/other/configmaps/a", json!({"data": {"k": "v"}}));
    assert_eq!(c.json("PATCH", path, patch).await.code, 200);
    let gone = c.delete(&format!("{MAPS}/b")).await;
    assert_eq!(gone.code, 200);
    expect(&mut all, &[("MODIFIED", "a"), ("MODIFIED", "b"), ("DELETED", "b")]).await;
    expect(&mut one, &[("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]).await;
    // `a` leaves at the revision of the change, in its old form
    let left = xs.next().await.unwrap();
    assert_eq!((&left["type"], &left["object"]["metadata"]["labels"]["l"]), (&json!("DELETED"), &json!("x")));
    let changed = c.get(&format!("{MAPS}/a")).await.json();
    assert_eq!(left["object"]["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]);
    expect(&mut xs, &[("ADDED", "b"), ("DELETED", "b")]).await;
}

#[tokio::test]
async fn a_watch_begins_as_asked_and_ends_in_time() {
    let c = Cluster::start().await;
    five(&c).await;
    let mut state = c.watch(&format!("{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=1&labelSelector=l%3Dy")).await;
    expect(&mut state, &[("ADDED", "b"), ("ADDED", "d")]).await;
    assert!(state.next().await.is_none());

    let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let mut events = c.watch(&format!("{MAPS}?{query}")).await;
    expect(&mut events, &[("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("ADDED", "d"), ("ADDED", "e")]).await;
    let mark = events.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // and a last one at the end
    let last = events.next().await.unwrap();
    assert_eq!((&last["type"], &last["object"]["metadata"]["annotations"]), (&json!("BOOKMARK"), &Value::Null));
    assert!(events.next().await.is_none());

    assert_eq!(c.get(&format!("{MAPS}?watch=true&sendInitialEvents=true")).await.code, 422);
    let legacy = c.watch("/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1").await.seen().await;
    assert_eq!(legacy, ("ADDED".into(), "a".into()));
}

#[tokio::test]
async fn stopping_takes_less_than_a_second_with_watches_open() {
    let c = Cluster::start().await;
    let mut events = c.watch(&format!("{MAPS}?watch=true")).await;
    let idle = c.connect().await;
    let begun = std::time::Instant::now();
    c.stop.cancel();
    assert!(events.next().await.is_none());
    support::soon(c.serving).await.unwrap().unwrap();
    assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
    drop(idle);
}

#[tokio::test]
async fn what_is_served_can_be_discovered() {
    let c = Cluster::start().await;
    let resources = c.get("/api/v1").await.json();
    let find = |name: &str| resources["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned();
    let pods = find("pods").unwrap();
    assert_eq!(
        (&pods["kind"], &pods["shortNames"], &pods["namespaced"]),
        (&json!("Pod"), &json!(["po"]), &json!(true))
    );
    // as every server of Kubernetes says it
    assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert!(pods["categories"].as_array().unwrap().contains(&json!("all")));
    assert_eq!(find("replicationcontrollers/scale").unwrap()["group"], "autoscaling");
    assert!(find("pods/log").is_some() && find("namespaces/finalize").is_some());
    let groups = c.get("/apis").await.json();
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["name"] == "apps" && g["preferredVersion"]["version"] == "v1")
    );
    assert_eq!(c.get("/apis/apps").await.json()["kind"], "APIGroup");
    assert_eq!(c.get("/apis/apps/v9").await.code, 404);
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = c.send("GET", "/apis", &[("accept", aggregated)], "").await;
    assert_eq!(answer.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let apps =
        answer.json()["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == "apps").cloned().unwrap();
    let deployments = apps["versions"][0]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["resource"] == "deployments")
        .cloned()
        .unwrap();
    assert_eq!(deployments["subresources"].as_array().unwrap().len(), 2);

    assert!(c.get("/version").await.json()["gitVersion"].as_str().unwrap().starts_with("v1.36.0+skiff"));
    let ready = c.get("/readyz?verbose").await.text();
    assert!(ready.contains("[+]ping ok\n") && ready.ends_with("readyz check passed\n"), "{ready}");
    assert!(c.get("/").await.json()["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")));
    c.get(MAPS).await;
    let metrics = c.get("/metrics").await.text();
    let lists = |l: &str| l.starts_with("apiserver_request_total{code=\"200\"") && l.contains(",verb=\"LIST\",");
    assert!(metrics.lines().any(lists), "{metrics}");
    assert_eq!(c.get("/openapi/v2").await.json()["swagger"], "2.0");
    let index = c.get("/openapi/v3").await.json();
    let path = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert!(c.get(&path).await.json()["components"]["schemas"].is_object());
    for path in ["/nope", "/apis/nope/v1/things", "/api/v2"] {
        let (code, text) = c.get(path).await.failure();
        assert_eq!((code, text.as_str()), (404, "the server could not find the requested resource"), "{path}");
    }
}
