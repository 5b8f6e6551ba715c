//! The bench on which controllers are tested: the fake API, and a clock that goes with tokio's paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::Registry;
use client::Clock;
use client::fake::FakeClient;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Config, Context};

struct PausedClock {
    start: Instant,
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let zero: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        zero + self.start.elapsed()
    }
}

pub struct Bench {
    pub fake: FakeClient,
    pub ctx: Context,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(|_| {})
    }
    pub fn with(change: impl FnOnce(&mut Config)) -> Bench {
        let (fake, stop) = (FakeClient::new(), CancellationToken::new());
        let mut config = Config::new("PEM".into(), Vec::new(), kind::fixed(Registry::default()));
        change(&mut config);
        let clock = Arc::new(PausedClock { start: Instant::now() });
        let ctx = Context::new(fake.arc(), clock, config, stop.clone());
        Bench { fake, ctx, _guard: stop.clone().drop_guard(), stop }
    }
    pub fn start<F: Future<Output = ()> + Send + 'static>(&self, run: impl FnOnce(Context, CancellationToken) -> F) {
        tokio::spawn(run(self.ctx.clone(), self.stop.clone()));
    }
}

/// Lets all that is due happen. Time is paused: this takes none.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Kinds without a schema, for registries.
pub mod kind {
    use api::{Kind, NoStrategy, Registry, Resource, Scope, Subresources};

    pub fn of<K: Resource>() -> Kind {
        let all = |v: &[&str]| v.iter().map(|s| s.to_string()).collect();
        Kind {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            kind: K::KIND.into(),
            list_kind: format!("{}List", K::KIND),
            plural: K::PLURAL.into(),
            singular: K::KIND.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: if K::NAMESPACED { Scope::Namespaced } else { Scope::Cluster },
            subresources: Subresources::default(),
            verbs: all(&["list", "watch", "delete"]),
            served: vec![(K::GROUP.into(), K::VERSION.into())],
            schema: String::new(),
            late_flush: false,
            strategy: Box::new(NoStrategy),
            definition: None,
        }
    }
    /// Kinds that never change.
    pub fn fixed(registry: Registry) -> crate::Kinds {
        tokio::sync::watch::channel(std::sync::Arc::new(registry)).1
    }
    pub fn registry(kinds: impl IntoIterator<Item = Kind>) -> Registry {
        let mut registry = Registry::default();
        kinds.into_iter().for_each(|k| drop(registry.add(k)));
        registry
    }
}
