//! A machine joins a real server over HTTPS, holds its tunnel, and is thrown out again.

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::Gvr;
use apiserver::agents::{self, Agents, SETTINGS_PATH, TOKEN_PATH};
use apiserver::manifests::MANIFESTS;
use apiserver::security::{self, Security};
use apiserver::{Config, Server, User};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use client::{BoxIo, Client, Informer, NodeDialer, Patch, Selector, SystemClock, Target, WriteOptions};
use jiff::{SignedDuration, Timestamp};
use pki::{Identity, JoinToken, Pki, Profile};
use serde_json::{Value, json};
use support::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tunnel::{Caller, Error, Hub, JOIN_PATH, Link, Servers, Settings, fetch_authority, join};

const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

struct Nobody;
#[async_trait]
impl NodeDialer for Nobody {
    async fn dial(&self, _: &str) -> std::io::Result<BoxIo> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A kubelet that says who it is.
struct Kubelet;
#[async_trait]
impl tunnel::Node for Kubelet {
    async fn kubelet(&self, mut io: BoxIo) {
        let _ = io.write_all(b"n1").await;
    }
    fn owns(&self, _: IpAddr) -> bool {
        false
    }
}

struct Cluster {
    pki: Arc<Pki>,
    hub: Arc<Hub>,
    admin: Arc<dyn Client>,
    address: String,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

fn gvr(group: &str, resource: &str) -> Gvr {
    Gvr::new(group, "v1", resource)
}

impl Cluster {
    async fn start() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let options = pki::Options {
            node_name: "n0".into(),
            node_ips: Vec::new(),
            service_ips: Vec::new(),
            cluster_domain: "cluster.local".into(),
            extra_hosts: Vec::new(),
            token: None,
            agent_token: None,
        };
        let pki = Arc::new(Pki::open(dir.path(), &options).unwrap());
        let store = Arc::new(store::Store::open(dir.path().join("db"), store::Options::default()).unwrap());
        let stop = CancellationToken::new();
        let networks: Vec<ipnet::IpNet> = vec!["10.43.0.0/16".parse().unwrap()];
        let mut security = Security::new(&security::Options {
            store: &store,
            pki: &pki,
            cluster_domain: "cluster.local",
            service_cidrs: &networks,
            node_ports: 30000..=30010,
            dialer: Arc::new(Nobody),
            stop: &stop,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (hub, bootstrap) = (Arc::new(Hub::new(stop.clone())), security.authentication.bootstrap.clone());
        let agents = Agents {
            hub: hub.clone(),
            bootstrap: bootstrap.clone(),
            lookup: store.clone(),
            clock: Arc::new(SystemClock),
            pki: pki.clone(),
            settings: Settings {
                cluster_cidrs: Vec::new(),
                service_cidrs: networks,
                cluster_dns: [10, 43, 0, 10].into(),
                cluster_domain: "cluster.local".into(),
                version: "v".into(),
                external_cloud_provider: false,
                network_backend: "none".into(),
                network_external: false,
            },
            servers: vec![address.clone()],
            own_node: Some("n0".into()),
            server_dir: dir.path().to_owned(),
        };
        Arc::new(agents).register(&mut security.specials);
        let server = Server::new(Config {
            store,
            registry: api::kinds::registry(),
            authenticator: security.authentication,
            authorizer: security.authorization,
            plugins: security.plugins,
            specials: security.specials,
            stop: stop.clone(),
        });
        let (serving, tls) = (server.clone(), pki.server_config().unwrap());
        tokio::spawn(async move { serving.serve(listener, tls).await });
        server.apply_manifests(&MANIFESTS).await.unwrap();
        let admin = server.client(User::system("test"));
        let clock = Arc::new(SystemClock);
        tokio::spawn(agents::follow(admin.clone(), clock, bootstrap, hub.clone(), server, stop.clone()));
        let cluster = Cluster { pki, hub, admin, address, stop, dir };
        cluster.sign();
        cluster
    }

    /// In place of the certificate controllers.
    fn sign(&self) {
        let (client, pki) = (self.admin.clone(), self.pki.clone());
        let requests = gvr("certificates.k8s.io", "certificatesigningrequests");
        let informer = Informer::start(client.clone(), Selector::all(requests.clone()), self.stop.clone());
        informer.on_change(move |change| {
            let Some(object) = change.new.clone().filter(|_| change.old.is_none()) else { return };
            let (client, pki, requests) = (client.clone(), pki.clone(), requests.clone());
            tokio::spawn(async move {
                let tree = object.tree();
                let text = STANDARD.decode(tree["spec"]["request"].as_str().unwrap()).unwrap();
                let text = String::from_utf8(text).unwrap();
                let groups = tree["spec"]["groups"].to_string();
                assert!(groups.contains("system:skiff:joining"), "{tree}");
                let profile = pki::requested(&text).unwrap();
                let life = SignedDuration::from_hours(1);
                let signed = pki.client_ca.sign(&text, &profile, life, Timestamp::now()).unwrap();
                let status = json!({"status": {"certificate": STANDARD.encode(signed)}});
                let target = Target::one(requests, "", object.name()).sub("status");
                client.patch(&target, Patch::Merge(status), &WriteOptions::default()).await.unwrap();
            });
        });
    }

    async fn join(&self, token: &JoinToken, node: &str, password: &str) -> Result<Identity, Error> {
        let authority = fetch_authority(&self.address, token).await?;
        soon(join(&self.address, &authority, token, node, password)).await.map(|(identity, _)| identity)
    }

    async fn caller(&self, identity: Option<&Identity>) -> Caller {
        Caller::new(&self.address, &pki::client_config(&self.pki.server_ca, identity).unwrap())
    }

    async fn make(&self, resource: &str, tree: Value) {
        let target = Target::within(gvr("", resource), tree["metadata"]["namespace"].as_str().unwrap_or_default());
        self.admin.create(&target, tree, &WriteOptions::default()).await.unwrap();
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn who_may_join_and_who_may_not() {
    let c = Cluster::start().await;
    let good = c.pki.token.clone();
    let identity = c.join(&good, "n1", PASSWORD).await.unwrap();
    assert_eq!(identity.common_name().unwrap(), "system:node:n1");
    assert!(c.join(&good, "n1", PASSWORD).await.is_ok(), "the same machine may again");
    let short = JoinToken::parse(good.own_secret().unwrap()).unwrap();
    assert!(c.join(&short, "n2", PASSWORD).await.is_ok());

    let refused = async |token: &JoinToken, node: &str, password: &str| {
        c.join(token, node, password).await.err().expect("refused").exit_code()
    };
    let wrong = JoinToken::password(&c.pki.server_ca, pki::SERVER, "not the secret of this");
    assert_eq!(refused(&wrong, "n3", PASSWORD).await, 10);
    let stranger = pki::Authority::generate("server-ca", Timestamp::now()).unwrap();
    let elsewhere = JoinToken::password(&stranger, pki::SERVER, good.own_secret().unwrap());
    assert_eq!(refused(&elsewhere, "n3", PASSWORD).await, 12);
    let other = "fedcba9876543210fedcba9876543210";
    assert_eq!(refused(&good, "n1", other).await, 13, "the name is taken");
    assert_eq!(refused(&good, "n0", other).await, 13, "the server's own");
    c.make("nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n4"}})).await;
    assert_eq!(refused(&good, "n4", other).await, 13, "somebody's who did not join");
    assert_eq!(refused(&good, "N_5", other).await, 15);

