//! SPDY/3.1 as `kubectl` and upstream's `spdystream` speak it, server side: streams that the client opens.
//!
//! Like spdystream it has no flow control but TCP's: WINDOW_UPDATE and SETTINGS are read and ignored.

mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Incoming, serve};

#[cfg(test)]
pub(crate) mod testing;
