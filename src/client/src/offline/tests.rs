use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;

use super::*;
use crate::fake::{FakeClient, Verb};
use crate::{Informer, Selector, unreachable};

struct Node {
    fake: FakeClient,
    away: Arc<Mutex<Option<Status>>>,
    client: Offline,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A process of a node: with a server of its own if there is none yet.
fn node(dir: &Path, fake: FakeClient) -> Node {
    let away: Arc<Mutex<Option<Status>>> = Arc::default();
    let state = away.clone();
    fake.react(move |_, _| state.lock().clone());
    let stop = CancellationToken::new();
    let client = Offline::open(fake.arc(), dir, stop.clone()).unwrap();
    Node { fake, away, client, stop }
}

impl Node {
    fn cut(&self) {
        *self.away.lock() = Some(unreachable("cut off"));
        self.fake.break_watches(unreachable("cut off"));
    }
    fn informer(&self, resource: Gvr) -> Informer {
        Informer::start(Arc::new(self.client.clone()), Selector::all(resource), self.stop.clone())
    }
}

fn of(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

fn names(objects: &[Arc<Object>]) -> Vec<&str> {
    objects.iter().map(|o| o.name()).collect()
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Until the writer, on threads of its own, has written.
async fn written(client: &Offline) {
    a_while().await;
    client.flush().await;
}

fn named(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": name, "namespace": "n"}, "data": {"a": value}})
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_from_disk_and_reconciles() {
    let dir = tempfile::tempdir().unwrap();
    let first = node(dir.path(), FakeClient::new());
    for name in ["a", "b", "c"] {
        first.fake.seed(of("services"), named(name, "1"));
    }
    let informer = first.informer(of("services"));
    informer.synced().await;
    first.fake.edit(&of("services"), "n", "a", |t| t["data"]["a"] = json!("2"));
    first.fake.remove(&of("services"), "n", "b");
    let map = Target::one(of("configmaps"), "n", "m");
    first.fake.seed(of("configmaps"), named("m", "1"));
    first.client.get(&map).await.unwrap();
    written(&first.client).await;
    let fake = first.fake.clone();
    drop(first);

    let second = node(dir.path(), fake);
    second.cut();
    let informer = second.informer(of("services"));
    informer.synced().await;
    assert_eq!(names(&informer.list(None)), ["a", "c"]);
    assert_eq!(informer.get("n", "a").unwrap().tree()["data"]["a"], "2");
    assert_eq!(second.client.get(&map).await.unwrap().tree()["data"]["a"], "1");
    assert!(is_unreachable(&second.client.get(&Target::one(of("configmaps"), "n", "x")).await.unwrap_err()));
    assert!(is_unreachable(
        &second.client.list(&Target::all(of("pods")), &ListOptions::default()).await.err().unwrap()
    ));
    // meanwhile, and then it is back
    second.fake.remove(&of("services"), "n", "c");
    second.fake.seed(of("services"), named("d", "1"));
    a_while().await;
    assert_eq!(names(&informer.list(None)), ["a", "c"]);
    *second.away.lock() = None;
    a_while().await;
    assert_eq!(names(&informer.list(None)), ["a", "d"]);
    let other = second.informer(of("services"));
    second.fake.seed(of("services"), named("e", "1"));
    a_while().await;
    for name in ["a", "d", "e"] {
        assert!(Arc::ptr_eq(&informer.get("n", name).unwrap(), &other.get("n", name).unwrap()), "one copy");
    }
    assert_eq!(names(&informer.list(None)), ["a", "d", "e"], "it follows");
    // a word of the server is no silence
    *second.away.lock() = Some(Status::forbidden("", "configmaps", "m", "no"));
    assert_eq!(second.client.get(&map).await.unwrap_err().code, 403);
}

#[tokio::test(start_paused = true)]
async fn little_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), FakeClient::new());
    let beat = |at: &str| {
        json!({"metadata": {"name": "x", "resourceVersion": ""},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]}})
    };
    node.fake.seed(of("nodes"), beat("1"));
    node.fake.seed(of("services"), named("a", "0"));
    let informers = [node.informer(of("nodes")), node.informer(of("services"))];
    for informer in &informers {
        informer.synced().await;
    }
    written(&node.client).await;
    let files = || {
        let all = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap());
        all.map(|e| {
            let m = e.metadata().unwrap();
            assert_eq!(m.mode() & 0o777, 0o600);
            (e.file_name().into_string().unwrap(), m.len(), m.mtime_nsec(), m.ino())
        })
        .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    let before = files();
    assert_eq!(before.len(), 2);
    node.fake.edit(&of("nodes"), "", "x", |t| t["status"] = beat("2")["status"].take());
    node.fake.seed(Gvr::new("coordination.k8s.io", "v1", "leases"), json!({"metadata": {"name": "l"}}));
    written(&node.client).await;
    assert_eq!(files(), before, "a heartbeat is not written");

    // many changes at once are one
    for i in 1..100 {
        node.fake.edit(&of("services"), "n", "a", |t| t["data"]["a"] = json!(i.to_string()));
    }
    written(&node.client).await;
    let size = |files: &std::collections::BTreeSet<(String, u64, i64, u64)>| files.iter().map(|f| f.1).sum::<u64>();
    assert!(size(&files()) < size(&before) + 300, "{:?}", files());
    // and history does not grow without bound
    for i in 0..300 {
        node.fake.edit(&of("services"), "n", "a", |t| t["data"]["a"] = json!(format!("{i}{}", "x".repeat(1000))));
        written(&node.client).await;
    }
    assert!(size(&files()) < 2 * 1500 + (file::SLACK as u64) + 1500, "{:?}", files());
}

