//! Aggregated APIs: an API server in this process behind an APIService; the server's own APIServices; `metrics.k8s.io`.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{condition, pod};
use tests::{Cx, SOON, until};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(ControlPlane: served_by_another, own_services, refused);
    all.extend(crate::trials!(Node: top));
    all
}

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// An API server that believes this cluster's front proxy and nobody else.
struct Extension {
    group: String,
    port: u16,
    ca: String,
    /// Method and path of each request for things.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Extension {
    async fn serve(cx: &Cx, group: &str) -> Extension {
        let now = jiff::Timestamp::now();
        let ca = pki::Authority::generate("extension", now).expect("a CA");
        let profile = pki::Profile::server("ext", [format!("ext.{}.svc", cx.ns)]);
        let identity = pki::Identity::issue(&ca, &profile, now).expect("a certificate");
        let known = cx.api.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await;
        assert_eq!(known["data"]["requestheader-allowed-names"], "[\"system:auth-proxy\"]");
        assert_eq!(known["data"]["requestheader-username-headers"], "[\"X-Remote-User\"]");
        let mut roots = RootCertStore::empty();
        let pem = known["data"]["requestheader-client-ca-file"].as_str().expect("an authority");
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(identity.chain().expect("a chain"), identity.private_key().expect("a key"))
            .expect("TLS");
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (acceptor, its_group) = (TlsAcceptor::from(Arc::new(tls)), group.to_owned());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, group, log) = (acceptor.clone(), its_group.clone(), log.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        answer(stream, &group, &log).await;
                    }
                });
            }
        });
        Extension { group: group.to_owned(), port, ca: STANDARD.encode(ca.pem().as_bytes()), asked }
    }

    /// A Service without a selector, its endpoint by hand, and the APIService.
    async fn register(&self, cx: &Cx) {
        cx.api
            .post(&cx.core("services"), json!({"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 443}]}}))
            .await;
        let spec = json!({"group": self.group, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
            "caBundle": self.ca, "service": {"namespace": cx.ns, "name": "ext"}});
        let name = format!("v1.{}", self.group);
        let made = cx.api.post(SERVICES, json!({"metadata": {"name": name}, "spec": spec})).await;
        assert_eq!(made["spec"]["service"]["port"], 443);
    }

    async fn endpoint(&self, cx: &Cx, ready: bool) {
        let own = cx.api.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
        let ip = own["subsets"][0]["addresses"][0]["ip"].clone();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "ext-1", "labels": {"kubernetes.io/service-name": "ext"}},
            "endpoints": [{"addresses": [ip], "conditions": {"ready": ready}}], "ports": [{"port": self.port}]});
        let path = cx.of("discovery.k8s.io/v1", "endpointslices/ext-1");
        let kind = "application/apply-patch+yaml";
        cx.api.try_patch(&format!("{path}?fieldManager=test&force=true"), kind, &slice).await.ok();
    }

    async fn available(&self, cx: &Cx, reason: &str) -> Value {
        let path = format!("{SERVICES}/v1.{}", self.group);
        let says = |o: &Value| o["status"]["conditions"][0]["reason"] == reason;
        cx.api.wait(&format!("is {reason}"), &path, SOON, says).await
    }
}

