//! A server with its real guard: certificates, tokens, RBAC, admission, service addresses, and the ways to a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver::security::{Options, Security};
use apiserver::{Config, Server, User, authz, manifests};
use async_trait::async_trait;
use bytes::Bytes;
use client::{BoxIo, Client, NodeDialer, Target, WriteOptions};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pki::Pki;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// A node whose kubelet says what it was asked, and echoes what is upgraded.
struct Echo;

#[async_trait]
impl NodeDialer for Echo {
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo> {
        if node != "n1" {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = hyper::service::service_fn(kubelet);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
        tokio::spawn(connection.with_upgrades());
        Ok(Box::new(near))
    }
}

async fn kubelet(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let asked = request.uri().path_and_query().unwrap().to_string();
    let mut response = Response::new(Full::new(Bytes::from(asked.clone())));
    if asked.contains("/waiting") {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    } else if request.headers().contains_key("upgrade") {
        assert!(!request.headers().contains_key("authorization"));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (k, v) in
            [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", "v5.channel.k8s.io")]
        {
            response.headers_mut().insert(k, v.parse().unwrap());
        }
        *response.body_mut() = Full::default();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 64];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..n]).await.unwrap();
            }
        });
    }
    Ok(response)
}

struct Cluster {
    server: Server,
    pki: Pki,
    address: SocketAddr,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Answer = (u16, Value);

fn message(answer: &Answer) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

impl Cluster {
    async fn start() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let options = pki::Options {
            node_name: "n1".into(),
            node_ips: vec![],
            service_ips: vec![],
            cluster_domain: "cluster.local".into(),
            extra_hosts: vec![],
            token: None,
            agent_token: None,
        };
        let pki = Pki::open(dir.path(), &options).unwrap();
        let store = Arc::new(store::Store::open(dir.path(), store::Options::default()).unwrap());
        let stop = CancellationToken::new();
        let security = Security::new(&Options {
            store: &store,
            pki: &pki,
            cluster_domain: "cluster.local",
            service_cidrs: &["10.43.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            dialer: Arc::new(Echo),
            stop: &stop,
        });
        let server = Server::new(Config {
            store,
            registry: api::kinds::registry(),
            authenticator: security.authentication,
            authorizer: security.authorization,
            plugins: security.plugins,
            specials: security.specials,
            stop: stop.clone(),
        });
        server.apply_manifests(&manifests::MANIFESTS).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, tls) = (server.clone(), pki.server_config().unwrap());
        tokio::spawn(async move { serving.serve(listener, tls).await });
        let cluster = Cluster { server, pki, address, stop, _dir: dir };
        cluster.create("serviceaccounts", "default", json!({"metadata": {"name": "default"}})).await;
        cluster
    }

    fn admin(&self) -> Arc<dyn Client> {
        self.server.client(User::system("test"))
    }
    async fn create(&self, plural: &str, namespace: &str, tree: Value) -> Value {
        let target = Target::within(api::Gvr::new("", "v1", plural), namespace);
        self.admin().create(&target, tree, &WriteOptions::default()).await.unwrap().tree()
    }

    async fn open(&self, config: Arc<ClientConfig>, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let mut config = config;
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        soon(sender.send_request(request)).await.unwrap()
    }
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Request<Full<Bytes>> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (k, v) in headers {
            request = request.header(*k, *v);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        request.header("content-type", "application/json").body(Full::new(body)).unwrap()
    }
    async fn read(response: Response<Incoming>) -> Answer {
        let code = response.status().as_u16();
        let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
        let plain = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| plain()))
    }

    /// With the administrator's certificate.
    async fn sudo(&self, method: &str, path: &str, body: Value) -> Answer {
        let config = pki::client_config(&self.pki.server_ca, Some(&self.pki.admin)).unwrap();
        Cluster::read(self.open(config, self.request(method, path, &[], body)).await).await
    }
    /// Without a certificate.
    async fn bare(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let config = pki::client_config(&self.pki.server_ca, None).unwrap();
        Cluster::read(self.open(config, self.request("GET", path, headers, Value::Null)).await).await
    }
}

