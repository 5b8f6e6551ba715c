//! The agent's tunnels: one to each server, made again when it breaks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, DATE, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::Caller;
use crate::serve::{Node, serve};
use crate::{Error, PROTOCOL, Servers, TUNNEL_PATH};

/// A server that comes back finds its agents within two seconds.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_millis(1200);
/// A tunnel that held so long was a good one: the next attempt is the first again.
const GOOD: Duration = Duration::from_secs(5);
/// Clocks that differ by more make certificates and tokens unreliable.
const SKEW: i64 = 300;

/// The agent's end of all tunnels.
pub struct Link {
    pub node: Arc<dyn Node>,
    pub servers: Arc<Servers>,
    /// With the node's certificate; on a newer one a newer tunnel is opened, and the old may end in peace.
    pub tls: watch::Receiver<Arc<ClientConfig>>,
}

impl Link {
    /// Holds a tunnel to every server, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut changes = this.servers.changes();
        let mut held: HashMap<String, DropGuard> = HashMap::new();
        loop {
            changes.mark_unchanged();
            let wanted = this.servers.each();
            held.retain(|server, _| wanted.contains(server));
            for server in wanted {
                held.entry(server.clone()).or_insert_with(|| {
                    let end = stop.child_token();
                    let (this, ended) = (this.clone(), end.clone());
                    tokio::spawn(async move { ended.run_until_cancelled(this.hold(&server)).await });
                    end.drop_guard()
                });
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn hold(&self, server: &str) {
        let mut tls = self.tls.clone();
        let mut wait = FIRST_WAIT;
        let mut was_told = false;
        // by which of the two ways the last tunnel went
        let mut by_given = false;
        loop {
            let config = tls.borrow_and_update().clone();
            let begun = Instant::now();
            match self.open(server, &config, &mut by_given).await {
                Ok(io) => {
                    tracing::info!(server, "tunnel open");
                    was_told = false;
                    let mut serving = tokio::spawn(serve(io, self.node.clone()));
                    tokio::select! {
                        ended = &mut serving => match ended {
                            Ok(Ok(())) => tracing::info!(server, "tunnel closed"),
                            Ok(Err(error)) => tracing::warn!(server, %error, "tunnel broken"),
                            Err(error) => tracing::error!(server, %error, "tunnel ended"),
                        },
                        Ok(()) = tls.changed() => continue,
                    }
                }
                Err(error) if !was_told => {
                    tracing::warn!(server, %error, "no tunnel; trying on");
                    was_told = true;
                }
                Err(error) => tracing::debug!(server, %error, "no tunnel"),
            }
            if begun.elapsed() > GOOD {
                wait = FIRST_WAIT;
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// By the server's own address, or the one that was given where that is the only server's: the one that worked last is
    /// tried first, since an address out of reach takes its time to say so.
    async fn open(&self, server: &str, tls: &ClientConfig, by_given: &mut bool) -> Result<TokioIo<Upgraded>, Error> {
        let given = self.servers.given().filter(|given| *given != server && self.servers.each().len() == 1);
        let Some(given) = given else { return upgrade(&Caller::new(server, tls)).await };
        let mut ways = [(server, false), (given, true)];
        if *by_given {
            ways.reverse();
        }
        let mut last = Err(Error::Address(server.to_owned()));
        for (address, is_given) in ways {
            last = upgrade(&Caller::new(address, tls)).await;
            match &last {
                Err(error) if error.is_temporary() => {}
                _ => {
                    *by_given = is_given;
                    break;
                }
            }
        }
        last
    }
}

async fn upgrade(server: &Caller) -> Result<TokioIo<Upgraded>, Error> {
    let mut request = Request::new(Full::<Bytes>::default());
    *request.uri_mut() = http::Uri::from_static(TUNNEL_PATH);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    let answer = server.send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Refused(format!("{} for the tunnel", answer.status())));
    }
    if let Some(seconds) = skew(answer.headers()).filter(|s| s.abs() > SKEW) {
        tracing::warn!(seconds, "this machine's clock differs from the server's: set it right");
    }
    let upgraded = hyper::upgrade::on(answer).await;
    upgraded.map(TokioIo::new).map_err(|e| Error::Unreachable { server: server.address.clone(), why: e.to_string() })
}

/// How far this clock is ahead of the server's, in seconds.
fn skew(headers: &http::HeaderMap) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(Timestamp::now().as_second() - theirs.as_second())
}
