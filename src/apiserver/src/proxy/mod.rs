//! What a client reaches through the API server: a pod's containers (`log`, `exec`, `attach`, `portforward`), by its node's
//! kubelet, and plain HTTP to pods, services and nodes (`proxy`).
//!
//! ```text
//!   client ──HTTP──► Connect ──┬─ NodeDialer ──► kubelet        log, exec, attach, portforward, nodes/proxy
//!                              └─ TCP [+ TLS] ─► pod's address  pods/proxy, services/proxy
//! ```
//!
//! An upgraded connection (WebSocket, SPDY/3.1) is joined to the backend's byte by byte; what it says is the kubelet's
//! business.

mod container;
mod html;
pub(crate) mod http;
mod kubelet;
pub(crate) mod place;
pub(crate) mod stream;

use std::sync::Arc;

use client::NodeDialer;

use crate::special::Specials;

/// Puts all of them into the table.
pub fn register(specials: &mut Specials, dialer: &Arc<dyn NodeDialer>) {
    use kubelet::{Kubelet, Stream};
    for (subresource, stream) in
        [("log", Stream::Log), ("exec", Stream::Exec), ("attach", Stream::Attach), ("portforward", Stream::PortForward)]
    {
        specials.connect("", "pods", subresource, Arc::new(Kubelet::new(dialer.clone(), stream)));
    }
    for resource in ["pods", "services", "nodes"] {
        specials.connect("", resource, "proxy", Arc::new(http::Proxy::new(dialer.clone())));
    }
}