/// One request, one answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, group: &str, log: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = target.split('?').next().unwrap_or_default();
    let root = format!("/apis/{group}/v1");
    let method = head.split(' ').next().unwrap_or_default();
    if path.ends_with("/things") {
        log.lock().expect("nobody panicked").push(format!("{method} {path}"));
    }
    if target.contains("watch=true") {
        let event = json!({"type": "ADDED", "object": {"kind": "Thing"}}).to_string() + "\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        let start = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{start}{chunk}").as_bytes()).await;
        // the stream stays open for as long as the client looks
        let _ = stream.read(&mut [0; 1]).await;
        return;
    }
    if head.to_ascii_lowercase().contains("upgrade: echo") {
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\n").await;
        let mut word = [0; 5];
        if stream.read_exact(&mut word).await.is_ok() {
            let _ = stream.write_all(&word).await;
        }
        return;
    }
    let body = if path == root {
        let verbs = ["get", "list", "watch", "delete", "deletecollection"];
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1"), "resources": [
            {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": verbs, "shortNames": ["th"]},
            {"name": "things/status", "singularName": "", "namespaced": true, "kind": "Thing", "verbs": ["get"]}]})
    } else if path.ends_with("/things") {
        json!({"kind": "ThingList", "apiVersion": format!("{group}/v1"), "metadata": {"resourceVersion": "1"}, "items": []})
    } else if path == "/openapi/v3" {
        json!({"paths": {&root[1..]: {"serverRelativeURL": format!("/openapi/v3{root}?hash=AB")}}})
    } else if path == "/openapi/v2" {
        let get = json!({"get": {"operationId": "listThing", "responses": {"200": {"description": "OK"}}}});
        json!({"swagger": "2.0", "paths": {format!("{root}/things"): get, "/apis/": get},
            "definitions": {format!("test.{group}.Thing"): {"type": "object"}}})
    } else {
        let headers: Vec<&str> = head.lines().skip(1).filter(|l| !l.is_empty()).collect();
        json!({"kind": "Thing", "apiVersion": format!("{group}/v1"), "target": target, "headers": headers})
    };
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
    let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn discovered(cx: &Cx, group: &str) -> Value {
    let request = http::Request::get("/apis").header("accept", DISCOVERY).body(kube::client::Body::empty());
    let answer = cx.api.kube.send(request.expect("a request")).await.expect("an answer");
    let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    let list: Value = serde_json::from_slice(&bytes).expect("JSON");
    let items = list["items"].as_array().expect("groups");
    items.iter().find(|g| g["metadata"]["name"] == group).expect("the group")["versions"][0].clone()
}

