//! The server: the rooms wired together, from an empty directory to a cluster.
//!
//! ```text
//!   store ─ lookup ─┬─ authentication, authorization, admission, service addresses
//!                   └─ engine ─┬─ HTTPS
//!                              └─ in process: controllers, scheduler, this machine's node
//! ```

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::User;
use apiserver::manifests::MANIFESTS;
use apiserver::security::{self, Security};
use async_trait::async_trait;
use client::{BoxIo, Clock, NodeDialer, SystemClock};
use store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Agent};
use crate::flags::{Component, ServerFlags};
use crate::paths::Paths;

/// What a stop may take before the process goes anyway: containers do not depend on it.
const STOP: Duration = Duration::from_millis(1500);

pub async fn run(flags: ServerFlags) -> Result<()> {
    // image pulls and webhooks choose no provider of their own; a second call is harmless
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut ended = signals(stop.clone())?;
    let paths = Paths::of(&flags.data.data_dir);
    let node = Node::from(&flags)?;
    private_dir(&paths.data)?;
    private_dir(&paths.server())?;

    let store = Arc::new(Store::open(paths.server().join("db"), store::Options::default())?);
    let listener = TcpListener::bind((flags.bind_address, flags.https_listen_port))
        .await
        .with_context(|| format!("cannot listen on {}:{}", flags.bind_address, flags.https_listen_port))?;
    let port = listener.local_addr().context("listener")?.port();
    let service_ip = service_ip(&flags, 1);
    let pki = Arc::new(pki::Pki::open(
        &paths.server(),
        &pki::Options {
            node_name: node.name.clone(),
            node_ips: node.ips.clone(),
            service_ips: vec![service_ip],
            cluster_domain: flags.cluster_domain.clone(),
            extra_hosts: flags.tls_san.clone(),
            token: flags.token.clone(),
            agent_token: None,
        },
    )?);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dialer = Arc::new(LateDialer::default());
    let (first_port, last_port) = flags.service_node_port_range;
    let security = Security::new(&security::Options {
        store: &store,
        pki: &pki,
        cluster_domain: &flags.cluster_domain,
        service_cidrs: &flags.service_cidr,
        node_ports: first_port..=last_port,
        dialer: dialer.clone(),
        stop: &stop,
    });
    let server = apiserver::Server::new(apiserver::Config {
        store: store.clone(),
        registry: api::kinds::registry(),
        authenticator: security.authentication,
        authorizer: security.authorization,
        plugins: security.plugins,
        specials: security.specials,
        stop: stop.clone(),
    });
    let started = Arc::new(AtomicBool::new(false));
    let done = started.clone();
    server
        .health()
        .add_ready("bootstrap", move || if done.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".into()) });
    let mut tasks = JoinSet::new();

    let tls = pki.server_config()?;
    let serving = server.clone();
    tasks.spawn(async move {
        if let Err(error) = serving.serve(listener, tls).await {
            tracing::error!(%error, "the API listener ended");
        }
    });
    server.apply_manifests(&MANIFESTS).await.context("bootstrap manifests")?;
    let address = apiserver::Address {
        service_ip,
        server_ip: node.ips[0],
        server_port: port,
        cluster_dns: (!flags.disable.contains(&Component::Dns)).then_some(cluster_dns(&flags)),
    };
    server.publish(&address).await.context("the kubernetes service")?;
    let manager = server.client(User::system("system:kube-controller-manager"));
    if !flags.disable.contains(&Component::Controllers) {
        let mut config = controllers::Config::new(
            pki.server_ca.pem().to_owned(),
            flags.cluster_cidr.clone(),
            server.engine().kinds(),
        );
        config.signing = Some(signing(pki.clone(), flags.cluster_signing_duration));
        let context = controllers::Context::new(manager.clone(), clock.clone(), config, stop.clone());
        tasks.spawn(controllers::run(context, stop.clone()));
        // these two share their arithmetic with authorization and admission
        tasks.spawn(apiserver::authz::Aggregator::new(manager.clone()).run(stop.clone()));
        tasks.spawn(apiserver::quota::Controller::new(store.clone(), manager, stop.clone()).run());
    }
    if !flags.disable.contains(&Component::Scheduler) {
        let scheduler = server.client(User::system("system:kube-scheduler"));
        tasks.spawn(scheduler::run(scheduler, clock, stop.clone()));
    }
    if !flags.disable_agent {
        let identity = Arc::new(User {
            name: format!("system:node:{}", node.name),
            groups: vec!["system:nodes".into(), "system:authenticated".into()],
            ..User::default()
        });
        let agent = Agent::new(agent_options(&flags, &node, paths.clone())?, server.client(identity)).await?;
        dialer.set(agent.dialer());
        tasks.spawn(agent.run(stop.clone()));
    }

    started.store(true, Ordering::Release);
    let url = format!("https://127.0.0.1:{port}");
    write_kubeconfig(&flags.write_kubeconfig, &pki.admin_kubeconfig(&url), flags.write_kubeconfig_mode)?;
    tracing::info!(%url, kubeconfig = %flags.write_kubeconfig.display(), "the API is ready");

    tokio::select! {
        () = stop.cancelled() => {}
        // the API without which nothing works
        _ = ended.recv() => stop.cancel(),
    }
    tracing::info!("stopping; containers keep running");
    if tokio::time::timeout(STOP, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tasks.abort_all();
    }
    store.close().await?;
    Ok(())
}

/// Servers are vouched for by the authority that clients trust, all others by the one that the API server does.
fn signing(pki: Arc<pki::Pki>, lifetime: jiff::SignedDuration) -> controllers::csr::Signing {
    let sign = move |order: &controllers::csr::Order<'_>| {
        let authority = if order.profile.hosts.is_empty() { &pki.client_ca } else { &pki.server_ca };
        authority.sign(order.request, order.profile, order.lifetime, order.now)
    };
    controllers::csr::Signing { sign: Arc::new(sign), lifetime }
}

