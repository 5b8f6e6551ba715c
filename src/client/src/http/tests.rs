//! Against a small HTTP/2 server of our own, through real TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use api::Gvr;
use futures::{FutureExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use pki::{Authority, Identity, Profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Precondition, WatchEvent};

/// What the server was asked: method, path with query, content type, body.
type Asked = (String, String, String, String);

#[derive(Clone)]
struct Answer {
    code: u16,
    pieces: Vec<String>,
    /// The body does not end.
    endless: bool,
}

fn ok(body: impl ToString) -> Answer {
    Answer { code: 200, pieces: vec![body.to_string()], endless: false }
}

struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
    tls: Arc<ClientConfig>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Site {
        Site::at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    async fn at(address: SocketAddr, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Site {
        let now = "2026-01-15T10:00:00Z".parse().unwrap();
        let ca = Authority::generate("server-ca", now).unwrap();
        let identity = Identity::issue(&ca, &Profile::server("test", ["127.0.0.1".into()]), now).unwrap();
        let acceptor = TlsAcceptor::from(pki::server_config(&identity, &ca).unwrap());
        // the clock of the machine decides
        let tls = pki::client_config(&ca, None).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (log, count, answer) = (asked.clone(), connections.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                *count.lock() += 1;
                let (acceptor, log, answer) = (acceptor.clone(), log.clone(), answer.clone());
                open.spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |r| respond(r, log.clone(), answer.clone()));
                    let _ =
                        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Site { address, asked, connections, tls, task }
    }

    fn client(&self) -> HttpClient {
        self.client_of(vec![format!("https://{}", self.address)]).0
    }
    fn client_of(&self, servers: Vec<String>) -> (HttpClient, tokio::sync::watch::Sender<Arc<ClientConfig>>) {
        let (sender, tls) = tokio::sync::watch::channel(self.tls.clone());
        (HttpClient::new(HttpConfig { servers, tls, user_agent: "test/1".into() }).unwrap(), sender)
    }
}

async fn respond(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<impl Fn(&str) -> Answer>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let content_type = head.headers.get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(head.headers["user-agent"], "test/1");
    log.lock().push((head.method.to_string(), uri.clone(), content_type, String::from_utf8(body.into()).unwrap()));
    let answer = answer(&uri);
    let pieces = futures::stream::iter(answer.pieces.into_iter().map(|p| Ok(Frame::data(Bytes::from(p)))));
    let rest =
        if answer.endless { futures::stream::pending().left_stream() } else { futures::stream::empty().right_stream() };
    Ok(Response::builder().status(answer.code).body(StreamBody::new(pieces.chain(rest))).unwrap())
}

fn pods() -> Gvr {
    Gvr::new("", "v1", "pods")
}

fn pod(name: &str, revision: u64) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "n", "resourceVersion": revision.to_string()}})
}

