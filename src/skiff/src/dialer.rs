//! How the server reaches nodes: its own in the process, the others down their tunnels.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use apiserver::Lookup;
use apiserver::agents::node_at;
use async_trait::async_trait;
use client::{BoxIo, NodeDialer};
use tokio::net::TcpStream;
use tunnel::Hub;

pub struct Dialer {
    hub: Arc<Hub>,
    lookup: Arc<dyn Lookup>,
    /// There only after the server.
    local: OnceLock<(String, Arc<dyn NodeDialer>)>,
}

impl Dialer {
    pub fn new(hub: Arc<Hub>, lookup: Arc<dyn Lookup>) -> Dialer {
        Dialer { hub, lookup, local: OnceLock::new() }
    }
    /// This machine is a node too.
    pub fn set_local(&self, name: &str, dialer: Arc<dyn NodeDialer>) {
        let _ = self.local.set((name.to_owned(), dialer));
    }
}

#[async_trait]
impl NodeDialer for Dialer {
    async fn dial(&self, node: &str) -> io::Result<BoxIo> {
        match self.local.get() {
            Some((name, local)) if name == node => local.dial(node).await,
            _ => self.hub.dial(node).await,
        }
    }

    /// Other machines may not be reached from here but by their tunnels; their pods are, over the pod network, if this
    /// machine is on it.
    async fn connect(&self, address: SocketAddr) -> io::Result<BoxIo> {
        let local = self.local.get().map(|(name, _)| name.as_str());
        if let Some((node, is_own)) = node_at(&*self.lookup, address.ip())
            && (is_own || local.is_none())
            && local != Some(&node)
            && self.hub.is_connected(&node)
        {
            return self.hub.open(&node, &address.to_string()).await;
        }
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}
