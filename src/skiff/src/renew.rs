//! The node's certificate is renewed long before it ends, by the node's own word. Upstream's `kubelet/certificate`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::Gvr;
use client::{Client, ListOptions, Target, WatchEvent, WriteOptions};
use jiff::{SignedDuration, Timestamp};
use pki::{Identity, JoinToken, Profile, SigningRequest};
use rustls::ClientConfig;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tunnel::{Caller, Servers, Settings};

use crate::member::{Member, jittered};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SIGNED: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The clock of a machine that slept has gone on, its timers have not.
const LOOK: Duration = Duration::from_secs(6 * 3600);

pub struct Renewal {
    pub member: Member,
    pub client: Arc<dyn Client>,
    pub tls: watch::Sender<Arc<ClientConfig>>,
    pub node: String,
    pub password: String,
    /// With it, an agent that was away for too long joins anew.
    pub token: Option<JoinToken>,
    pub servers: Arc<Servers>,
}

#[derive(serde::Deserialize)]
struct Known {
    settings: Settings,
}

impl Renewal {
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            self.refresh().await;
            loop {
                self.until_due().await;
                let mut wait = Duration::from_secs(1);
                while let Err(error) = self.renew().await {
                    tracing::warn!(error = format!("{error:#}"), "the node's certificate was not renewed; trying on");
                    tokio::time::sleep(jittered(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        })
        .await;
    }

    /// Once a start: the cluster's settings may have changed since this machine joined.
    async fn refresh(&mut self) {
        let mut wait = Duration::from_secs(1);
        loop {
            for server in self.servers.candidates() {
                let tls = self.tls.borrow().clone();
                match Caller::new(&server, &tls)
                    .request("GET", apiserver::agents::SETTINGS_PATH, "", String::new())
                    .await
                {
                    Ok(answer) if answer.status.is_success() => {
                        let said: Option<Known> = serde_json::from_slice(&answer.body).ok();
                        if let Some(Err(error)) = said.map(|s| self.member.learn(s.settings)) {
                            tracing::warn!(%error, "the cluster's settings were not kept");
                        }
                        return;
                    }
                    Ok(answer) if answer.status == 401 => return self.refused().await,
                    Ok(_) => return,
                    Err(error) => tracing::debug!(server, %error, "no settings"),
                }
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The node's certificate counts no more.
    async fn refused(&mut self) {
        let Some(token) = &self.token else {
            tracing::error!("the server refuses this node's certificate; to join anew, give a token");
            return;
        };
        tracing::warn!("the server refuses this node's certificate; joining anew");
        let dir = self.member.dir().to_owned();
        match Member::join(&dir, &self.node, &self.password, token, &self.servers).await {
            Ok(member) => {
                self.member = member;
                match self.member.tls() {
                    Ok(tls) => drop(self.tls.send_replace(tls)),
                    Err(error) => tracing::error!(%error, "the new certificate cannot be used"),
                }
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "this machine cannot join anew"),
        }
    }

    /// Sleeps for two thirds of the certificate's life, less up to a tenth of it.
    async fn until_due(&self) {
        let Ok((from, to)) = self.member.identity.validity() else { return };
        let life = to.duration_since(from + pki::BACKDATE).unsigned_abs();
        let due =
            from + pki::BACKDATE + SignedDuration::try_from(life * 2 / 3 - jittered(life / 10)).unwrap_or_default();
        loop {
            let left = due.duration_since(Timestamp::now());
            match Duration::try_from(left) {
                Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
                _ => return,
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let expired = self.member.identity.validity()?.1 < Timestamp::now();
        match &self.token {
            Some(token) if expired => {
                let dir = self.member.dir().to_owned();
                self.member = Member::join(&dir, &self.node, &self.password, token, &self.servers).await?;
            }
            _ => {
                let identity = request(&*self.client, &self.node).await?;
                self.member.renewed(identity)?;
            }
        }
        tracing::info!("the node's certificate was renewed");
        self.tls.send_replace(self.member.tls()?);
        Ok(())
    }
}

/// A new key and certificate, asked for as the node that this is.
async fn request(client: &dyn Client, node: &str) -> Result<Identity> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let target = Target::all(Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests"));
    let asked = SigningRequest::new(&Profile::node(node))?;
    let tree = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "node-csr-"},
        "spec": {"request": STANDARD.encode(&asked.pem), "signerName": SIGNER,
            "usages": ["digital signature", "client auth"]},
    });
    let made = client.create(&target, tree, &WriteOptions::default()).await?;
    let signed = async {
        let select = ListOptions { fields: format!("metadata.name={}", made.name()), ..ListOptions::default() };
        let mut changes = client.watch(&target, &select, made.revision()).await?;
        while let Some(change) = std::future::poll_fn(|cx| changes.as_mut().poll_next(cx)).await {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = change? else { continue };
            let tree = object.tree();
            if let Some(certificate) = tree["status"]["certificate"].as_str() {
                let pem = STANDARD.decode(certificate).context("status.certificate")?;
                return String::from_utf8(pem).context("status.certificate");
            }
        }
        bail!("the watch ended early")
    };
    let certificate = tokio::time::timeout(SIGNED, signed).await.context("nobody has signed it")??;
    Ok(asked.identity(certificate))
}
