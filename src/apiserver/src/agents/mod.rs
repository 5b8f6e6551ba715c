//! What a server offers to machines of its cluster: joining, the tunnel, what they must know.
//!
//! ```text
//!   GET  /cacerts              everyone             the authority, PEM
//!   POST /v1-skiff/join        a join token         node password → CSR → certificate, settings
//!   GET  /v1-skiff/tunnel      a node               upgrades to the node's tunnel
//!   GET  /v1-skiff/settings    a node               what may have changed since it joined
//!   POST /v1-skiff/token       system:masters       another secret for the cluster
//! ```

mod certificate;
mod follow;
mod join;
mod password;
mod place;
mod token;

use std::sync::Arc;

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use api::{Reason, Status, Value};
use async_trait::async_trait;
use bytes::Bytes;
use client::Clock;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tunnel::{AUTHORITY_PATH, Hub, JOIN_PATH, PROTOCOL, Settings, TUNNEL_PATH};

pub use follow::follow;
pub use place::node_at;

use crate::authn::BootstrapTokens;
use crate::authz::node_name;
use crate::http::Body;
use crate::special::{Path, PathRequest, Specials, text};
use crate::{Lookup, User};

pub const SETTINGS_PATH: &str = "/v1-skiff/settings";
pub const TOKEN_PATH: &str = "/v1-skiff/token";

const MOST_BYTES: usize = 64 << 10;

/// What the endpoints answer from.
pub struct Agents {
    pub hub: Arc<Hub>,
    pub bootstrap: Arc<BootstrapTokens>,
    pub lookup: Arc<dyn Lookup>,
    pub clock: Arc<dyn Clock>,
    pub pki: Arc<pki::Pki>,
    pub settings: Settings,
    /// `host:port` of every server.
    pub servers: Vec<String>,
    /// This process's own node: its name is nobody else's.
    pub own_node: Option<String>,
    /// Where the cluster's secrets are kept.
    pub server_dir: std::path::PathBuf,
}

impl Agents {
    pub fn register(self: Arc<Self>, specials: &mut Specials) {
        for path in [AUTHORITY_PATH, JOIN_PATH, TUNNEL_PATH, SETTINGS_PATH, TOKEN_PATH] {
            specials.path(path, self.clone());
        }
    }

    fn tunnel(&self, user: &User, mut request: Request<Incoming>) -> Result<Response<Body>, Status> {
        let Some(node) = node_name(user).map(str::to_owned) else {
            return Err(Status::new(Reason::Forbidden, "only a node has a tunnel"));
        };
        let asked = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
        if asked != Some(PROTOCOL) {
            return Err(Status::bad_request(format!("expected an upgrade to {PROTOCOL}")));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let held = match upgrade.await {
                Ok(io) => {
                    tracing::info!(node, "tunnel open");
                    hub.hold(&node, TokioIo::new(io)).await
                }
                Err(error) => Err(error),
            };
            match held {
                Ok(()) => tracing::info!(node, "tunnel closed"),
                Err(error) => tracing::info!(node, %error, "tunnel broken"),
            }
        });
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(answer)
    }
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Status> {
    let whole = Limited::new(request.into_body(), MOST_BYTES).collect().await;
    whole.map(|b| b.to_bytes()).map_err(|e| Status::bad_request(e.to_string()))
}

fn json(value: &Value) -> Response<Body> {
    text(200, "application/json", value.to_string())
}

#[async_trait]
impl Path for Agents {
    async fn serve(&self, r: PathRequest) -> Result<Response<Body>, Status> {
        let path = r.request.uri().path().to_owned();
        if path == AUTHORITY_PATH {
            return Ok(text(200, "application/x-pem-file", self.pki.server_ca.pem().to_owned()));
        }
        let user = r.user.ok_or_else(Status::unauthorized)?;
        match (r.request.method(), path.as_str()) {
            (&Method::POST, JOIN_PATH) => {
                let body = body(r.request).await?;
                self.join(&r.engine, &user, &body).await.map(|answer| json(&answer))
            }
            (&Method::GET, TUNNEL_PATH) => self.tunnel(&user, r.request),
            (&Method::GET, SETTINGS_PATH) if node_name(&user).is_some() || crate::authz::is_master(&user) => {
                Ok(json(&self.knowledge()?))
            }
            (&Method::POST, TOKEN_PATH) if crate::authz::is_master(&user) => {
                self.rotate(&body(r.request).await?).map(|answer| json(&answer))
            }
            (_, SETTINGS_PATH | TOKEN_PATH) => Err(Status::new(Reason::Forbidden, "not for you")),
            _ => Err(Status::new(
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            )),
        }
    }
}
