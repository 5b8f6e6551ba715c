//! The plugins against an HTTPS server in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::{Status, Value};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use client::{BoxIo, NodeDialer};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::admission::{Again, Extensions, Mutating, Plugin, Validating, Write, testing};
use crate::authz::Authorization;
use crate::lookup::fake::Cluster;
use crate::webhook::WebhookClient;
use crate::{Attributes, User, Verb};

struct Direct;

#[async_trait]
impl NodeDialer for Direct {
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo> {
        Err(std::io::Error::other(node.to_owned()))
    }
    async fn connect(&self, address: SocketAddr) -> std::io::Result<BoxIo> {
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}

/// Answers reviews with what it is told to, and keeps them.
struct Fake {
    address: SocketAddr,
    ca: String,
    reviews: Arc<Mutex<Vec<Value>>>,
    handshakes: Arc<AtomicU32>,
}

impl Fake {
    async fn serve(response: Value) -> Fake {
        let now = jiff::Timestamp::now();
        let ca = pki::Authority::generate("hooks", now).unwrap();
        let identity = pki::Identity::issue(&ca, &pki::Profile::server("hook", ["127.0.0.1".to_owned()]), now).unwrap();
        let mut tls = pki::server_config(&identity, &ca).unwrap();
        Arc::make_mut(&mut tls).alpn_protocols.clear();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reviews: Arc<Mutex<Vec<Value>>> = Arc::default();
        let fake = Fake {
            address: listener.local_addr().unwrap(),
            ca: STANDARD.encode(ca.pem()),
            reviews: reviews.clone(),
            handshakes: Arc::default(),
        };
        let handshakes = fake.handshakes.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(tls);
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(socket).await else { continue };
                handshakes.fetch_add(1, Ordering::Relaxed);
                let (reviews, response) = (reviews.clone(), response.clone());
                let serve = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (reviews, response) = (reviews.clone(), response.clone());
                    async move {
                        let bytes = request.into_body().collect().await?.to_bytes();
                        let review: Value = serde_json::from_slice(&bytes).unwrap();
                        let mut answer = json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response});
                        answer["response"]["uid"] = review["request"]["uid"].clone();
                        reviews.lock().push(review);
                        Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from(answer.to_string()))))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
            }
        });
        fake
    }

    /// The plugins of a cluster with one webhook, which is this.
    fn plugins(&self, kind: &str, change: impl FnOnce(&mut Value)) -> (Mutating, Validating) {
        let mut hook = json!({"name": "a.b.c", "clientConfig": {"url": format!("https://{}/x", self.address), "caBundle": self.ca},
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 5,
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
        change(&mut hook);
        let cluster = Cluster::default();
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [hook]});
        cluster.put(&format!("admissionregistration.k8s.io/{kind}webhookconfigurations"), configuration);
        let lookup: Arc<dyn crate::Lookup> = Arc::new(cluster);
        let client = WebhookClient::new(Arc::new(Direct), lookup.clone());
        let x = Extensions::new(client, lookup, Arc::new(Authorization::new()));
        (Mutating(x.clone()), Validating(x))
    }
}

struct Done {
    object: Value,
    warnings: Vec<String>,
    result: Result<(), Status>,
}

async fn write(plugin: &dyn Plugin, a: &Attributes, mut object: Value, dry_run: bool, connect: bool) -> Done {
    let registry = api::kinds::registry();
    let kind = registry.resource(&a.group, &a.version, &a.resource).unwrap().clone();
    let mut warnings = Vec::new();
    let (mut held, mut again) = (Vec::new(), Again::default());
    let mut write = Write {
        attributes: a,
        kind: &kind,
        object: &mut object,
        old: None,
        dry_run,
        connect,
        deletion: None,
        manager: "me",
        warnings: &mut warnings,
        held: &mut held,
        again: &mut again,
    };
    let result = match plugin.handles(a) {
        true => match plugin.mutate(&mut write).await {
            Ok(()) => plugin.validate(&mut write).await,
            failed => failed,
        },
        false => Ok(()),
    };
    Done { object, warnings, result }
}