    // whoever deletes the Node lets another machine have its name
    c.make("nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})).await;
    c.admin.delete(&Target::one(gvr("", "nodes"), "", "n1"), &Default::default()).await.unwrap();
    until("the password goes with the node", async || c.join(&good, "n1", other).await.is_ok()).await;

    let hour = SignedDuration::from_hours(1);
    for time in [Timestamp::now() + hour, Timestamp::now() - hour] {
        let body = json!({"nodeName": "n6", "nodePassword": PASSWORD, "csr": "", "time": time.to_string()}).to_string();
        let request = http::Request::post(JOIN_PATH).header("authorization", format!("Bearer {}", good.secret));
        let answer = c.caller(None).await.call(request.body(body.into()).unwrap()).await.unwrap();
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(status["details"]["causes"][0]["reason"], "ClockSkew", "{status}");
    }
    c.stop.cancel();
}

#[tokio::test]
async fn bootstrap_tokens_end() {
    let c = Cluster::start().await;
    let secret = |id: &str, end: Timestamp| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
            "stringData": {"token-id": id, "token-secret": "0123456789abcdef", "expiration": end.to_string(),
                "usage-bootstrap-authentication": "true"}})
    };
    let token = |id: &str| JoinToken::parse(&format!("{id}.0123456789abcdef")).unwrap();
    c.make("secrets", secret("aaaaaa", Timestamp::now() + SignedDuration::from_hours(1))).await;
    assert!(c.join(&token("aaaaaa"), "n1", PASSWORD).await.is_ok());
    c.make("secrets", secret("bbbbbb", Timestamp::now() + SignedDuration::from_millis(300))).await;
    let there = async |id: &str| {
        let name = format!("bootstrap-token-{id}");
        c.admin.get(&Target::one(gvr("", "secrets"), "kube-system", &name)).await.is_ok()
    };
    until("an expired token is cleaned up", async || !there("bbbbbb").await).await;
    assert_eq!(c.join(&token("bbbbbb"), "n2", PASSWORD).await.err().unwrap().exit_code(), 11, "its holder is told why");
    assert!(there("aaaaaa").await);
    c.stop.cancel();
}

