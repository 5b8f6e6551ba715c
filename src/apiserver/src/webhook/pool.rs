//! Connections to webhooks that are kept: a call that follows another pays for no handshake.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::Instant;

/// Go's `IdleConnTimeout`.
const IDLE: Duration = Duration::from_secs(90);
/// Of one webhook.
const MOST_IDLE: usize = 8;
const MOST_AUTHORITIES: usize = 128;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Where a connection leads, and by whose authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub address: SocketAddr,
    pub host: String,
    /// [`Trust::id`]
    pub trust: u64,
}

/// Whom to trust, made once for a `caBundle`.
#[derive(Clone)]
pub(super) struct Trust {
    pub id: u64,
    pub tls: Arc<ClientConfig>,
}

#[derive(Default)]
pub(super) struct Pool {
    trusts: Mutex<(u64, HashMap<String, Trust>)>,
    idle: Mutex<HashMap<Key, Vec<(Sender, Instant)>>>,
}

impl Pool {
    /// `bundle` is the text of a `caBundle`, empty for the machine's authorities.
    pub fn trust(
        &self,
        bundle: &str,
        make: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Trust, String> {
        let mut trusts = self.trusts.lock();
        let (next, known) = &mut *trusts;
        if let Some(trust) = known.get(bundle) {
            return Ok(trust.clone());
        }
        let trust = Trust { id: *next, tls: make()? };
        *next += 1;
        if known.len() >= MOST_AUTHORITIES {
            known.clear();
        }
        known.insert(bundle.to_owned(), trust.clone());
        Ok(trust)
    }

    /// One that has rested not too long. It may be closed all the same.
    pub fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let mine = idle.get_mut(key)?;
        while let Some((sender, since)) = mine.pop() {
            if since.elapsed() < IDLE && !sender.is_closed() {
                return Some(sender);
            }
        }
        idle.remove(key);
        None
    }

    pub fn put(&self, key: Key, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        idle.retain(|_, all| {
            all.retain(|(sender, since)| since.elapsed() < IDLE && !sender.is_closed());
            !all.is_empty()
        });
        let mine = idle.entry(key).or_default();
        if mine.len() < MOST_IDLE {
            mine.push((sender, Instant::now()));
        }
    }
}