/// This machine as a node.
struct Node {
    name: String,
    ips: Vec<IpAddr>,
}

impl Node {
    fn from(flags: &ServerFlags) -> Result<Node> {
        let name = match &flags.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname().context("host name")?.to_string_lossy().to_lowercase(),
        };
        let wrong = api::names::dns_subdomain(&name, false);
        if let [first, ..] = wrong.as_slice() {
            bail!("--node-name: {name:?} cannot name a node: {first}");
        }
        let ips = if flags.node_ip.is_empty() { vec![crate::node_ip::detect()] } else { flags.node_ip.clone() };
        Ok(Node { name, ips })
    }
}

/// The `n`th address of the service network, counted from 1, which is the `kubernetes` Service's.
fn service_ip(flags: &ServerFlags, n: u8) -> IpAddr {
    let nth = flags.service_cidr.first().and_then(|c| c.hosts().nth(usize::from(n) - 1));
    nth.unwrap_or_else(|| IpAddr::from([10, 43, 0, n]))
}

fn cluster_dns(flags: &ServerFlags) -> IpAddr {
    flags.cluster_dns.unwrap_or_else(|| service_ip(flags, 10))
}

fn agent_options(flags: &ServerFlags, node: &Node, paths: Paths) -> Result<agent::Options> {
    let mut labels = std::collections::BTreeMap::from([
        ("node-role.kubernetes.io/control-plane".to_owned(), "true".to_owned()),
        ("node.kubernetes.io/instance-type".to_owned(), "skiff".to_owned()),
    ]);
    for label in &flags.node_label {
        let (key, value) =
            label.split_once('=').with_context(|| format!("--node-label: {label:?} is not key=value"))?;
        labels.insert(key.into(), value.into());
    }
    let taints = flags.node_taint.iter().map(|t| taint(t)).collect::<Result<Vec<_>>>()?;
    let node = kubelet::Config {
        node_name: node.name.clone(),
        node_ips: node.ips.clone(),
        labels,
        taints,
        root_dir: paths.agent(),
        log_dir: paths.agent().join("logs"),
        cluster_dns: vec![cluster_dns(flags)],
        cluster_domain: flags.cluster_domain.clone(),
        kubelet_version: apiserver::GIT_VERSION.to_owned(),
        ..kubelet::Config::default()
    };
    Ok(agent::Options {
        paths,
        node,
        cluster_cidrs: flags.cluster_cidr.clone(),
        service_cidrs: flags.service_cidr.clone(),
        cluster_dns: cluster_dns(flags),
        cluster_domain: flags.cluster_domain.clone(),
        disable: flags.disable.clone(),
    })
}

/// `key=value:Effect` or `key:Effect`
fn taint(text: &str) -> Result<api::k8s_openapi::api::core::v1::Taint> {
    let wrong = || format!("--node-taint: {text:?} is not key=value:Effect");
    let (key, effect) = text.rsplit_once(':').with_context(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        bail!("{}", wrong());
    }
    let (key, value) = match key.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (key, None),
    };
    Ok(api::k8s_openapi::api::core::v1::Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}

/// SIGTERM and SIGINT end the server; the channel is for whoever else wants it to.
fn signals(stop: CancellationToken) -> Result<tokio::sync::mpsc::Receiver<()>> {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = stop.cancelled() => {}
        }
        let _ = send.send(()).await;
    });
    Ok(receive)
}

fn private_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).with_context(|| path.display().to_string())
}

/// Whole or not at all, and never readable for others on the way.
fn write_kubeconfig(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir)?;
        }
        let fresh = path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().with_context(|| format!("kubeconfig {}", path.display()))
}

/// The dialer that is there before the node is.
#[derive(Default)]
struct LateDialer(OnceLock<Arc<dyn NodeDialer>>);

impl LateDialer {
    fn set(&self, dialer: Arc<dyn NodeDialer>) {
        let _ = self.0.set(dialer);
    }
}

#[async_trait]
impl NodeDialer for LateDialer {
    async fn dial(&self, node: &str) -> std::io::Result<BoxIo> {
        match self.0.get() {
            Some(dialer) => dialer.dial(node).await,
            None => Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("no connection to node {node}"))),
        }
    }
    async fn connect(&self, address: SocketAddr) -> std::io::Result<BoxIo> {
        match self.0.get() {
            Some(dialer) => dialer.connect(address).await,
            None => Ok(Box::new(tokio::net::TcpStream::connect(address).await?)),
        }
    }
}