#[tokio::test(start_paused = true)]
async fn tokens_are_kept_for_a_pods_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), FakeClient::new());
    let account = Target::one(of("serviceaccounts"), "n", "default").sub("token");
    let ask = |uid: &str| json!({"spec": {"boundObjectRef": {"kind": "Pod", "uid": uid}}, "status": {"token": uid, "expirationTimestamp": "2020-01-01T00:00:00Z"}});
    let get = async |uid: &str| node.client.create(&account, ask(uid), &WriteOptions::default()).await;
    get("1").await.unwrap();
    written(&node.client).await;
    node.cut();
    let kept = get("1").await.unwrap().tree();
    assert_eq!(kept["status"]["token"], "1");
    let end: Timestamp = kept["status"]["expirationTimestamp"].as_str().unwrap().parse().unwrap();
    assert!(end > Timestamp::now() && end < Timestamp::now() + SignedDuration::from_secs(61));
    assert!(is_unreachable(&get("2").await.unwrap_err()));
    assert!(node.fake.take_writes().iter().all(|(verb, _)| *verb == Verb::Create));
}

#[test]
fn a_torn_file_is_read_up_to_the_tear() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let object = |name: &str| Draft::encode(&named(name, "1")).unwrap().at(3);
    let header = Bytes::from_static(b"[1]");
    let lines = [header, file::line(&object("a")), file::line(&object("b")), file::removal("n", "a")];
    file::replace(&path, &lines).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let b = whole.windows(9).rposition(|w| w == b"{\"kind\":\"").unwrap();
    for (length, extra, want, torn) in [
        (whole.len(), &b""[..], &["b"][..], false),
        (whole.len() - 1, b"", &["a", "b"], true),
        (whole.len(), &[0; 9], &["b"], true),
        (b + 20, b"", &["a"], true),
        (b, b"\n{}}\n", &["a"], true),
        (4, b"", &[], false),
    ] {
        std::fs::write(&path, [&whole[..length], extra].concat()).unwrap();
        let read = file::read(&path, "[1]").unwrap();
        assert_eq!((names(&read.objects), read.torn), (want.to_vec(), torn), "{length} {extra:?}");
    }
    assert!(file::read(&path, "[2]").is_none() && file::read(&dir.path().join("y"), "[1]").is_none());
}

#[test]
fn what_is_not_looked_for_goes() {
    let dir = tempfile::tempdir().unwrap();
    let days = |n: u64| std::time::SystemTime::now() - Duration::from_secs(n * 24 * 3600);
    for (name, age) in [
        ("secrets_n__a.log", 8),
        ("secrets_n__b.log", 6),
        ("secrets_n__used.log", 8),
        ("persistentvolumes___a.log", 80),
        ("persistentvolumes___b.log", 91),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, "[1]\n").unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(days(age)).unwrap();
    }
    // to be looked for again is to be young again
    file::read(&dir.path().join("secrets_n__a.log"), "[1]").unwrap();
    file::prune(dir.path(), |name| name.contains("used")).unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["persistentvolumes___a.log", "secrets_n__a.log", "secrets_n__b.log", "secrets_n__used.log"]);
}
