//! `skiff agent`: a node whose server is elsewhere.
//!
//! ```text
//!   Member (disk, or join) ─► TLS identity ─┬─► Balancer ◄─ HttpClient ◄─ Offline (disk) ◄─ kubelet, network, DNS
//!                                           └─► Link ─► a tunnel to each server         logs, exec, …
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::Resource as _;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::{Client, HttpClient, HttpConfig, Informer, Offline, Selector};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tunnel::{Balancer, Link, Servers};

use crate::agent::{self, Agent};
use crate::flags::AgentFlags;
use crate::member::{self, Member};
use crate::node::Node;
use crate::paths::Paths;
use crate::process::{private_dir, signals};
use crate::{renew, secret};

const STOP: Duration = Duration::from_millis(1500);

pub async fn run(flags: AgentFlags) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut ended = signals(stop.clone())?;
    let paths = Paths::of(&flags.data.data_dir);
    private_dir(&paths.data)?;
    let node = Node::from(&flags.node, &paths)?;
    let dir = member::cluster_dir(&paths);
    pki::files::make_dir(&dir)?;

    let url = flags.server.clone().or_else(|| std::env::var("K3S_URL").ok()).filter(|u| !u.is_empty());
    let servers = Arc::new(Servers::open(&dir, url.as_deref())?);
    let token = secret::join_token(flags.token.as_deref(), flags.token_file.as_deref())?;
    let kept = Member::load(&dir, &node.name, token.as_ref())?;
    let earlier = member::authority(&dir)?;
    let password = member::node_password(&paths)?;
    let joined = async {
        match (kept, &token) {
            (Some(member), _) => Ok(member),
            (None, _) if servers.candidates().is_empty() => bail!("which cluster? Give --server https://HOST:6443"),
            (None, None) => bail!("to join, give --token or --token-file: `skiff token` on a server prints it"),
            (None, Some(token)) => Member::join(&dir, &node.name, &password, token, &servers).await,
        }
    };
    let member = tokio::select! {
        joined = joined => joined?,
        _ = ended.recv() => return Ok(()),
    };
    if servers.candidates().is_empty() {
        bail!("which cluster? Give --server https://HOST:6443");
    }
    member.forget_others(earlier.as_deref(), &paths);

    let (tls_changes, tls) = watch::channel(member.tls()?);
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, flags.lb_server_port));
    let balancer = Balancer::bind(local, servers.clone()).await.context("--lb-server-port")?;
    let client = Arc::new(http_client(&balancer, tls.clone())?);
    let cluster = member.settings.clone();
    let options = agent::Options {
        node: node.kubelet(&paths, &cluster),
        backend: cluster.network_backend.parse().unwrap_or_default(),
        external: cluster.network_external,
        interface: node.interface.clone(),
        cluster_cidrs: cluster.cluster_cidrs,
        service_cidrs: cluster.service_cidrs,
        cluster_dns: cluster.cluster_dns,
        cluster_domain: cluster.cluster_domain,
        disable: flags.disable.clone(),
        paths,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(balancer.run(stop.clone()));
    tasks.spawn(crate::memory::give_back(None, stop.clone()));
    let known = Offline::open(client.clone(), &member::known_dir(&options.paths), stop.clone())?;
    let agent = Agent::new(options, Arc::new(known.clone())).await?;
    let link = Link { node: agent.tunnel_end(), servers: servers.clone(), tls };
    tasks.spawn(link.run(stop.clone()));
    tasks.spawn(agent.run(stop.clone()));
    follow_servers(client.clone(), servers.clone(), stop.clone());
    let renewal = renew::Renewal { member, client, tls: tls_changes, node: node.name, password, token, servers };
    tasks.spawn(renewal.run(stop.clone()));

    let _ = ended.recv().await;
    stop.cancel();
    tracing::info!("stopping; containers keep running");
    if tokio::time::timeout(STOP, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tasks.abort_all();
    }
    known.flush().await;
    Ok(())
}

fn http_client(balancer: &Balancer, tls: watch::Receiver<Arc<rustls::ClientConfig>>) -> Result<HttpClient> {
    let servers = vec![format!("https://{}", balancer.address()?)];
    let user_agent = format!("kubelet/{0} skiff/{0}", apiserver::GIT_VERSION);
    Ok(HttpClient::new(HttpConfig { servers, tls, user_agent })?)
}

/// The endpoints of the `kubernetes` Service are the servers.
fn follow_servers(client: Arc<dyn Client>, servers: Arc<Servers>, stop: CancellationToken) {
    let selector = Selector {
        namespace: "default".into(),
        labels: "kubernetes.io/service-name=kubernetes".into(),
        ..Selector::all(EndpointSlice::gvr())
    };
    Informer::start(client, selector, stop).on_change(move |change| {
        let Some(slice) = change.new.as_ref().and_then(|o| o.view::<EndpointSlice>().ok()) else { return };
        let port = slice.ports.iter().flatten().find_map(|p| p.port).unwrap_or(6443);
        let host = |a: &String| if a.contains(':') { format!("[{a}]:{port}") } else { format!("{a}:{port}") };
        let mut all: Vec<String> = slice.endpoints.iter().flatten().flat_map(|e| &e.addresses).map(host).collect();
        all.sort();
        servers.advertise(all);
    });
}