#[tokio::test]
async fn who_asks_decides_what_is_answered() {
    let c = Cluster::start().await;
    assert_eq!(c.bare("/livez", &[]).await.0, 200);
    assert_eq!(message(&c.bare("/api/v1/pods", &[]).await), (401, "Unauthorized"));
    assert_eq!(c.bare("/api/v1/pods", &[("authorization", "Bearer nonsense")]).await.0, 401);
    assert_eq!(c.sudo("GET", "/api/v1/pods", Value::Null).await.0, 200);

    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let (code, token) = c
        .sudo("POST", path, json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}))
        .await;
    assert_eq!((code, token["spec"]["expirationSeconds"].as_i64()), (201, Some(3600)), "{token}");
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    let with = [("authorization", bearer.as_str())];
    assert_eq!(
        message(&c.bare("/api/v1/namespaces/default/pods", &with).await),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        )
    );
    assert_eq!(c.bare("/apis", &with).await.0, 200, "discovery is everyone's");
    let (code, issuer) = c.bare("/.well-known/openid-configuration", &with).await;
    assert_eq!((code, &issuer["issuer"]), (200, &json!("https://kubernetes.default.svc.cluster.local")));
    assert_eq!(c.bare("/openid/v1/jwks", &with).await.1["keys"][0]["kty"], "EC");

    let aggregator = authz::Aggregator::new(c.admin()).run(c.stop.clone());
    tokio::spawn(aggregator);
    let view = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "v"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    let made = c.sudo("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", view).await;
    assert_eq!(made.0, 201, "{}", made.1);
    soon(async {
        while c.bare("/api/v1/namespaces/default/pods", &with).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(c.bare("/api/v1/namespaces/default/secrets", &with).await.0, 403, "view shows no secrets");
    assert_eq!(c.bare("/api/v1/namespaces/kube-system/pods", &with).await.0, 403);
    assert_eq!(c.bare("/debug/pprof/heap", &with).await.0, 403);

    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token["status"]["token"]}});
    let (_, review) = c.sudo("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:default", "{review}");
    let access = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "system:serviceaccount:default:default",
        "resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}});
    let (code, access) = c.sudo("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", access).await;
    assert_eq!((code, &access["status"]["allowed"]), (201, &json!(true)), "{access}");

    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    assert_eq!(c.sudo("DELETE", path, Value::Null).await.0, 200);
    assert_eq!(c.bare("/apis", &with).await.0, 401, "a token dies with its account");
}

#[tokio::test]
async fn what_is_made_is_admitted() {
    let c = Cluster::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, made) = c.sudo("POST", pods, pod.clone()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert!(made["spec"]["volumes"][0]["name"].as_str().is_some_and(|n| n.starts_with("kube-api-access-")), "{made}");
    let elsewhere = c.sudo("POST", "/api/v1/namespaces/none/pods", pod).await;
    assert_eq!(message(&elsewhere), (404, "namespaces \"none\" not found"));
    let kept = c.sudo("DELETE", "/api/v1/namespaces/default", Value::Null).await;
    assert_eq!(message(&kept), (403, "namespaces \"default\" is forbidden: this namespace may not be deleted"));

    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80}]}})
    };
    let (code, web) = c.sudo("POST", services, service("web", Value::Null)).await;
    assert_eq!(code, 201, "{web}");
    let ip = web["spec"]["clusterIP"].clone();
    assert!(ip.as_str().is_some_and(|ip| ip.starts_with("10.43.")));
    assert!(web["spec"]["ports"][0]["nodePort"].as_i64().is_some_and(|p| (30000..=32767).contains(&p)));
    assert_eq!((&web["spec"]["ipFamilies"], &web["spec"]["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
    let (code, taken) = c.sudo("POST", services, service("other", ip.clone())).await;
    assert_eq!(code, 422, "{taken}");
    assert_eq!(c.sudo("DELETE", &format!("{services}/web"), Value::Null).await.0, 200);
    assert_eq!(c.sudo("POST", services, service("other", ip)).await.0, 201, "what is deleted is free at once");

    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(c.sudo("POST", &format!("{pods}/p/binding"), binding.clone()).await.0, 201);
    let (code, bound) = c.sudo("GET", &format!("{pods}/p"), Value::Null).await;
    assert_eq!((code, &bound["spec"]["nodeName"]), (200, &json!("n1")));
    let twice = c.sudo("POST", &format!("{pods}/p/binding"), binding).await;
    assert_eq!(
        message(&twice),
        (409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"")
    );

    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    let evicted = c.sudo("POST", &format!("{pods}/p/eviction"), eviction).await;
    assert_eq!(evicted.0, 201, "{}", evicted.1);
    assert_eq!(c.sudo("GET", &format!("{pods}/p"), Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_pods_kubelet_is_reached_through_the_server() {
    let c = Cluster::start().await;
    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}})
    };
    for (name, node) in [("p", "n1"), ("waiting", "n1"), ("lost", "n2")] {
        c.create("pods", "default", pod(name, node)).await;
    }
    let get = async |path: &str| c.sudo("GET", &format!("/api/v1/namespaces/default/pods/{path}"), Value::Null).await;
    assert_eq!(
        message(&get("p/log").await),
        (400, "a container name must be specified for pod p, choose one of: [a b]")
    );
    assert_eq!(get("p/log?container=a&tailLines=3").await, (200, json!("/containerLogs/default/p/a?tailLines=3")));
    assert_eq!(message(&get("waiting/log?container=a").await), (400, "/containerLogs/default/waiting/a"));
    assert_eq!(get("lost/log?container=a").await.0, 500);
    assert_eq!(get("none/log").await.0, 404);
    assert_eq!(message(&get("p/exec?container=a&command=ls").await), (400, "Upgrade request required"));
    let (code, _) = c.sudo("GET", "/api/v1/nodes/n1/proxy/healthz", Value::Null).await;
    assert_eq!(code, 404, "there is no such node object");

    let path = "/api/v1/namespaces/default/pods/p/exec?container=a&command=cat&stdin=true";
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let config = pki::client_config(&c.pki.server_ca, Some(&c.pki.admin)).unwrap();
    let response = c.open(config, c.request("GET", path, &headers, Value::Null)).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    let mut stream = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
    for word in [b"hello", b"again"] {
        stream.write_all(word).await.unwrap();
        let mut back = [0; 5];
        soon(stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, word);
    }
}
