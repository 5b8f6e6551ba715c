//! Clients that people have: the Python client, the `kube` crate, kubectl. Each is asked for all that it can: typed, dynamic, watch,
//! apply, exec, log follow, port-forward, and, where it has that, leader election.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ApiResource, DeleteParams, DynamicObject, LogParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{GroupVersionKind, WatchEvent};
use libtest_mimic::Trial;
use serde_json::json;
use tests::machine::succeed;
use tests::pods::pod;
use tests::{Cx, SOON};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::ChildStdout;

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(Node: python, kube_crate, kubectl);
    all.extend(crate::trials!(ControlPlane: leader_election));
    all
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
    let done = cx.exec("p", &["sh", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!((done.out.as_str(), done.err.as_str(), done.code), ("out\n", "err\n", 3));
}

/// One who would lead, by a Lease, as client-go's `leaderelection` does it.
struct Candidate {
    leases: kube::Api<Lease>,
    name: String,
}

impl Candidate {
    /// Takes the lease, or keeps it: whether it is ours now.
    async fn lead(&self) -> bool {
        let now = MicroTime(jiff::Timestamp::now());
        let Some(mut lease) = self.leases.get_opt("leader").await.expect("an answer") else {
            let spec = LeaseSpec {
                holder_identity: Some(self.name.clone()),
                lease_duration_seconds: Some(1),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            };
            let metadata = ObjectMeta { name: Some("leader".into()), ..ObjectMeta::default() };
            return self.wrote(self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await);
        };
        let spec = lease.spec.get_or_insert_default();
        let lasts = spec.lease_duration_seconds.unwrap_or(1);
        let over = spec.renew_time.as_ref().is_none_or(|t| t.0 + jiff::Span::new().seconds(lasts) < now.0);
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder != self.name {
            if !over && !holder.is_empty() {
                return false;
            }
            spec.holder_identity = Some(self.name.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = spec.lease_transitions.map(|n| n + 1);
        }
        spec.renew_time = Some(now);
        self.wrote(self.leases.replace("leader", &PostParams::default(), &lease).await)
    }

    /// False where another was faster.
    fn wrote(&self, result: kube::Result<Lease>) -> bool {
        match result {
            Ok(lease) => lease.spec.and_then(|s| s.holder_identity).is_some_and(|h| h == self.name),
            Err(kube::Error::Api(status)) if status.code == 409 => false,
            Err(e) => panic!("{e}"),
        }
    }
}

async fn leader_election(cx: Cx) {
    let leases: kube::Api<Lease> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    let all: Vec<Candidate> = (0..8).map(|n| Candidate { leases: leases.clone(), name: format!("c{n}") }).collect();
    let leaders = async |all: Vec<&Candidate>| {
        let asked = futures::future::join_all(all.iter().map(|c| c.lead())).await;
        all.into_iter().zip(asked).filter(|(_, leads)| *leads).map(|(c, _)| c.name.clone()).collect::<Vec<_>>()
    };
    // all at once: one of them, and it stays the one while it renews
    let first = leaders(all.iter().collect()).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let of = |name: &str| all.iter().filter(|c| c.name == name).collect::<Vec<_>>();
    assert_eq!(leaders(of(&first[0])).await, first);
    // it says nothing more: another takes over once the lease has run out
    let others = || all.iter().filter(|c| c.name != first[0]).collect::<Vec<_>>();
    let second = tests::until("somebody takes over", SOON, async || match leaders(others()).await {
        some if some.len() == 1 => Ok(some),
        none => Err(format!("{none:?}")),
    })
    .await;
    assert!(!of(&first[0])[0].lead().await, "it has lost it");
    // given up: the next need not wait
    let none = json!({"spec": {"holderIdentity": ""}});
    leases.patch("leader", &PatchParams::default(), &Patch::Merge(&none)).await.expect("released");
    assert!(of(&first[0])[0].lead().await);
    let spec = leases.get("leader").await.expect("a lease").spec.expect("a specification");
    assert_eq!(
        (spec.holder_identity.as_deref(), spec.lease_transitions),
        (Some(first[0].as_str()), Some(2)),
        "{second:?}"
    );
}

/// kubectl, as it goes on: its lines as they come.
fn lines_of(cx: &Cx, args: &[&str]) -> (tokio::process::Child, tokio::io::Lines<BufReader<ChildStdout>>) {
    let mut command = tokio::process::Command::from(cx.server.command("kubectl"));
    command.args(["-n", &cx.ns]).args(args).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("kubectl runs");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out.lines())
}

async fn next(lines: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(SOON, lines.next_line()).await.expect("it says something in time");
    line.expect("text").expect("it goes on")
}

async fn kubectl(cx: Cx) {
    if cx.kubectl(&["version", "--client"]).is_none() {
        return;
    }
    let says = |args: &[&str], wanted: &str| {
        let (ok, out) = cx.kubectl(args).expect("it is there");
        assert!(ok && out.contains(wanted), "{args:?}: {out}");
        out
    };
    // typed, dynamic (of a kind that no client knows), watch, apply on both sides
    let group = format!("{}.example.com", cx.ns);
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("odds.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "odds", "singular": "odd", "kind": "Odd", "listKind": "OddList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}}]}});
    let file = |name: &str, content: &serde_json::Value| {
        let path = cx.server.dir().join(format!("{}-{name}.json", cx.ns)).display().to_string();
        std::fs::write(&path, content.to_string()).expect("the server's directory");
        path
    };
    says(&["create", "-f", &file("crd", &crd)], "created");
    says(&["wait", "--for=condition=Established", &format!("crd/odds.{group}"), "--timeout=30s"], "condition met");
    let (mut watch, mut changes) =
        lines_of(&cx, &["get", &format!("odds.{group}"), "-w", "-o", "jsonpath={.metadata.name} {.spec.n}{'\\n'}"]);
    let odd = |n: u8| json!({"apiVersion": format!("{group}/v1"), "kind": "Odd", "metadata": {"name": "one"}, "spec": {"n": n}});
    says(&["apply", "-f", &file("odd", &odd(1))], &format!("odd.{group}/one created"));
    says(&["apply", "-f", &file("odd", &odd(2))], &format!("odd.{group}/one configured"));
    says(&["apply", "--server-side", "--force-conflicts", "-f", &file("odd", &odd(3))], "serverside-applied");
    for wanted in ["one 1", "one 2", "one 3"] {
        assert_eq!(next(&mut changes).await, wanted);
    }
    watch.kill().await.expect("it ran");
    says(&["get", "odd", "one", "-o", "yaml"], "n: 3");
    says(&["create", "configmap", "typed", "--from-literal=a=1"], "configmap/typed created");
    says(&["patch", "configmap", "typed", "--type=merge", "-p", r#"{"data":{"b":"2"}}"#], "patched");
    says(&["get", "configmap", "typed", "-o", "jsonpath={.data}"], r#"{"a":"1","b":"2"}"#);

    // exec, logs that go on, a forwarded port
    let script = "mkdir /w; echo page > /w/index.html; httpd -p 80 -h /w; while true; do echo tick; sleep 0.1; done";
    says(&["create", "-f", &file("pod", &pod("p", script, json!({})))], "pod/p created");
    says(&["wait", "--for=condition=Ready", "pod/p", "--timeout=30s"], "condition met");
    says(&["exec", "p", "--", "echo", "inside"], "inside\n");
    let (mut follow, mut log) = lines_of(&cx, &["logs", "-f", "p"]);
    for _ in 0..3 {
        assert_eq!(next(&mut log).await, "tick");
    }
    follow.kill().await.expect("it ran");
    let (mut forward, mut told) = lines_of(&cx, &["port-forward", "--address", "127.0.0.1", "pod/p", ":80"]);
    let line = next(&mut told).await;
    let address =
        line.strip_prefix("Forwarding from ").and_then(|l| l.split(" ->").next()).unwrap_or_else(|| panic!("{line}"));
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("it listens");
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    assert!(answer.ends_with("page\n"), "{answer}");
    forward.kill().await.expect("it ran");
    says(&["delete", "crd", &format!("odds.{group}")], "deleted");
}
