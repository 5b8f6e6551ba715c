//! Many streams over one connection: how exec, attach and port-forward reach a client.
//!
//! ```text
//!   WebSocket  v5.channel.k8s.io, v4.…, base64.…   a channel number before each message
//!   SPDY/3.1   X-Stream-Protocol-Version: v4.…     real streams, named by their headers
//!   WebSocket  SPDY/3.1+portforward.k8s.io         SPDY inside binary messages
//! ```
//!
//! Whatever the wire, the server sees [`Inlet`]s and [`Outlet`]s.

pub(crate) mod channels;
pub(crate) mod portforward;
pub(crate) mod remote;
pub(crate) mod spdy;
pub(crate) mod websocket;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// What the client sends on one stream; it ends when the client closes it.
pub(crate) type Inlet = mpsc::Receiver<Bytes>;

/// What goes to the client on one stream.
#[async_trait]
pub(crate) trait Outlet: Send {
    async fn send(&mut self, data: Bytes) -> std::io::Result<()>;
    /// Tells the client that no more comes.
    async fn close(&mut self);
}

pub(crate) type BoxOutlet = Box<dyn Outlet>;

pub(crate) fn broken() -> std::io::Error {
    std::io::ErrorKind::BrokenPipe.into()
}

/// So much is read from a process or a socket at once.
pub(crate) const CHUNK: usize = 32 << 10;
