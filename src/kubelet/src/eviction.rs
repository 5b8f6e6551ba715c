//! Keeping the node alive when memory or disk runs short: conditions, images nobody uses, and at last pods. Upstream's
//! eviction manager and image garbage collection.
//!
//! ```text
//!   signals (statvfs, /proc/meminfo) ──► thresholds ──► Pressure ──► node conditions ──► taints; no new pods
//!                                            └──► unused images go ──► still short: one pod goes, by rank
//! ```
//!
//! A file system tells nobody when it fills, so this is a timer, as upstream's (ten seconds). Its period follows the room
//! that is left: as long as a fast disk needs to fill it, between 5 s and a minute. A look reads two counters and writes
//! nothing.

pub(crate) mod images;
mod rank;
mod reclaim;
pub(crate) mod signals;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use signals::{Limit, Thresholds};
use signals::{Signal, Signals};

use crate::context::Context;
use crate::pod::manager::Mailboxes;
use images::Images;

/// What the node lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub memory: bool,
    pub disk: bool,
}

impl Pressure {
    pub fn any(self) -> bool {
        self.memory || self.disk
    }
}

/// When an unused image may go. Upstream's `ImageGCPolicy`.
#[derive(Debug, Clone)]
pub struct ImagePolicy {
    /// In percent of the file system: from here on images are removed, down to `low`.
    pub high: u8,
    pub low: u8,
    pub minimum_age: Duration,
    /// Unused for so long, an image goes without need. `None`: never.
    pub maximum_age: Option<Duration>,
}

impl Default for ImagePolicy {
    fn default() -> ImagePolicy {
        ImagePolicy { high: 85, low: 80, minimum_age: Duration::from_secs(120), maximum_age: None }
    }
}

pub(crate) struct Monitor {
    pub ctx: Arc<Context>,
    pub mailboxes: Arc<Mailboxes>,
    images: Images,
    /// When each was last lacking.
    memory: Option<Instant>,
    disk: Option<Instant>,
}

impl Monitor {
    pub fn new(ctx: Arc<Context>, mailboxes: Arc<Mailboxes>) -> Monitor {
        Monitor { ctx, mailboxes, images: Images::default(), memory: None, disk: None }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let looking = async {
            loop {
                let pause = self.look().await;
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// Looks once and does what is to be done; answers when to look again.
    async fn look(&mut self) -> Duration {
        let config = &self.ctx.config;
        let signals = (self.ctx.signals)(config);
        let used = signals.image_use_percent();
        let policy = &config.image_gc;
        if used >= policy.low || policy.maximum_age.is_some() {
            self.images.detect(&self.ctx).await;
        }
        if used >= policy.high {
            let want = signals.bytes_above(policy.low);
            self.images.free(&self.ctx, want).await;
        }
        self.images.expire(&self.ctx).await;
        let short = config.eviction_hard.met(&signals);
        let now = Instant::now();
        let lacks = |of: fn(Signal) -> bool| short.iter().any(|s| of(s.signal));
        if lacks(Signal::is_disk) {
            self.disk = Some(now);
        }
        if lacks(|s| s == Signal::Memory) {
            self.memory = Some(now);
        }
        let lasts = |since: Option<Instant>| since.is_some_and(|t| now < t + config.pressure_transition || t == now);
        let pressure = Pressure { memory: lasts(self.memory), disk: lasts(self.disk) };
        self.tell(pressure);
        if let Some(first) = short.first().cloned() {
            let done = reclaim::reclaim(self, &first).await;
            return Duration::from_secs(if done { 2 } else { 10 });
        }
        let mut pause = config.eviction_hard.pause(&signals);
        for since in [self.memory, self.disk].into_iter().flatten() {
            // the end of the pressure is told when it is due
            let left = (since + config.pressure_transition).saturating_duration_since(now);
            if !left.is_zero() {
                pause = pause.min(left);
            }
        }
        pause
    }

    fn tell(&self, pressure: Pressure) {
        let changed = self.ctx.pressure.send_if_modified(|old| std::mem::replace(old, pressure) != pressure);
        if changed {
            tracing::warn!(memory = pressure.memory, disk = pressure.disk, "pressure on this node has changed");
        }
    }
}

/// As the kernel tells.
pub(crate) fn kernel(config: &crate::Config) -> Signals {
    Signals::read(&config.root_dir, config.image_dir.as_deref().unwrap_or(&config.root_dir))
}

#[cfg(test)]
mod tests;