async fn served_by_another(cx: Cx) {
    let group = format!("{}.ext.test", cx.ns);
    let extension = Extension::serve(&cx, &group).await;
    extension.register(&cx).await;
    extension.available(&cx, "EndpointsNotFound").await;
    let root = format!("/apis/{group}/v1");
    let things = format!("{root}/namespaces/{}/things", cx.ns);
    let away = cx.api.try_get(&things).await;
    assert_eq!((away.code.as_u16(), away.body.as_str()), (503, Some("service unavailable\n")));

    extension.endpoint(&cx, true).await;
    let object = extension.available(&cx, "Passed").await;
    assert_eq!(condition(&object, "Available"), Some("True"));

    // for whom a request is, and nothing that the client says about it
    let echo = cx.api.get(&format!("{things}/a?x=%2Fy")).await;
    assert_eq!(echo["target"], format!("{things}/a?x=%2Fy"));
    let headers: Vec<&str> = echo["headers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for want in ["x-remote-user: system:admin", "x-remote-group: system:masters", "x-forwarded-proto: https"] {
        assert!(headers.contains(&want), "{want}: {headers:?}");
    }
    assert!(headers.iter().all(|h| !h.starts_with("authorization")), "{headers:?}");
    let request = http::Request::get(format!("{things}/a"))
        .header("impersonate-user", "jane")
        .header("x-remote-group", "system:masters")
        .body(kube::client::Body::empty());
    let refused = cx.api.kube.send(request.expect("a request")).await.expect("an answer");
    assert_eq!(refused.status(), 403, "jane may not");
    cx.api
        .post(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({"metadata": {"name": format!("{}-things", cx.ns)},
            "rules": [{"apiGroups": [group], "resources": ["things"], "verbs": ["get"]}]}),
        )
        .await;
    cx.api
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", json!({"metadata": {"name": format!("{}-things", cx.ns)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{}-things", cx.ns)},
            "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]}))
        .await;
    let jane = until("jane may", SOON, async || {
        let request = http::Request::get(format!("{things}/a"))
            .header("impersonate-user", "jane")
            .header("x-remote-group", "system:masters")
            .body(kube::client::Body::empty());
        let answer = cx.api.kube.send(request.expect("a request")).await.map_err(|e| e.to_string())?;
        let (code, body) = (answer.status(), answer.into_body());
        let bytes = http_body_util::BodyExt::collect(body).await.map_err(|e| e.to_string())?.to_bytes();
        if code == 200 { Ok(String::from_utf8_lossy(&bytes).into_owned()) } else { Err(code.to_string()) }
    })
    .await;
    assert!(jane.contains("x-remote-user: jane") && !jane.contains("system:masters"), "{jane}");
    assert!(!jane.contains("impersonate"), "{jane}");

    // a watch's event comes while the watch goes on
    let mut watch = cx.api.lines(&format!("{things}?watch=true")).await;
    assert_eq!(watch.event().await, ("ADDED".into(), json!({"kind": "Thing"})));
    drop(watch);
    assert_eq!(upgraded(&cx, &format!("{things}/a/exec")).await, "hello");

    let list = cx.api.get("/apis").await;
    assert!(list["groups"].as_array().unwrap().iter().any(|g| g["name"] == group.as_str()));
    assert_eq!(cx.api.get(&format!("/apis/{group}")).await["preferredVersion"]["version"], "v1");
    assert_eq!(cx.api.get(&root).await["resources"][0]["name"], "things");
    let version = discovered(&cx, &group).await;
    assert_eq!((&version["freshness"], &version["resources"][0]["resource"]), (&json!("Current"), &json!("things")));
    assert_eq!(version["resources"][0]["subresources"][0]["subresource"], "status");
    let index = cx.api.get("/openapi/v3").await;
    assert_eq!(index["paths"][&root[1..]]["serverRelativeURL"], format!("/openapi/v3{root}?hash=AB"));
    assert!(index["paths"]["apis/apps/v1"].is_object());
    let document = cx.api.get("/openapi/v2").await;
    assert_eq!(document["paths"][format!("{root}/things")]["get"]["operationId"], "listThing");
    assert!(
        document["paths"]["/api/v1/pods"].is_object()
            && document["definitions"][format!("test.{group}.Thing")].is_object()
    );

    // what it holds of a namespace goes with the namespace
    let gone = format!("{}-gone", cx.ns);
    let namespace = format!("/api/v1/namespaces/{gone}");
    cx.api.post("/api/v1/namespaces", json!({"metadata": {"name": gone}})).await;
    cx.api.delete(&namespace).await;
    cx.api.gone(&namespace, SOON).await;
    let deleted = format!("DELETE {root}/namespaces/{gone}/things");
    assert!(extension.asked.lock().unwrap().contains(&deleted), "{deleted}");

    // what it says of an owner counts
    let owner = json!([{"apiVersion": format!("{group}/v1"), "kind": "Thing", "name": "gone", "uid": "1"}]);
    cx.api.post(&cx.core("configmaps"), json!({"metadata": {"name": "owned", "ownerReferences": owner}})).await;
    cx.api.gone(&cx.core("configmaps/owned"), SOON).await;
    assert!(extension.asked.lock().unwrap().contains(&format!("GET {root}/things")));

    extension.endpoint(&cx, false).await;
    let object = extension.available(&cx, "MissingEndpoints").await;
    assert_eq!(condition(&object, "Available"), Some("False"));
    assert_eq!(cx.api.try_get(&things).await.code, 503);
    assert_eq!(discovered(&cx, &group).await["freshness"], "Stale");
    cx.api.delete(&cx.core("services/ext")).await;
    extension.available(&cx, "ServiceNotFound").await;

    // nobody knows what it may hold
    cx.api.post("/api/v1/namespaces", json!({"metadata": {"name": gone}})).await;
    cx.api.delete(&namespace).await;
    until("the namespace waits for it", SOON, async || {
        let object = cx.api.get(&namespace).await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let said = conditions.into_iter().find(|c| c["type"] == "NamespaceDeletionDiscoveryFailure");
        let said = said.ok_or("there is no condition")?;
        let names = said["message"].as_str().is_some_and(|m| m.contains(&format!("{group}/v1: stale")));
        if said["reason"] == "DiscoveryFailed" && names { Ok(()) } else { Err(said.to_string()) }
    })
    .await;

    cx.api.delete(&format!("{SERVICES}/v1.{group}")).await;
    cx.api.gone(&things, SOON).await;
    cx.api.gone(&namespace, SOON).await;
    for kind in ["clusterroles", "clusterrolebindings"] {
        cx.api.delete(&format!("/apis/rbac.authorization.k8s.io/v1/{kind}/{}-things", cx.ns)).await;
    }
}

/// What comes back of `hello` on an upgraded connection.
async fn upgraded(cx: &Cx, path: &str) -> String {
    let tls = |name: &str| std::fs::read_to_string(format!("{}/server/tls/{name}", cx.server.data())).expect("a key");
    let admin = pki::Identity { certificate: tls("admin.crt"), key: tls("admin.key") };
    let mut config = pki::client_config_pem(&tls("server-ca.crt"), Some(&admin)).expect("TLS");
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    let file = std::fs::read_to_string(cx.server.kubeconfig()).expect("a kubeconfig");
    let line = file.lines().find_map(|l| l.trim().strip_prefix("server: https://")).expect("an address");
    let address = line.trim_matches('"').to_owned();
    let tcp = TcpStream::connect(&address).await.expect("a connection");
    let host = address.rsplit_once(':').expect("a port").0.to_owned();
    let name = ServerName::try_from(host).expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, tcp).await.expect("TLS");
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut bytes).await.expect("an answer"), 0);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.write_all(b"hello").await.expect("a word");
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.expect("an echo");
    String::from_utf8_lossy(&word).into_owned()
}

