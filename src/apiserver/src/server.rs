//! The server: what it is made of, and how it is reached.

use std::io;
use std::sync::Arc;

use api::Registry;
use client::{Client, NodeDialer};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Plugin};
use crate::aggregation::Aggregation;
use crate::audit::{Audit, Audited};
use crate::client::Local;
use crate::discovery::Discovery;
use crate::engine::Routes;
use crate::fairness::{self, Fairness};
use crate::health::Health;
use crate::http::{self, Front};
use crate::metrics::Metrics;
use crate::profile::{CpuProfiler, Profiling};
use crate::special::Specials;
use crate::webhook::WebhookClient;
use crate::{Authenticator, Authorizer, Engine, User, crd};

/// What a server is made of.
pub struct Config {
    pub store: Arc<store::Store>,
    pub registry: Registry,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// In upstream's order.
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub specials: Specials,
    /// Ends watches and, a moment later, everything else.
    pub stop: CancellationToken,
}

/// What a server may have.
#[derive(Default)]
pub struct Options {
    pub audit: Option<Arc<Audit>>,
    /// Absent: requests are served as they come.
    pub fairness: Option<Arc<Fairness>>,
    /// `--anonymous-auth`: who shows no credentials is `system:anonymous`.
    pub anonymous: bool,
    /// `--profiling`: who takes the profiles of `/debug/pprof`; absent: these paths are not there.
    pub profiling: Option<Box<dyn CpuProfiler>>,
}

/// Clones share everything.
#[derive(Clone)]
pub struct Server {
    front: Arc<Front>,
}

impl Server {
    /// Serves what the store has, custom resources included. Must be called within a runtime.
    pub fn new(config: Config) -> Server {
        Server::with(config, Options::default())
    }
    pub fn with(config: Config, options: Options) -> Server {
        let Options { audit, fairness, anonymous, profiling } = options;
        let Config { store, registry, authenticator, authorizer, plugins, specials, stop } = config;
        let health = Health::default();
        health.add("ping", || Ok(()));
        health.add("log", || Ok(()));
        // upstream's name for the store
        let (disk, ending) = (store.clone(), stop.clone());
        health.add("etcd", move || if disk.is_open() { Ok(()) } else { Err("the store is closed".into()) });
        health.add_ready("shutdown", move || if ending.is_cancelled() { Err("shutting down".into()) } else { Ok(()) });
        let engine = Arc::new(Engine::new(store, Routes::new(registry), plugins, authorizer, specials));
        engine.plugins().iter().for_each(|p| p.attach(&engine));
        tokio::spawn(crd::Controller::new(&engine).run(stop.clone()));
        tokio::spawn(admission::keep_status(Arc::downgrade(&engine), stop.clone()));
        let (discovery, metrics) = (Discovery::default(), Metrics::default());
        let keeps_levels = fairness.is_some();
        let server = Server {
            front: Arc::new(Front {
                engine,
                aggregation: Arc::default(),
                authenticator,
                discovery,
                health,
                metrics,
                audit,
                fairness,
                anonymous,
                profiling: profiling.map(Profiling::new),
                stop,
                revoked: tokio::sync::watch::channel(()).0,
            }),
        };
        if keeps_levels {
            let (front, client) = (&server.front, server.client(User::system("system:apiserver")));
            fairness::maintain(client, front.engine.store().clone(), front.stop.clone());
        }
        server
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.front.engine
    }
    /// Lets conversion webhooks be called; once, before anything needs them.
    pub fn set_dialer(&self, dialer: Arc<dyn NodeDialer>) {
        let client = WebhookClient::new(dialer, self.front.engine.store().clone());
        self.front.engine.set_converter(Arc::new(client));
    }
    pub(crate) fn aggregation(&self) -> &Arc<Aggregation> {
        &self.front.aggregation
    }
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.front.stop
    }
    /// The checks behind `/readyz` and its like.
    pub fn health(&self) -> &Health {
        &self.front.health
    }

    /// Ends the connections whose certificates authentication refuses by now, with the watches on them.
    pub fn drop_revoked(&self) {
        self.front.revoked.send_replace(());
    }

    /// The API for `user`, without a socket.
    pub fn client(&self, user: Arc<User>) -> Arc<dyn Client> {
        let Front { engine, aggregation, .. } = &*self.front;
        let local = Local { engine: engine.clone(), aggregation: aggregation.clone(), user: user.clone() };
        match &self.front.audit {
            Some(audit) => Arc::new(Audited { inner: Arc::new(local), audit: audit.clone(), user }),
            None => Arc::new(local),
        }
    }

    /// HTTPS on one listener, until the server's `stop`; then within a second all is closed. Call it once a listener.
    pub async fn serve(&self, listener: TcpListener, tls: Arc<ServerConfig>) -> io::Result<()> {
        http::listen(self.front.clone(), listener, tls).await
    }
}
