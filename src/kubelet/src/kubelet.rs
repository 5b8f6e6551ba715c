//! Wires the parts together.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Clock, Informer, Recorder, Selector, SystemClock};
use runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admitted;
use crate::config::Config;
use crate::context::{Context, SignalSource};
use crate::eviction::{self, Monitor, Pressure};
use crate::network::PodNetwork;
use crate::node::{self, machine::Machine};
use crate::objects::Objects;
use crate::pod::dns::Resolver;
use crate::pod::image::Puller;
use crate::pod::manager::{Mailboxes, Manager, selector};
use crate::reach::Reach;
use crate::server::Sampler;
use crate::volume::{Kernel, Mounter};

/// What several kubelets of one process may share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub services: Informer,
    /// At least the node's own object.
    pub nodes: Informer,
    pub signals: SignalSource,
}

/// The node agent. Make it inside a tokio runtime, with a client that may act as `system:node:<name>`.
pub struct Kubelet {
    pub(crate) ctx: Arc<Context>,
    pub(crate) pods: Informer,
    mailboxes: Arc<Mailboxes>,
    pub(crate) sampler: Sampler,
    /// Ends what [`Kubelet::new`] has started.
    own: CancellationToken,
}

impl Kubelet {
    pub fn new(
        config: Config,
        client: Arc<dyn Client>,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn PodNetwork>,
    ) -> Kubelet {
        Kubelet::with(config, client, runtime, network, Arc::new(Kernel), Arc::new(SystemClock))
    }

    /// With other mounts and another clock, for tests.
    pub fn with(
        config: Config,
        client: Arc<dyn Client>,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn PodNetwork>,
        mounter: Arc<dyn Mounter>,
        clock: Arc<dyn Clock>,
    ) -> Kubelet {
        let own = CancellationToken::new();
        let service = Selector::of::<api::k8s_openapi::api::core::v1::Service>();
        let node = Selector::of::<api::k8s_openapi::api::core::v1::Node>()
            .fields(format!("metadata.name={}", config.node_name));
        let shared = Shared {
            services: Informer::start(client.clone(), service, own.clone()),
            nodes: Informer::start(client.clone(), node, own.clone()),
            signals: Arc::new(eviction::kernel),
        };
        Kubelet::sharing(config, client, runtime, network, mounter, clock, shared, own)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn sharing(
        config: Config,
        client: Arc<dyn Client>,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn PodNetwork>,
        mounter: Arc<dyn Mounter>,
        clock: Arc<dyn Clock>,
        shared: Shared,
        own: CancellationToken,
    ) -> Kubelet {
        let mailboxes: Arc<Mailboxes> = Arc::default();
        let wake = mailboxes.clone();
        let objects = Objects::new(client.clone(), Arc::new(move |uid| wake.wake(uid)), own.clone());
        let resolver = Resolver::parse(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());
        let ctx = Arc::new(Context {
            recorder: Recorder::new(client.clone(), clock.clone(), "kubelet", &config.node_name),
            services: shared.services,
            nodes: shared.nodes,
            reach: Reach::default(),
            pressure: tokio::sync::watch::channel(Pressure::default()).0,
            signals: shared.signals,
            shutting_down: tokio::sync::watch::channel(false).0,
            objects,
            puller: Puller::default(),
            machine: Machine::read(),
            resolver,
            images_changed: tokio::sync::Notify::new(),
            client,
            runtime,
            network,
            mounter,
            clock,
            config,
        });
        let pods = Informer::start(ctx.client.clone(), selector(&ctx.config.node_name), own.clone());
        Kubelet { ctx, pods, mailboxes, sampler: Sampler::default(), own }
    }

    /// The machine goes down: ends all pods, the critical ones last. See [`shutdown`](crate::shutdown).
    pub async fn shut_down(&self, period: Duration, critical: Duration) {
        crate::shutdown::run(&self.ctx, &self.mailboxes, period, critical).await;
    }

    /// Runs until `stop` is cancelled. The pods' containers go on, and the next kubelet adopts them.
    pub async fn run(&self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        tasks.spawn(node::run(self.ctx.clone(), stop.clone()));
        tasks.spawn(node::lease::run(self.ctx.clone(), stop.clone()));
        tasks.spawn(Monitor::new(self.ctx.clone(), self.mailboxes.clone()).run(stop.clone()));
        let manager = Manager {
            ctx: self.ctx.clone(),
            mailboxes: self.mailboxes.clone(),
            admitted: Admitted::default(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        manager.run(self.pods.clone()).await;
        self.own.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