fn pods(subresource: &str) -> Attributes {
    let user = Arc::new(User { name: "ann".into(), groups: vec!["g".into()], ..User::default() });
    Attributes { name: "p".into(), subresource: subresource.into(), ..testing::attributes("pods", "ns", &user) }
}

#[tokio::test]
async fn a_patch_is_applied_and_defaulted() {
    let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "b", "image": "i", "nope": 1}}]);
    let fake =
        Fake::serve(json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}))
            .await;
    let (mutating, _) = fake.plugins("mutating", |_| {});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let done = write(&mutating, &pods(""), pod, false, false).await;
    done.result.unwrap();
    let added = &done.object["spec"]["containers"][1];
    assert_eq!((&added["name"], &added["nope"]), (&json!("b"), &Value::Null));
    assert_eq!(added["terminationMessagePath"], "/dev/termination-log");
    let review = &fake.reviews.lock()[0];
    assert_eq!(review["request"]["userInfo"], json!({"username": "ann", "groups": ["g"]}));
    let options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"});
    assert_eq!(review["request"]["options"], options);
}

#[tokio::test]
async fn the_old_review_needs_no_patch_type() {
    let patch = STANDARD.encode(r#"[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]"#);
    let fake = Fake::serve(json!({"allowed": true, "patch": patch, "warnings": ["w"]})).await;
    let (mutating, _) = fake.plugins("mutating", |h| h["admissionReviewVersions"] = json!(["v2", "v1beta1"]));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
    let done = write(&mutating, &pods(""), pod, false, false).await;
    done.result.unwrap();
    assert_eq!((done.object["metadata"]["labels"]["a"].as_str(), done.warnings), (Some("b"), vec!["w".to_owned()]));
    assert_eq!(fake.reviews.lock()[0]["apiVersion"], "admission.k8s.io/v1beta1");
}

#[tokio::test]
async fn connections_and_evictions_are_shown_as_what_they_are() {
    let fake = Fake::serve(json!({"allowed": false, "status": {"reason": "because"}})).await;
    let (_, validating) = fake.plugins("validating", |_| {});
    let exec = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]});
    let done = write(&validating, &pods("exec"), exec, false, true).await;
    let refused = done.result.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, r#"admission webhook "a.b.c" denied the request: because"#)
    );
    let eviction = json!({"metadata": {"name": "p"}});
    assert!(write(&validating, &pods("eviction"), eviction, false, false).await.result.is_err());
    assert_eq!(fake.handshakes.load(Ordering::Relaxed), 1, "a connection serves many calls");
    let reviews = fake.reviews.lock();
    let [exec, eviction] = [&reviews[0]["request"], &reviews[1]["request"]];
    assert_eq!((&exec["operation"], &exec["object"]["command"]), (&json!("CONNECT"), &json!(["sh"])));
    assert_eq!(exec["kind"], json!({"group": "", "version": "v1", "kind": "PodExecOptions"}));
    assert_eq!((&exec["options"], &exec["subResource"]), (&Value::Null, &json!("exec")));
    assert_eq!(eviction["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    assert_eq!(eviction["object"], json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}));
}

#[tokio::test]
async fn a_dry_run_and_configurations_are_spared() {
    let fake = Fake::serve(json!({"allowed": true})).await;
    let (_, validating) = fake.plugins("validating", |h| h["sideEffects"] = json!("Some"));
    let refused = write(&validating, &pods(""), json!({"metadata": {}}), true, false).await.result.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, r#"admission webhook "a.b.c" does not support dry run"#)
    );
    let configuration = Attributes {
        group: "admissionregistration.k8s.io".into(),
        verb: Verb::Create,
        ..testing::attributes("validatingadmissionpolicies", "", &User::system("t"))
    };
    write(&validating, &configuration, json!({"metadata": {"name": "x"}}), false, false).await.result.unwrap();
    assert!(fake.reviews.lock().is_empty());
}

#[test]
fn without_configurations_nothing_is_handled() {
    let lookup: Arc<dyn crate::Lookup> = Arc::new(Cluster::default());
    let client = WebhookClient::new(Arc::new(Direct), lookup.clone());
    let x = Extensions::new(client, lookup, Arc::new(Authorization::new()));
    assert!(!Mutating(x.clone()).handles(&pods("")) && !Validating(x).handles(&pods("")));
}