#[tokio::test]
async fn a_node_holds_a_tunnel_until_it_is_revoked() {
    let c = Cluster::start().await;
    let identity = c.join(&c.pki.token, "n1", PASSWORD).await.unwrap();
    let tls = watch::channel(pki::client_config(&c.pki.server_ca, Some(&identity)).unwrap());
    let servers = Arc::new(Servers::open(c.dir.path(), Some(&format!("https://{}", c.address))).unwrap());
    let link = Link { node: Arc::new(Kubelet), servers, tls: tls.1 };
    tokio::spawn(link.run(c.stop.clone()));
    until("the tunnel opens", async || c.hub.is_connected("n1")).await;
    let mut io = c.hub.dial("n1").await.unwrap();
    let mut said = String::new();
    soon(io.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "n1");

    // nobody else's, and nothing else of the cluster's
    let node = c.caller(Some(&identity)).await;
    let status = async |caller: &Caller, method: &str, path: &str| {
        caller.request(method, path, "", String::new()).await.unwrap().status.as_u16()
    };
    assert_eq!(status(&node, "GET", SETTINGS_PATH).await, 200);
    assert_eq!(status(&node, "POST", TOKEN_PATH).await, 403);
    let admin = c.caller(Some(&c.pki.admin)).await;
    assert_eq!(status(&admin, "GET", tunnel::TUNNEL_PATH).await, 403, "an administrator is no node");
    assert_eq!(status(&c.caller(None).await, "GET", tunnel::TUNNEL_PATH).await, 401);
    let impostor = c.pki.issue_client(&Profile::client("system:node:n1", &[])).unwrap();
    assert_eq!(status(&c.caller(Some(&impostor)).await, "GET", tunnel::TUNNEL_PATH).await, 403);

    let later = Timestamp::now() + SignedDuration::from_secs(2);
    c.make(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"n1": later.to_string()},
            "metadata": {"name": "revoked-nodes", "namespace": "kube-system"}}),
    )
    .await;
    until("the tunnel is cut", async || !c.hub.is_connected("n1")).await;
    assert_eq!(status(&node, "GET", SETTINGS_PATH).await, 401);
    until("it may join anew", async || c.join(&c.pki.token, "n1", PASSWORD).await.is_ok()).await;
    c.stop.cancel();
}

#[tokio::test]
async fn another_secret_from_now_on() {
    let c = Cluster::start().await;
    let old = c.pki.token.clone();
    let admin = c.caller(Some(&c.pki.admin)).await;
    let answer = admin.request("POST", TOKEN_PATH, "application/json", String::new()).await.unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let new = JoinToken::parse(body["token"].as_str().unwrap()).unwrap();
    assert!(new.trusts(c.pki.server_ca.der()));
    assert_eq!(c.join(&old, "n1", PASSWORD).await.err().unwrap().exit_code(), 10);
    assert!(c.join(&new, "n1", PASSWORD).await.is_ok());
    let kept = std::fs::read_to_string(c.dir.path().join(pki::TOKEN)).unwrap();
    assert_eq!(JoinToken::parse(&kept).unwrap(), new, "the next start knows it");
    c.stop.cancel();
}
