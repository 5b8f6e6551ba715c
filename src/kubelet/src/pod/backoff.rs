//! The delays between a container's restarts and between tries to pull its image. Upstream's `flowcontrol.Backoff`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) const FIRST: Duration = Duration::from_secs(10);
pub(crate) const MAX: Duration = Duration::from_secs(300);

struct Entry {
    delay: Duration,
    updated: Instant,
}

/// Doubles with each use of a key, from [`FIRST`] to [`MAX`]; forgotten when unused for twice [`MAX`].
#[derive(Default)]
pub(crate) struct Backoff {
    entries: HashMap<String, Entry>,
}

impl Backoff {
    /// How long the key must still wait, and its whole delay, given when it last failed. `None`: go, and [`Backoff::next`].
    pub fn wait(&self, key: &str, failed: Instant) -> Option<(Duration, Duration)> {
        let entry = self.entries.get(key)?;
        if failed.saturating_duration_since(entry.updated) > 2 * MAX {
            return None;
        }
        let left = (failed + entry.delay).saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, entry.delay))
    }

    /// Lengthens the key's delay.
    pub fn next(&mut self, key: &str, failed: Instant) {
        let now = Instant::now();
        match self.entries.get_mut(key) {
            Some(e) if failed.saturating_duration_since(e.updated) <= 2 * MAX => {
                *e = Entry { delay: (e.delay * 2).min(MAX), updated: now };
            }
            _ => {
                self.entries.insert(key.into(), Entry { delay: FIRST, updated: now });
            }
        }
    }
}

/// As Go prints a duration of whole seconds: `1m20s`.
pub(crate) fn go_duration(d: Duration) -> String {
    let s = d.as_secs();
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn restarts_wait_longer_each_time_and_a_long_run_resets() {
        let mut b = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let failed = Instant::now();
            if let Some((left, delay)) = b.wait("a", failed) {
                waits.push(go_duration(delay));
                tokio::time::advance(left).await;
            }
            assert!(b.wait("a", failed).is_none());
            b.next("a", failed);
        }
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        tokio::time::advance(Duration::from_secs(601)).await;
        assert!(b.wait("a", Instant::now()).is_none());
        b.next("a", Instant::now());
        assert_eq!(b.wait("a", Instant::now()).unwrap().1, FIRST);
    }
}
