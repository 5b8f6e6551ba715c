//! The service proxy: nftables maps that follow Services and EndpointSlices, changed in one transaction a sync.

mod nft;
mod plan;
mod ruleset;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use nft::apply;
pub(crate) use plan::is_ready;
pub use plan::{ServicePort, service_ports};
use ruleset::Ruleset;

use crate::pod::HostPorts;
use crate::{Config, Error, Services};

/// Keeps the node's rules equal to what the services ask for. Its rules stay when it stops.
pub struct Proxy {
    config: Config,
    services: Services,
    host_ports: HostPorts,
    /// What the kernel holds, for IPv4 and IPv6; `None`: unknown, so the table is made anew.
    applied: Mutex<[Option<Ruleset>; 2]>,
    synced: watch::Sender<bool>,
}

impl Proxy {
    pub fn new(config: Config, services: Services, host_ports: HostPorts) -> Proxy {
        Proxy { config, services, host_ports, applied: Mutex::new([None, None]), synced: watch::channel(false).0 }
    }

    /// Becomes true when the rules have been in place once.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    pub async fn run(&self, stop: CancellationToken) {
        let follow = async {
            self.services.synced().await;
            let mut changes = self.services.changes();
            let mut host_ports = self.host_ports.changes();
            let mut wait = Duration::from_millis(100);
            loop {
                changes.mark_unchanged();
                host_ports.mark_unchanged();
                match self.sync().await {
                    Ok(()) => {
                        wait = Duration::from_millis(100);
                        self.synced.send_replace(true);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "service rules could not be applied; the table is made anew");
                        *self.applied.lock() = [None, None];
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(Duration::from_secs(30));
                        continue;
                    }
                }
                let changed = tokio::select! {
                    c = changes.changed() => c,
                    c = host_ports.changed() => c,
                };
                if changed.is_err() {
                    return;
                }
                // a rollout changes many endpoints in a burst: one transaction for those that come together
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    /// One transaction per family from what is applied to what is wanted.
    async fn sync(&self) -> Result<(), Error> {
        let mut ports = Vec::new();
        for service in self.services.all() {
            let slices = self.services.slices(service.namespace(), service.name());
            ports.extend(service_ports(&service, &slices, &self.config.node_name));
        }
        // DNS is answered by the agent itself on that address
        ports.retain(|p| Some(p.cluster_ip) != self.config.cluster_dns);
        let host_ports = self.host_ports.all();
        for (i, v6) in [false, true].into_iter().enumerate() {
            let Some(cluster) = self.config.cluster_cidr(v6) else { continue };
            let want = Ruleset::build(v6, cluster, &ports, &host_ports);
            let table = format!("{} {}", if v6 { "ip6" } else { "ip" }, self.config.table);
            let script = match &self.applied.lock()[i] {
                Some(have) => nft::diff(&table, have, &want),
                None => ruleset::base(v6, &self.config) + &nft::diff(&table, &Ruleset::default(), &want),
            };
            if script.is_empty() {
                continue;
            }
            nft::apply(&script).await?;
            self.applied.lock()[i] = Some(want);
        }
        Ok(())
    }
}
