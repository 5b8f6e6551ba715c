//! Certificate signing requests: nodes' are approved, approved ones are signed, old ones go. Upstream's `csrapproving`,
//! `csrsigning` and `csrcleaner`, as one reconcile: a node that joins waits for its certificate.
//!
//! ```text
//!   request ──approve (may its user?)──► Approved ──sign (is it what its signer signs?)──► status.certificate ──► hour ──► gone
//! ```

mod approve;
mod clean;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Controller, DeleteOptions, Informer, ObjectKey, Requeue, Target, WorkQueue, WriteOptions};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error, after};

/// What an authority is asked to vouch for.
pub struct Order<'a> {
    /// PKCS#10, PEM. Its signature is the authority's to check.
    pub request: &'a str,
    /// With hosts, it is a server's.
    pub profile: &'a pki::Profile,
    pub lifetime: SignedDuration,
    pub now: Timestamp,
}

/// Gives the certificate, PEM.
pub type Sign = dyn Fn(&Order<'_>) -> Result<String, pki::Error> + Send + Sync;

/// What the controller signs with: `--cluster-signing-cert-file` and its like.
#[derive(Clone)]
pub struct Signing {
    pub sign: Arc<Sign>,
    /// What a certificate gets at most: `--cluster-signing-duration`.
    pub lifetime: SignedDuration,
}

/// After which a request that its user may not have approved is looked at again: rights may have come.
const AGAIN: Duration = Duration::from_secs(60);

fn requests() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests")
}

struct Requests {
    ctx: Context,
    requests: Informer,
}

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let this = Arc::new(Requests { requests: ctx.informers.get(requests()), ctx });
    let q = queue.clone();
    this.requests.on_change(move |c| {
        if let Some(object) = &c.new {
            q.add(ObjectKey::of(object));
        }
    });
    this.requests.synced().await;
    // many machines may join at once, and most of a write is waiting
    let controller = Controller { name: "certificate-controller", workers: 16, queue };
    controller
        .run(stop, move |key| {
            let this = this.clone();
            async move { this.sync(&key.name).await }
        })
        .await;
}

impl Requests {
    async fn sync(&self, name: &str) -> Result<Requeue, Error> {
        let Some(object) = self.requests.get("", name) else { return Ok(None) };
        let (now, mut tree) = (self.ctx.clock.now(), object.tree());
        let end = clean::deadline(&tree);
        if end.is_some_and(|end| end <= now) {
            let options = DeleteOptions::of(&object);
            return match self.ctx.client.delete(&Target::one(requests(), "", name), &options).await {
                Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
                _ => Ok(None),
            };
        }
        let mut next = end.map(|end| after(end.duration_since(now)));
        if !has(&tree, "Approved") && !has(&tree, "Denied") && !is_issued(&tree) {
            match self.approve(name, &tree).await? {
                Verdict::Approved(approved) => tree = approved,
                Verdict::Refused => next = Some(next.map_or(AGAIN, |n| n.min(AGAIN))),
                Verdict::Foreign => {}
            }
        }
        if has(&tree, "Approved") && !has(&tree, "Failed") && !is_issued(&tree) {
            self.sign(name, tree, now).await?;
        }
        Ok(next)
    }

    /// `sarapprove.go`
    async fn approve(&self, name: &str, request: &Value) -> Result<Verdict, Error> {
        let asked = pki::requested(&pem(request));
        let Some(candidate) = asked.ok().and_then(|profile| approve::recognized(request, &profile)) else {
            return Ok(Verdict::Foreign);
        };
        for (subresource, message) in candidate {
            let spec = &request["spec"];
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
                "spec": {"user": spec["username"], "uid": spec["uid"], "groups": spec["groups"], "extra": spec["extra"],
                    "resourceAttributes": {"group": requests().group, "resource": requests().resource, "verb": "create",
                        "subresource": subresource}},
            });
            let reviews = Target::all(Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews"));
            let answer = self.ctx.client.create(&reviews, review, &WriteOptions::default()).await?.tree();
            if answer["status"]["allowed"] != true {
                continue;
            }
            let mut approved = request.clone();
            condition(&mut approved, "Approved", "AutoApproved", message, &self.ctx.now());
            let target = Target::one(requests(), "", name).sub("approval");
            let approved = self.ctx.client.update(&target, approved, &WriteOptions::default()).await?;
            tracing::info!(request = name, user = spec["username"].as_str(), "certificate request approved");
            return Ok(Verdict::Approved(approved.tree()));
        }
        tracing::debug!(request = name, "a node's certificate request was not approved: its user may not");
        Ok(Verdict::Refused)
    }

    /// `signer.go`
    async fn sign(&self, name: &str, mut request: Value, now: Timestamp) -> Result<(), Error> {
        let Some(signing) = &self.ctx.config.signing else { return Ok(()) };
        let pem = pem(&request);
        let signed = match sign::check(&request, pki::requested(&pem)) {
            None => return Ok(()),
            Some(Ok(profile)) => {
                let lifetime = sign::lifetime(request["spec"]["expirationSeconds"].as_i64(), signing.lifetime);
                let order = Order { request: &pem, profile: &profile, lifetime, now };
                (signing.sign)(&order).map_err(|e| e.to_string())
            }
            Some(Err(why)) => Err(why),
        };
        match signed {
            Ok(certificate) => request["status"]["certificate"] = json!(STANDARD.encode(certificate)),
            Err(why) => {
                tracing::warn!(request = name, why, "a certificate request was approved that cannot be signed");
                condition(&mut request, "Failed", "SignerValidationFailure", &why, &self.ctx.now());
            }
        }
        let target = Target::one(requests(), "", name).sub("status");
        self.ctx.client.update(&target, request, &WriteOptions::default()).await?;
        Ok(())
    }
}

enum Verdict {
    Approved(Value),
    /// Its user may not have it.
    Refused,
    /// Somebody else's to approve.
    Foreign,
}

fn conditions(request: &Value) -> &[Value] {
    request.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn has(request: &Value, kind: &str) -> bool {
    conditions(request).iter().any(|c| c["type"] == kind)
}

fn is_issued(request: &Value) -> bool {
    request["status"]["certificate"].as_str().is_some_and(|c| !c.is_empty())
}

fn condition(request: &mut Value, kind: &str, reason: &str, message: &str, now: &str) {
    let condition =
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now});
    match request.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        Some(all) => all.push(condition),
        None => request["status"]["conditions"] = json!([condition]),
    }
}

/// `spec.request`, decoded; empty where it is no text.
fn pem(request: &Value) -> String {
    text(request["spec"]["request"].as_str())
}

fn text(base64: Option<&str>) -> String {
    base64.and_then(|r| STANDARD.decode(r).ok()).and_then(|r| String::from_utf8(r).ok()).unwrap_or_default()
}

/// `spec.usages`, sorted.
fn usages(request: &Value) -> Vec<&str> {
    let all = request["spec"]["usages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut usages: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    usages.sort_unstable();
    usages.dedup();
    usages
}

#[cfg(test)]
mod tests;
