//! What the kubelet asks of the pod network; the binary puts `network` behind it.

use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;

use crate::Result;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub protocol: String,
    /// `None`: all of the host's addresses.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub host_ports: Vec<HostPort>,
}

/// Both are idempotent: a set-up that is asked again answers with the same addresses.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether pods can be set up now. When it turns, [`PodNetwork::changed`] wakes.
    fn ready(&self) -> bool {
        true
    }
    /// Waits until [`PodNetwork::ready`] may answer differently.
    async fn changed(&self) {
        std::future::pending().await
    }
    /// Not called for pods with host network.
    async fn setup(&self, pod: &PodKey, netns: &Path) -> Result<Vec<IpAddr>>;
    /// Gives the addresses back. The network namespace may be gone already.
    async fn teardown(&self, pod: &PodKey) -> Result<()>;
}

/// Waits until the network's readiness is not `seen`; a change just before the call is not missed.
pub(crate) async fn turned(network: &dyn PodNetwork, seen: bool) {
    while network.ready() == seen {
        let already = async {
            if network.ready() == seen {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased; // first listen, then look
            () = network.changed() => {}
            () = already => {}
        }
    }
}
