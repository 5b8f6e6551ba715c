//! The service proxy: nftables maps that follow Services and EndpointSlices, changed in one transaction a sync; where the
//! kernel has no nf_tables, a process in the middle.

mod conntrack;
mod guard;
mod health;
mod nfnl;
mod nft;
mod plan;
mod ruleset;
mod userspace;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use conntrack::Datagrams;
pub(crate) use nft::apply;
pub(crate) use plan::is_ready;
pub use plan::{ServicePort, service_ports};
use ruleset::Ruleset;
use userspace::Userspace;

use crate::pod::HostPorts;
use crate::{Config, Error, Services};

/// Keeps the node's rules equal to what the services ask for. Its rules stay when it stops.
pub struct Proxy {
    config: Config,
    services: Services,
    host_ports: HostPorts,
    /// What the kernel holds, for IPv4 and IPv6; `None`: unknown, so the table is made anew.
    applied: Mutex<[Option<Ruleset>; 2]>,
    /// Where datagrams may go since then.
    datagrams: Mutex<Datagrams>,
    /// Never nftables.
    userspace: bool,
    synced: watch::Sender<bool>,
}

impl Proxy {
    pub fn new(config: Config, services: Services, host_ports: HostPorts) -> Proxy {
        let (applied, synced) = (Mutex::new([None, None]), watch::channel(false).0);
        Proxy { config, services, host_ports, applied, datagrams: Mutex::default(), userspace: false, synced }
    }

    /// Forwards itself, whatever the kernel can.
    pub fn in_userspace(self) -> Proxy {
        Proxy { userspace: true, ..self }
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
            let mut health = health::Ports::default();
            let mut userspace = None;
            let mut guard = guard::Guard::new(&self.config.table);
            loop {
                changes.mark_unchanged();
                host_ports.mark_unchanged();
                health.sync(&self.services, &self.config.node_name).await;
                match self.sync(&mut userspace).await {
                    Ok(()) => {
                        wait = Duration::from_millis(100);
                        self.synced.send_replace(true);
                    }
                    Err(error) if userspace.is_none() && !*self.synced.borrow() && !self.nft_works().await => {
                        tracing::warn!(
                            %error,
                            "no nf_tables on this node: services go through this process, callers' addresses are lost, and \
                             pods reach only the cluster"
                        );
                        match Userspace::new(&self.config) {
                            Ok(fallback) => userspace = Some(fallback),
                            Err(error) => {
                                tracing::error!(%error, "services are off");
                                return;
                            }
                        }
                        continue;
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
                    () = guard.deleted() => {
                        if userspace.is_none() && !nft::all_there(&self.tables()).await {
                            tracing::warn!("the service rules were removed by somebody else; they are made anew");
                            *self.applied.lock() = [None, None];
                        }
                        continue;
                    }
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

    /// `ip skiff`, `ip6 skiff`
    fn tables(&self) -> Vec<String> {
        let families = [(false, "ip"), (true, "ip6")].into_iter();
        let used = families.filter(|(v6, _)| self.config.cluster_cidr(*v6).is_some());
        used.map(|(_, family)| format!("{family} {}", self.config.table)).collect()
    }

    /// Whether the kernel takes our kind of table at all.
    async fn nft_works(&self) -> bool {
        let probe = Config { table: format!("{}_probe", self.config.table), ..self.config.clone() };
        let v6 = self.config.cluster_cidr(false).is_none();
        let end = format!("delete table {} {}\n", if v6 { "ip6" } else { "ip" }, probe.table);
        !self.userspace && nft::apply(&(ruleset::base(v6, &probe) + &end)).await.is_ok()
    }

    /// One transaction per family from what is applied to what is wanted.
    async fn sync(&self, userspace: &mut Option<Userspace>) -> Result<(), Error> {
        let mut ports = Vec::new();
        for service in self.services.all() {
            let slices = self.services.slices(service.namespace(), service.name());
            ports.extend(service_ports(&service, &slices, &self.config.node_name));
        }
        // DNS is answered by the agent itself on that address
        ports.retain(|p| Some(p.cluster_ip) != self.config.cluster_dns);
        let host_ports = self.host_ports.all();
        if let Some(userspace) = userspace {
            return userspace.sync(&ports, &host_ports).await;
        }
        if self.userspace {
            return Err(Error::Nft("not wanted".into()));
        }
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
        let datagrams = Datagrams::of(&ports, &host_ports);
        let before = std::mem::replace(&mut *self.datagrams.lock(), datagrams.clone());
        if datagrams.outdates(&before) {
            conntrack::forget_stale(&datagrams).await;
        }
        Ok(())
    }
}
