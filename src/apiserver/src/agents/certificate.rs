//! A node's certificate, by the way that all take: a CertificateSigningRequest that the controllers approve and sign.

use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Object, Reason, Status};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use client::{Client, ListOptions, Target, WatchEvent, WriteOptions};
use futures::StreamExt;
use serde_json::json;

use crate::client::Local;
use crate::{Engine, User};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signers are in this process: they answer within milliseconds.
const SIGNED: Duration = Duration::from_secs(10);

fn requests() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests")
}

/// Asks as `user`, reads the answer as `reader`. The PEM of the certificate.
pub async fn obtain(
    engine: &Arc<Engine>,
    user: Arc<User>,
    reader: Arc<dyn Client>,
    csr: &str,
    node: &str,
) -> Result<String, Status> {
    let asked = pki::requested(csr).map_err(|e| Status::bad_request(format!("the signing request: {e}")))?;
    if asked != pki::Profile::node(node) {
        return Err(Status::bad_request(format!("the signing request is not for node {node:?}")));
    }
    let tree = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "node-csr-"},
        "spec": {"request": STANDARD.encode(csr), "signerName": SIGNER,
            "usages": ["digital signature", "client auth"]},
    });
    let joiner = Local::own(engine, user);
    let made = joiner.create(&Target::all(requests()), tree, &WriteOptions::default()).await?;
    match tokio::time::timeout(SIGNED, signed(&*reader, made)).await {
        Ok(done) => done,
        Err(_) => Err(Status::new(Reason::ServiceUnavailable, "nobody has signed the node's certificate in time")),
    }
}

async fn signed(reader: &dyn Client, made: Arc<Object>) -> Result<String, Status> {
    let select = ListOptions { fields: format!("metadata.name={}", made.name()), ..ListOptions::default() };
    let mut changes = reader.watch(&Target::all(requests()), &select, made.revision()).await?;
    while let Some(change) = changes.next().await {
        let object = match change? {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => o,
            WatchEvent::Deleted(_) => break,
            WatchEvent::Bookmark(_) => continue,
        };
        let tree = object.tree();
        if let Some(certificate) = tree["status"]["certificate"].as_str() {
            let pem = STANDARD.decode(certificate).map_err(Status::internal)?;
            return String::from_utf8(pem).map_err(Status::internal);
        }
        let conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
        if let Some(bad) = conditions.into_iter().find(|c| c["type"] == "Denied" || c["type"] == "Failed") {
            let why = bad["message"].as_str().unwrap_or("the certificate was denied");
            return Err(Status::new(Reason::Forbidden, why));
        }
    }
    Err(Status::new(Reason::ServiceUnavailable, "the signing request is gone"))
}
