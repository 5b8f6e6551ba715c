//! The server: the rooms wired together, from an empty directory to a cluster.
//!
//! ```text
//!   store ─ lookup ─┬─ authentication, authorization, admission, service addresses
//!                   └─ engine ─┬─ HTTPS
//!                              └─ in process: controllers, scheduler, this machine's node
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::User;
use apiserver::agents::{self, Agents};
use apiserver::encryption::Encryption;
use apiserver::manifests::MANIFESTS;
use apiserver::security::{self, Security};
use client::{Clock, SystemClock};
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tunnel::{Hub, Settings};

use crate::agent::{self, Agent};
use crate::dialer::Dialer;
use crate::flags::{Component, ServerFlags};
use crate::node::Node;
use crate::paths::Paths;
use crate::process::{private_dir, signals};
use crate::secret;

/// What a stop may take before the process goes anyway: containers do not depend on it.
const STOP: Duration = Duration::from_millis(1500);

pub async fn run(flags: ServerFlags) -> Result<()> {
    // image pulls and webhooks choose no provider of their own; a second call is harmless
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut ended = signals(stop.clone())?;
    let paths = Paths::of(&flags.data.data_dir);
    let node = Node::from(&flags.node, &paths)?.with_role("control-plane");
    let server_paths = paths.clone();
    private_dir(&paths.data)?;
    private_dir(&paths.server())?;

    let keys = flags.guard.keys(&paths.server())?;
    let options = store::Options { seal: Some(keys.clone()), ..store::Options::default() };
    let store = Arc::new(Store::open(paths.server().join("db"), options)?);
    let encryption = Arc::new(Encryption::new(keys.clone(), store.clone()));
    if keys.is_enabled() {
        // those from before it was
        encryption.reencrypt().await?;
    }
    let listener = TcpListener::bind((flags.bind_address, flags.https_listen_port))
        .await
        .with_context(|| format!("cannot listen on {}:{}", flags.bind_address, flags.https_listen_port))?;
    let port = listener.local_addr().context("listener")?.port();
    // where programs on this machine reach it
    let local = match flags.bind_address {
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        ip => SocketAddr::from((ip, port)),
    };
    let service_ip = service_ip(&flags, 1);
    let pki = Arc::new(pki::Pki::open(
        &paths.server(),
        &pki::Options {
            node_name: node.name.clone(),
            node_ips: node.ips.iter().chain(&node.external_ips).chain(&flags.advertise_address).copied().collect(),
            service_ips: flags.service_cidr.iter().map(|c| network::nth(c, 1)).collect(),
            cluster_domain: flags.cluster_domain.clone(),
            extra_hosts: flags.tls_san.iter().cloned().chain([local.ip().to_string()]).collect(),
            token: secret::read(flags.token.as_deref(), flags.token_file.as_deref())?,
            agent_token: secret::read(flags.agent_token.as_deref(), flags.agent_token_file.as_deref())?,
        },
    )?);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hub = Arc::new(Hub::new(stop.clone()));
    let dialer = Arc::new(Dialer::new(hub.clone(), store.clone()));
    let (first_port, last_port) = flags.service_node_port_range;
    let mut security = Security::new(&security::Options {
        store: &store,
        pki: &pki,
        cluster_domain: &flags.cluster_domain,
        service_cidrs: &flags.service_cidr,
        node_ports: first_port..=last_port,
        dialer: dialer.clone(),
        stop: &stop,
    });
    let advertised = flags.advertise_address.or(node.external_ips.first().copied()).unwrap_or(node.ips[0]);
    let settings = Settings {
        cluster_cidrs: flags.cluster_cidr.clone(),
        service_cidrs: flags.service_cidr.clone(),
        cluster_dns: cluster_dns(&flags),
        cluster_domain: flags.cluster_domain.clone(),
        version: apiserver::GIT_VERSION.to_owned(),
        external_cloud_provider: !flags.disable_cloud_controller,
        network_backend: flags.network_backend.to_string(),
        network_external: flags.network_external_ip,
    };
    let bootstrap = security.authentication.bootstrap.clone();
    let agents = Agents {
        hub: hub.clone(),
        bootstrap: bootstrap.clone(),
        lookup: store.clone(),
        clock: clock.clone(),
        pki: pki.clone(),
        settings: settings.clone(),
        servers: vec![SocketAddr::new(advertised, port).to_string()],
        own_node: (!flags.disable_agent).then(|| node.name.clone()),
        server_dir: paths.server(),
    };
    Arc::new(agents).register(&mut security.specials);
    encryption.register(&mut security.specials);
    security.authentication.ask_also(flags.guard.outside()?);
    let guard = flags.guard.options(&store, &stop)?;
    let config = apiserver::Config {
        store: store.clone(),
        registry: api::kinds::registry(),
        authenticator: security.authentication,
        authorizer: security.authorization,
        plugins: security.plugins,
        specials: security.specials,
        stop: stop.clone(),
    };
    let server = apiserver::Server::with(config, guard);
    server.set_dialer(dialer.clone());
    let started = Arc::new(AtomicBool::new(false));
    let done = started.clone();
    server
        .health()
        .add_ready("bootstrap", move || if done.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".into()) });
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::memory::give_back(Some(store.clone()), stop.clone()));

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
        server_ip: advertised,
        server_port: port,
        cluster_dns: (!flags.disable.contains(&Component::Dns)).then_some(cluster_dns(&flags)),
    };
    server.publish(&address).await.context("the kubernetes service")?;
    let front = apiserver::FrontProxy {
        identity: pki.front_proxy.clone(),
        name: pki::FRONT_PROXY,
        authority: pki.request_header_ca.pem().to_owned(),
        client_authority: pki.client_ca.pem().to_owned(),
        resource_metrics: !flags.disable.contains(&Component::MetricsServer),
    };
    server.aggregate(dialer.clone(), front).await.context("aggregated APIs")?;
    let manager = server.client(User::system("system:kube-controller-manager"));
    tasks.spawn(agents::follow(manager.clone(), clock.clone(), bootstrap, hub, server.clone(), stop.clone()));
    if !flags.disable.contains(&Component::Controllers) {
        let mut config = controllers::Config::new(
            pki.server_ca.pem().to_owned(),
            flags.cluster_cidr.clone(),
            server.engine().kinds(),
        );
        config.cloud_nodes = !flags.disable_cloud_controller;
        config.token_secrets = flags.service_account_token_secrets;
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
        let options = agent::Options {
            node: node.kubelet(&paths, &settings),
            backend: flags.network_backend,
            external: flags.network_external_ip,
            interface: node.interface.clone(),
            cluster_cidrs: settings.cluster_cidrs,
            service_cidrs: settings.service_cidrs,
            cluster_dns: settings.cluster_dns,
            cluster_domain: settings.cluster_domain,
            disable: flags.disable.clone(),
            paths,
        };
        let agent = Agent::new(options, server.client(identity)).await?;
        dialer.set_local(&node.name, agent.dialer());
        tasks.spawn(agent.run(stop.clone()));
    }

    crate::admin::publish(&server_paths, &local.to_string())?;
    started.store(true, Ordering::Release);
    let url = format!("https://{local}");
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

/// The `n`th address of the service network, counted from 1, which is the `kubernetes` Service's.
fn service_ip(flags: &ServerFlags, n: u8) -> IpAddr {
    let first = flags.service_cidr.first().copied();
    first.map_or(IpAddr::from([10, 43, 0, n]), |c| network::nth(&c, n.into()))
}

fn cluster_dns(flags: &ServerFlags) -> IpAddr {
    flags.cluster_dns.unwrap_or_else(|| service_ip(flags, 10))
}

/// Whole or not at all, and never readable for others on the way.
fn write_kubeconfig(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