#[tokio::test]
async fn every_method_asks_as_the_api_is_asked() {
    let site = Site::start(|_| ok(pod("a", 7))).await;
    let client = site.client();
    let (one, write) = (Target::one(pods(), "n", "a"), WriteOptions::default());
    let tree = json!({"x": 1});
    let managed = WriteOptions { field_manager: "me".into(), dry_run: true };
    let deletion = DeleteOptions {
        grace_seconds: Some(3),
        propagation: Some(Propagation::Foreground),
        precondition: Precondition { uid: Some("u".into()), revision: Some(9) },
        dry_run: true,
    };
    let role = Target::one(Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles"), "", "system:a/b");
    assert_eq!(client.get(&one).await.unwrap().revision(), 7);
    client.get(&role).await.unwrap();
    client.create(&Target::within(pods(), "n"), tree.clone(), &managed).await.unwrap();
    client.create(&one.clone().sub("binding"), tree.clone(), &write).await.unwrap();
    client.update(&one.clone().sub("status"), tree.clone(), &write).await.unwrap();
    client.patch(&one, Patch::Json(json!([])), &write).await.unwrap();
    client.patch(&one, Patch::Merge(tree.clone()), &write).await.unwrap();
    client.patch(&one, Patch::Strategic(tree.clone()), &write).await.unwrap();
    client.patch(&one, Patch::Apply { tree: tree.clone(), force: true }, &managed).await.unwrap();
    client.delete(&one, &deletion).await.unwrap();
    let a = "/api/v1/namespaces/n/pods/a";
    let (json, x) = ("application/json", r#"{"x":1}"#);
    let deleted = r#"{"apiVersion":"v1","dryRun":["All"],"gracePeriodSeconds":3,"kind":"DeleteOptions","preconditions":{"resourceVersion":"9","uid":"u"},"propagationPolicy":"Foreground"}"#;
    let want = [
        ("GET", a.to_owned(), "", ""),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%2Fb".into(), "", ""),
        ("POST", "/api/v1/namespaces/n/pods?fieldManager=me&dryRun=All".into(), json, x),
        ("POST", format!("{a}/binding"), json, x),
        ("PUT", format!("{a}/status"), json, x),
        ("PATCH", a.into(), "application/json-patch+json", "[]"),
        ("PATCH", a.into(), "application/merge-patch+json", x),
        ("PATCH", a.into(), "application/strategic-merge-patch+json", x),
        ("PATCH", format!("{a}?fieldManager=me&dryRun=All&force=true"), "application/apply-patch+yaml", x),
        ("DELETE", a.into(), json, deleted),
    ];
    let asked = site.asked.lock().clone();
    for (got, (method, uri, content_type, body)) in asked.iter().zip(want.clone()) {
        assert_eq!(*got, (method.into(), uri, content_type.into(), body.into()));
    }
    assert_eq!((asked.len(), *site.connections.lock()), (want.len(), 1));
}

#[tokio::test]
async fn lists_come_with_their_kinds_and_page() {
    let site = Site::start(|uri| match uri.contains("continue=c%2B") {
        true => ok(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": []})),
        false => {
            ok(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": "c+"},
            "items": [{"metadata": {"name": "a", "resourceVersion": "3"}}, pod("b", 4)]}))
        }
    })
    .await;
    let options = ListOptions { labels: "a in (b,c)".into(), fields: "spec.nodeName=x".into(), limit: 2, next: None };
    let list = site.client().list(&Target::all(pods()), &options).await.unwrap();
    assert_eq!((list.revision, list.next.as_deref()), (9, Some("c+")));
    assert_eq!(list.items.iter().map(|o| (o.name(), o.revision())).collect::<Vec<_>>(), [("a", 3), ("b", 4)]);
    assert_eq!((&list.items[0].tree()["kind"], &list.items[0].tree()["apiVersion"]), (&json!("Pod"), &json!("v1")));
    let rest = ListOptions { next: list.next, ..options };
    assert!(site.client().list(&Target::all(pods()), &rest).await.unwrap().next.is_none());
    let first = site.asked.lock()[0].1.clone();
    assert_eq!(first, "/api/v1/pods?labelSelector=a+in+%28b%2Cc%29&fieldSelector=spec.nodeName%3Dx&limit=2");
}

#[tokio::test]
async fn a_watch_is_decoded_as_it_comes() {
    let mark = json!({"kind": "Pod", "metadata": {"resourceVersion": "12"}});
    let mut text = String::new();
    for (kind, object) in
        [("ADDED", pod("a", 8)), ("MODIFIED", pod("a", 9)), ("DELETED", pod("a", 10)), ("BOOKMARK", mark)]
    {
        text += &format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
    }
    let expired = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", Status::expired("too old").to_value());
    // torn anywhere
    let pieces: Vec<String> = text.as_bytes().chunks(7).map(|c| String::from_utf8(c.into()).unwrap()).collect();
    let site = Site::start(move |uri| match uri {
        u if u.contains("old") => Answer { code: 200, pieces: vec![expired.clone()], endless: true },
        u if u.contains("nowhere") => {
            Answer { code: 410, pieces: vec![Status::expired("x").to_value().to_string()], endless: false }
        }
        _ => Answer { code: 200, pieces: pieces.clone(), endless: false },
    })
    .await;
    let client = site.client();
    let events: Vec<_> = client.watch(&Target::all(pods()), &ListOptions::default(), 7).await.unwrap().collect().await;
    let seen: Vec<_> = events
        .into_iter()
        .map(|e| match e.unwrap() {
            WatchEvent::Added(o) => ("added", o.revision()),
            WatchEvent::Modified(o) => ("modified", o.revision()),
            WatchEvent::Deleted(o) => ("deleted", o.revision()),
            WatchEvent::Bookmark(r) => ("bookmark", r),
        })
        .collect();
    assert_eq!(seen, [("added", 8), ("modified", 9), ("deleted", 10), ("bookmark", 12)]);
    let uri = site.asked.lock()[0].1.clone();
    assert!(
        uri.starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds="),
        "{uri}"
    );
    let within = |n: &str| Target::within(pods(), n);
    let events: Vec<_> = client.watch(&within("old"), &ListOptions::default(), 7).await.unwrap().collect().await;
    assert!(events.len() == 1 && events[0].as_ref().is_err_and(Status::is_expired));
    assert!(client.watch(&within("nowhere"), &ListOptions::default(), 7).await.err().unwrap().is_expired());
}

#[tokio::test]
async fn failures_say_what_the_server_said() {
    let site = Site::start(|uri| match uri {
        u if u.ends_with("/text") => Answer { code: 503, pieces: vec!["starting".into()], endless: false },
        u if u.ends_with("/gone") => {
            ok(json!({"kind": "Status", "status": "Success", "details": {"name": "gone", "uid": "u"}}))
        }
        u if u.ends_with("/odd") => ok("<html>"),
        _ => Answer {
            code: 404,
            pieces: vec![Status::not_found("", "pods", "a").to_value().to_string()],
            endless: false,
        },
    })
    .await;
    let client = site.client();
    let one = |name: &str| Target::one(pods(), "n", name);
    let missing = client.get(&one("a")).await.unwrap_err();
    assert_eq!((missing.is_not_found(), &*missing.message, &*missing.name), (true, "pods \"a\" not found", "a"));
    let busy = client.get(&one("text")).await.unwrap_err();
    assert_eq!((busy.code, is_unreachable(&busy)), (503, false));
    assert!(busy.message.ends_with("503 Service Unavailable: starting"), "{}", busy.message);
    assert_eq!(client.get(&one("odd")).await.unwrap_err().reason, Reason::InternalError);
    let last = client.delete(&one("gone"), &DeleteOptions::default()).await.unwrap();
    assert_eq!((last.name(), last.namespace(), last.uid()), ("gone", "n", "u"));
}

#[tokio::test]
async fn a_broken_connection_is_made_anew_and_no_server_is_told_apart() {
    let site = Site::start(|uri| Answer { endless: uri.contains("watch"), ..ok(pod("a", 1)) }).await;
    let (address, tls) = (site.address, site.tls.clone());
    let (sender, config) = tokio::sync::watch::channel(tls.clone());
    // the first is nobody's
    let servers = vec!["https://127.0.0.1:1".into(), format!("https://{address}")];
    let client = HttpClient::new(HttpConfig { servers, tls: config, user_agent: "test/1".into() }).unwrap();
    let one = Target::one(pods(), "n", "a");
    client.get(&one).await.unwrap();
    let mut watch = client.watch(&Target::all(pods()), &ListOptions::default(), 1).await.unwrap();
    // other certificates: what comes now goes over a new connection
    sender.send_replace(Arc::new((*tls).clone()));
    client.get(&one).await.unwrap();
    assert_eq!(*site.connections.lock(), 2);
    assert!(watch.next().now_or_never().is_none(), "the watch goes on over the old one");
    drop(site);
    assert!(is_unreachable(&watch.next().await.unwrap().unwrap_err()));
    assert!(watch.next().await.is_none());
    let gone = client.get(&one).await.unwrap_err();
    assert!(is_unreachable(&gone) && gone.message.contains(&address.to_string()), "{}", gone.message);

    let site = Site::at(address, |_| ok(pod("a", 2))).await;
    sender.send_replace(site.tls.clone());
    let back = async {
        while client.get(&one).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(2), back).await.expect("back within two seconds");
}

#[tokio::test]
async fn a_silent_end_is_noticed() {
    let line = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", pod("a", 1));
    let site = Site::start(move |_| Answer { endless: true, ..ok(&line) }).await;
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", between.local_addr().unwrap());
    let (cut, server) = (tokio_util::sync::CancellationToken::new(), site.address);
    let until = cut.clone();
    let way = tokio::spawn(async move {
        let (mut near, _) = between.accept().await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        let (mut a, mut b) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                () = until.cancelled() => break,
                n = near.read(&mut a) => far.write_all(&a[..n.unwrap()]).await.unwrap(),
                n = far.read(&mut b) => near.write_all(&b[..n.unwrap()]).await.unwrap(),
            }
        }
        // both ends stay open, and nothing passes
        std::future::pending::<()>().await;
        drop((near, far));
    });
    let (client, _tls) = site.client_of(vec![url]);
    let mut watch = client.watch(&Target::all(pods()), &ListOptions::default(), 1).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    cut.cancel();
    tokio::time::pause();
    let begun = Instant::now();
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(is_unreachable(&error), "{}", error.message);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}: {}", begun.elapsed(), error.message);
    way.abort();
}

#[test]
fn urls_are_checked() {
    let (_, tls) = tokio::sync::watch::channel(
        pki::client_config(&Authority::generate("x", Default::default()).unwrap(), None).unwrap(),
    );
    for (url, good) in [
        ("https://10.0.0.1:6443", true),
        ("https://[fd00::1]:6443", true),
        ("https://skiff.example.com", true),
        ("http://10.0.0.1:6443", false),
        ("10.0.0.1", false),
        ("", false),
    ] {
        let config = HttpConfig { servers: vec![url.into()], tls: tls.clone(), user_agent: "x".into() };
        assert_eq!(HttpClient::new(config).is_ok(), good, "{url}");
    }
}
