//! The node agent: it makes the pods that the API server places on this node run, and tells how they are.
//!
//! ```text
//!            ┌─ pods of this node (informer) ─► pod workers ─► Runtime, PodNetwork, volumes
//!   Client ──┤                                     └─► pod status, events
//!            └─ node status, Lease
//!   API server ──HTTP/1.1 over any byte stream──► server: logs, exec, attach, port-forward, stats
//! ```
//!
//! Invariant: containers outlive the kubelet. All that it must remember of them is in the runtime's labels, in the API
//! object's status and under `<root_dir>/pods/<uid>`; a new kubelet adopts what runs.

mod admission;
mod config;
mod context;
mod error;
mod eviction;
mod hollow;
mod kubelet;
mod network;
mod node;
mod objects;
mod pod;
mod probe;
mod quantity;
mod reach;
mod server;
pub mod shutdown;
mod streams;
mod volume;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::{Error, Result};
pub use eviction::{ImagePolicy, Limit, Thresholds};
pub use hollow::{Hollow, hollow};
pub use kubelet::Kubelet;
pub use network::{HostPort, PodKey, PodNetwork};
pub use volume::{Kernel, Mounter};

/// Containers' logs as files, for whoever reads them beside the kubelet.
pub mod log {
    pub use crate::server::follow::Watched;
    pub use crate::server::logfile::{LogReader, Options};
}
