//! `skiff agent --simulate N`: N nodes in this process that join, beat and report pods as running, and run nothing. For
//! planning, and for load on a server. See [`kubelet::Hollow`].
//!
//! Each node is one to the server in every respect: a name, a certificate, a connection and a tunnel of its own. What they
//! have in common is this process's: one view of all nodes, no files but their certificates. Those are not renewed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use client::{BoxIo, Client, HttpClient, HttpConfig};
use kubelet::{Hollow, Kubelet};
use pki::JoinToken;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tunnel::{Link, Servers};

use crate::flags::AgentFlags;
use crate::member::{self, Member};
use crate::node::Node;
use crate::paths::Paths;
use crate::process::{private_dir, signals};
use crate::secret;

/// How many join at a time.
const AT_ONCE: usize = 16;

/// What all of them share.
struct Common {
    paths: Paths,
    node: Node,
    servers: Arc<Servers>,
    token: Option<JoinToken>,
    password: String,
    stop: CancellationToken,
}

pub async fn run(flags: AgentFlags, count: u32) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut ended = signals(stop.clone())?;
    let paths = Paths::of(&flags.data.data_dir);
    private_dir(&paths.data)?;
    let dir = member::cluster_dir(&paths);
    pki::files::make_dir(&dir)?;
    let common = Arc::new(Common {
        node: Node::from(&flags.node, &paths)?,
        servers: Arc::new(Servers::open(&dir, flags.server.as_deref())?),
        token: secret::join_token(flags.token.as_deref(), flags.token_file.as_deref())?,
        password: member::node_password(&paths)?,
        paths,
        stop: stop.clone(),
    });
    if common.servers.candidates().is_empty() {
        bail!("which cluster? Give --server https://HOST:6443");
    }
    let all = async {
        let first = common.join(0).await?;
        let hollow = Arc::new(kubelet::hollow(first.client()?, stop.clone()));
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut starts = JoinSet::new();
        starts.spawn(first.start(common.clone(), hollow.clone()));
        for n in 1..count {
            let (common, hollow, turns) = (common.clone(), hollow.clone(), turns.clone());
            starts.spawn(async move {
                let turn = turns.acquire().await?;
                let joined = common.join(n).await?;
                drop(turn);
                joined.start(common, hollow).await
            });
        }
        let mut running = JoinSet::new();
        while let Some(started) = starts.join_next().await {
            running.spawn(started.context("a node's start")??);
        }
        tracing::info!(count, "simulated nodes run");
        while running.join_next().await.is_some() {}
        anyhow::Ok(())
    };
    tokio::select! {
        done = all => done,
        _ = ended.recv() => {
            stop.cancel();
            Ok(())
        }
    }
}

impl Common {
    /// The n-th node's place in the cluster, from disk or by joining.
    async fn join(&self, n: u32) -> Result<Joined> {
        let name = format!("{}-{n}", self.node.name);
        let dir: PathBuf = member::cluster_dir(&self.paths).join(&name);
        let member = match (Member::load(&dir, &name, self.token.as_ref())?, &self.token) {
            (Some(member), _) => member,
            (None, Some(token)) => Member::join(&dir, &name, &self.password, token, &self.servers).await?,
            (None, None) => bail!("to join, give --token or --token-file: `skiff token` on a server prints it"),
        };
        let servers = self.servers.candidates().iter().map(|s| format!("https://{s}")).collect();
        let tls = watch::channel(member.tls()?).0;
        Ok(Joined { name, member, servers, tls })
    }
}

struct Joined {
    name: String,
    member: Member,
    servers: Vec<String>,
    /// Never changes.
    tls: watch::Sender<Arc<rustls::ClientConfig>>,
}

impl Joined {
    fn client(&self) -> Result<Arc<dyn Client>> {
        let tls = self.tls.subscribe();
        let user_agent = format!("kubelet/{0} skiff/{0}", apiserver::GIT_VERSION);
        Ok(Arc::new(HttpClient::new(HttpConfig { servers: self.servers.clone(), tls, user_agent })?))
    }

    async fn start(self, common: Arc<Common>, hollow: Arc<Hollow>) -> Result<impl Future<Output = ()>> {
        let config = common.node.kubelet(&common.paths, &self.member.settings);
        let config = kubelet::Config { node_name: self.name.clone(), ..config };
        let kubelet = Arc::new(hollow.kubelet(config, self.client()?));
        let (node, servers) = (Arc::new(End(kubelet.clone())), common.servers.clone());
        let link = Link { node, servers, tls: self.tls.subscribe() };
        let stop = common.stop.clone();
        Ok(async move {
            tokio::join!(kubelet.run(stop.clone()), link.run(stop));
            drop(self.tls);
        })
    }
}

/// A tunnel's end with a kubelet behind it and no pods.
struct End(Arc<Kubelet>);

#[async_trait]
impl tunnel::Node for End {
    async fn kubelet(&self, io: BoxIo) {
        self.0.serve(io).await;
    }
    fn owns(&self, _: IpAddr) -> bool {
        false
    }
}
