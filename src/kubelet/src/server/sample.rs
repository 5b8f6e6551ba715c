//! How fast processor time is used: from the difference of two looks, the earlier of which may be that of the request before.
//! Nothing looks by itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Refusal;
use super::stats::{Usage, node_cpu_nanos, usages};
use crate::Kubelet;

/// What lies further back says nothing about now.
const OLDEST: Duration = Duration::from_secs(60);
/// After this long a request's look takes the place of the one it was compared with.
const YOUNGEST: Duration = Duration::from_secs(15);
/// Between two looks where there was none before.
const SHORTEST: Duration = Duration::from_millis(500);

struct Look {
    at: Instant,
    node: u64,
    /// By container id.
    containers: HashMap<String, u64>,
}

impl Look {
    fn at(all: &[Usage]) -> Look {
        let containers = all.iter().map(|u| (u.container.id.clone(), u.stats.cpu_nanos)).collect();
        Look { at: Instant::now(), node: node_cpu_nanos(), containers }
    }
}

/// The look that the next one is compared with.
#[derive(Default)]
pub(crate) struct Sampler(Mutex<Option<Look>>);

/// What runs, and how fast.
pub(crate) struct Rates {
    pub all: Vec<Usage>,
    pub window: Duration,
    /// Billionths of a core: of the node, and of each of `all`.
    pub node: u64,
    pub containers: Vec<u64>,
}

/// Nanoseconds of processor time in `elapsed` as billionths of a core.
fn rate(nanos: u64, elapsed: Duration) -> u64 {
    (nanos as f64 / elapsed.as_secs_f64().max(1e-3)) as u64
}

impl Sampler {
    pub async fn rates(&self, k: &Kubelet) -> Result<Rates, Refusal> {
        let mut last = self.0.lock().await;
        if last.as_ref().is_none_or(|l| l.at.elapsed() > OLDEST) {
            *last = Some(Look::at(&usages(k).await?));
        }
        if let Some(rest) = last.as_ref().and_then(|l| SHORTEST.checked_sub(l.at.elapsed())) {
            tokio::time::sleep(rest).await;
        }
        let all = usages(k).await?;
        let now = Look::at(&all);
        let before = last.get_or_insert_with(|| Look::at(&all));
        let window = now.at - before.at;
        let wall = i64::try_from(k.ctx.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let containers = all
            .iter()
            .map(|u| match before.containers.get(&u.container.id) {
                Some(earlier) => rate(u.stats.cpu_nanos.saturating_sub(*earlier), window),
                // it began since
                None => {
                    let age = u64::try_from(wall - u.container.started_nanos).unwrap_or_default();
                    rate(u.stats.cpu_nanos, Duration::from_nanos(age))
                }
            })
            .collect();
        let node = rate(now.node.saturating_sub(before.node), window);
        if window >= YOUNGEST {
            *last = Some(now);
        }
        Ok(Rates { all, window, node, containers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_one_core_is_a_billion() {
        assert_eq!(rate(1_000_000_000, Duration::from_secs(1)), 1_000_000_000);
        assert_eq!(rate(50_000_000, Duration::from_millis(500)), 100_000_000);
    }
}