async fn own_services(cx: Cx) {
    let labels = |o: &Value| o["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"].clone();
    for (name, group, version) in [("v1.", 18000, 1), ("v1.apps", 17800, 15), ("v2.autoscaling", 17500, 30)] {
        let object = cx.api.wait("is there", &format!("{SERVICES}/{name}"), SOON, |_| true).await;
        assert_eq!(object["spec"]["groupPriorityMinimum"], group, "{name}");
        assert_eq!((&object["spec"]["versionPriority"], labels(&object)), (&json!(version), json!("onstart")));
        assert_eq!(object["status"]["conditions"][0]["reason"], "Local");
    }
    // it comes again
    cx.api.delete(&format!("{SERVICES}/v1.batch")).await;
    cx.api.wait("is there", &format!("{SERVICES}/v1.batch"), SOON, |_| true).await;

    let group = format!("{}.crd.test", cx.ns);
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gears.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cx.api.post(definitions, definition).await;
    let path = format!("{SERVICES}/v1beta1.{group}");
    let object = cx.api.wait("is there", &path, SOON, |_| true).await;
    assert_eq!((&object["spec"]["groupPriorityMinimum"], labels(&object)), (&json!(1000), json!("true")));
    // who changes it changes nothing
    cx.api.merge(&path, json!({"spec": {"versionPriority": 7}})).await;
    cx.api.wait("is as it was", &path, SOON, |o| o["spec"]["versionPriority"] == 100).await;
    cx.api.delete(&format!("{definitions}/gears.{group}")).await;
    cx.api.gone(&path, SOON).await;
}

async fn refused(cx: Cx) {
    let spec = json!({"group": "g.test", "version": "v1", "groupPriorityMinimum": 30000, "versionPriority": 10, "caBundle": "YQ=="});
    let reply = cx.api.try_post(SERVICES, &json!({"metadata": {"name": "v2.g.test"}, "spec": spec})).await;
    let text = reply.message().to_owned();
    for part in [
        "metadata.name: Invalid value: \"v2.g.test\": must be `spec.version+\".\"+spec.group`: \"v1.g.test\"",
        "spec.groupPriorityMinimum: Invalid value: 30000: must be positive and less than 20000",
        "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
    ] {
        assert!(text.contains(part), "{text}");
    }
    reply.refused(422, "Invalid");
}

async fn top(cx: Cx) {
    cx.create_pod(pod("busy", "while :; do :; done", json!({}))).await;
    cx.api.wait("runs", &cx.core("pods/busy"), SOON, |p| condition(p, "Ready") == Some("True")).await;
    let root = "/apis/metrics.k8s.io/v1beta1";
    assert_eq!(cx.api.get(root).await["resources"][0]["kind"], "NodeMetrics");
    let nodes = cx.api.get(&format!("{root}/nodes")).await;
    let memory = nodes["items"][0]["usage"]["memory"].as_str().unwrap_or_default();
    assert!(memory.ends_with("Ki") && nodes["items"][0]["metadata"]["name"] == "n1", "{nodes}");
    assert_eq!(cx.api.get(&format!("{root}/nodes?labelSelector=no=such")).await["items"], json!([]));

    let pods = format!("{root}/namespaces/{}/pods", cx.ns);
    let busy = cx.api.get(&format!("{pods}/busy")).await;
    let cpu = busy["containers"][0]["usage"]["cpu"].as_str().and_then(|c| c.trim_end_matches('n').parse::<u64>().ok());
    assert!(cpu.is_some_and(|n| n > 10_000_000), "{busy}");
    assert_eq!(cx.api.get(&format!("{pods}?labelSelector=app=busy")).await["items"].as_array().map(Vec::len), Some(1));
    cx.api.try_get(&format!("{pods}/none")).await.refused(404, "NotFound");
    cx.api.try_delete(&format!("{pods}/busy"), None).await.refused(405, "MethodNotAllowed");
    if let Some((ok, out)) = cx.kubectl(&["top", "pods", "-n", &cx.ns]) {
        assert!(ok && out.contains("busy"), "{out}");
    }
}
