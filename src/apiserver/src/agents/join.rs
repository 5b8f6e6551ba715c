//! A machine joins.

use std::sync::Arc;

use api::{Cause, Reason, Status, Value, names};
use serde_json::json;
use tunnel::{Refusal, Request};

use super::{Agents, certificate, password};
use crate::authn::revoked::Revoked;
use crate::{Engine, User};

/// Clocks that differ by more make certificates and tokens unreliable. Upstream trusts them blindly, and fails later.
const SKEW_SECONDS: i64 = 300;
const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// Given here and nowhere else, after the node password was right: only this group may ask for node certificates.
const JOINING: &str = "system:skiff:joining";

fn refusal(reason: Reason, cause: Refusal, message: String) -> Status {
    let cause = Cause { reason: cause.as_str().into(), ..Cause::default() };
    Status { causes: vec![cause], ..Status::new(reason, message) }
}

impl Agents {
    pub(super) async fn join(&self, engine: &Arc<Engine>, user: &User, body: &[u8]) -> Result<Value, Status> {
        if !user.groups.iter().any(|g| g == BOOTSTRAPPERS) {
            return Err(Status::new(Reason::Forbidden, "joining asks for a join token"));
        }
        let request: Request = serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?;
        let node = request.node_name.as_str();
        if let Some(wrong) = names::dns_subdomain(node, false).first() {
            return Err(Status::bad_request(format!("{node:?} cannot name a node: {wrong}")));
        }
        let now = self.clock.now();
        let ahead = request.time.as_second() - now.as_second();
        if ahead.abs() > SKEW_SECONDS {
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            let text = format!("this machine's {} is {} s {side} the server's {now}", request.time, ahead.abs());
            return Err(refusal(Reason::BadRequest, Refusal::ClockSkew, text));
        }
        let taken = || {
            tracing::warn!(node, by = user.name, "another machine has this name");
            let text = format!("node name {node:?} is taken by another machine");
            refusal(Reason::Forbidden, Refusal::NameTaken, text)
        };
        if self.own_node.as_deref() == Some(node) {
            return Err(taken());
        }
        if let Some(at) = Revoked::new(self.lookup.clone()).at(node).filter(|at| *at > now) {
            return Err(Status::new(Reason::Forbidden, format!("node {node:?} is revoked until {at}")));
        }
        let client = Arc::new(crate::client::Local::own(engine, User::system("system:skiff:join")));
        let there = self.lookup.get("nodes", "", node).is_some();
        if !password::check(&*client, &*self.lookup, node, there, &request.node_password).await? {
            return Err(taken());
        }
        let mut joiner = user.clone();
        joiner.groups.push(JOINING.into());
        let certificate = certificate::obtain(engine, Arc::new(joiner), client, &request.csr, node).await?;
        tracing::info!(node, by = user.name, "a machine has joined");
        let mut answer = self.knowledge()?;
        answer["certificate"] = certificate.into();
        Ok(answer)
    }

    /// What every node must know.
    pub(super) fn knowledge(&self) -> Result<Value, Status> {
        let settings = serde_json::to_value(&self.settings).map_err(Status::internal)?;
        Ok(json!({"settings": settings, "servers": self.servers}))
    }
}
