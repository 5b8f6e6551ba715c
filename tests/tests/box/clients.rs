//! Clients that people have: the Python client, the `kube` crate's dynamic side, kubectl against a namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, LogParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{GroupVersionKind, WatchEvent};
use libtest_mimic::Trial;
use serde_json::json;
use tests::machine::succeed;
use tests::pods::pod;
use tests::{Cx, SOON};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: python, kube_crate)
}

/// A virtual environment with the client, made once per machine.
fn venv() -> PathBuf {
    const CLIENT: &str = "kubernetes==37.0.2";
    let cache = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".cache/skiff");
    let (dir, done) = (cache.join("venv"), cache.join("venv/.with-kubernetes-37.0.2"));
    if !done.exists() {
        std::fs::create_dir_all(&cache).expect("a cache");
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
        succeed(Command::new(dir.join("bin/pip")).args(["install", "-q", CLIENT]));
        std::fs::write(&done, "").expect("a cache");
    }
    dir
}

async fn python(cx: Cx) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python.py");
    let mut command = cx.server.command(venv().join("bin/python3"));
    command.arg(script).arg(&cx.ns);
    let said = tokio::task::spawn_blocking(move || succeed(&mut command)).await.expect("it ends");
    for part in ["typed", "dynamically", "watching", "streams", "election"] {
        assert!(said.contains(&format!("{part}: ok")), "{said}");
    }
}

async fn kube_crate(cx: Cx) {
    let kube = cx.api.kube.clone();
    // dynamic, by discovery
    let (resource, _) = kube::discovery::pinned_kind(&kube, &GroupVersionKind::gvk("apps", "v1", "Deployment"))
        .await
        .expect("apps/v1 is discovered");
    assert_eq!(resource, ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")));
    let deployments: kube::Api<DynamicObject> = kube::Api::namespaced_with(kube.clone(), &cx.ns, &resource);
    let labels = json!({"app": "d"});
    let apply = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod("x", "sleep 1000", json!({}))["spec"]}}});
    let how = PatchParams::apply("kube-rs");
    let made = deployments.patch("d", &how, &Patch::Apply(&apply)).await.expect("applied");
    assert_eq!(made.metadata.managed_fields.as_ref().map(|m| m[0].manager.as_deref()), Some(Some("kube-rs")));
    let other =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3}});
    let conflict = deployments.patch("d", &PatchParams::apply("other"), &Patch::Apply(&other)).await;
    let Err(kube::Error::Api(status)) = conflict else { panic!("no conflict: {conflict:?}") };
    assert_eq!((status.code, status.message.contains("kube-rs")), (409, true), "{status:?}");

    // typed, and a watch from a list's revision
    let maps: kube::Api<ConfigMap> = kube::Api::namespaced(kube.clone(), &cx.ns);
    let from = maps.list(&Default::default()).await.expect("a list").metadata.resource_version.expect("a revision");
    let events = maps.watch(&WatchParams::default(), &from).await.expect("a watch");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).expect("a ConfigMap");
    maps.create(&PostParams::default(), &map).await.expect("created");
    maps.delete("m", &DeleteParams::default()).await.expect("deleted");
    let kinds = events.try_filter_map(async |e| {
        Ok(match e {
            WatchEvent::Added(_) => Some("added"),
            WatchEvent::Deleted(_) => Some("deleted"),
            _ => None,
        })
    });
    let kinds: Vec<&str> =
        tokio::time::timeout(SOON, kinds.take(2).try_collect()).await.expect("in time").expect("events");
    assert_eq!(kinds, ["added", "deleted"]);

    // logs that go on, and a forwarded port
    cx.ready_pod(pod(
        "p",
        "mkdir /w; echo page > /w/index.html; httpd -p 80 -h /w; while true; do echo tick; sleep 0.1; done",
        json!({}),
    ))
    .await;
    let pods: kube::Api<Pod> = kube::Api::namespaced(kube, &cx.ns);
    let log = pods.log_stream("p", &LogParams { follow: true, ..LogParams::default() }).await.expect("a log");
    let lines = futures::AsyncBufReadExt::lines(log).take(3).try_collect::<Vec<_>>();
    let lines = tokio::time::timeout(Duration::from_secs(10), lines).await.expect("in time").expect("lines");
    assert_eq!(lines, ["tick", "tick", "tick"]);
    let mut forward = pods.portforward("p", &[80]).await.expect("forwarded");
    let mut stream = forward.take_stream(80).expect("once");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("it listens");
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    assert!(answer.ends_with("page\n"), "{answer}");
}
