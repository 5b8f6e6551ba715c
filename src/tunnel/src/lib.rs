//! How a machine joins, and how the server reaches it afterwards although nothing on it listens.
//!
//! ```text
//!   agent                                              server
//!   join: token, node password, CSR ──TLS (CA by hash)──► certificate, settings        once
//!   Link: GET /v1-skiff/tunnel, Upgrade ──mTLS──────────► Hub                          held to every server
//!     └─ h2 server ◄── CONNECT kubelet | host:port ── h2 client ─┘                     a stream each
//!   HttpClient ─► Balancer (127.0.0.1) ──TCP──► whichever server answers
//! ```
//!
//! On the upgraded connection the roles are reversed: the server opens HTTP/2 streams, the agent answers them. Windows are a
//! stream's own: one that nobody reads does not hold up the others. Pings from both ends find a connection whose other end is
//! gone within 15 s, for some 50 bytes a second.

#![forbid(unsafe_code)]

mod balancer;
mod cut;
mod error;
mod h2;
mod http;
mod hub;
mod join;
mod link;
mod serve;
mod servers;
#[cfg(test)]
mod tests;

pub use balancer::Balancer;
pub use error::Error;
pub use http::{Answer, Caller, SERVER_NAME};
pub use hub::Hub;
pub use join::{Joined, Refusal, Request, Settings, fetch_authority, join};
pub use link::Link;
pub use serve::{Node, serve};
pub use servers::Servers;

/// Where the agent asks for its certificate: POST.
pub const JOIN_PATH: &str = "/v1-skiff/join";
/// Where the agent opens its tunnel: GET with an upgrade to [`PROTOCOL`].
pub const TUNNEL_PATH: &str = "/v1-skiff/tunnel";
/// The authority's certificate, PEM, for everyone: GET.
pub const AUTHORITY_PATH: &str = "/cacerts";
pub const PROTOCOL: &str = "skiff-tunnel/1";
/// The authority of a stream to the node's kubelet.
pub const KUBELET: &str = "kubelet:10250";
