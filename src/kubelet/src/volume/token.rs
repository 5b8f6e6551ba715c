//! Service account tokens for projected volumes: asked of the API, renewed at four fifths of their life.
//! Upstream's `token.Manager`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Resource;
use api::k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use client::{Client, Target, WriteOptions};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::{Error, Result};

struct Token {
    text: String,
    renew: Instant,
}

/// The tokens of one pod, by audience and life.
#[derive(Default)]
pub(crate) struct Tokens {
    tokens: BTreeMap<(String, i64), Token>,
}

impl Tokens {
    /// The present token, or a new one where it is due. A failed renewal keeps the old one.
    pub async fn get(
        &mut self,
        client: &Arc<dyn Client>,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String> {
        let audience = wanted.audience.clone().unwrap_or_default();
        let life = wanted.expiration_seconds.unwrap_or(3600);
        let key = (audience, life);
        let now = Instant::now();
        if let Some(t) = self.tokens.get(&key).filter(|t| t.renew > now) {
            return Ok(t.text.clone());
        }
        match request(client, pod, &key.0, life).await {
            Ok((text, valid)) => {
                // a year-long token is renewed daily, as upstream
                let renew = now + valid.mul_f64(0.8).min(Duration::from_secs(24 * 3600));
                self.tokens.insert(key, Token { text: text.clone(), renew });
                Ok(text)
            }
            Err(error) => match self.tokens.get_mut(&key) {
                Some(old) => {
                    tracing::warn!(%error, "a service account token was not renewed");
                    old.renew = now + Duration::from_secs(10);
                    Ok(old.text.clone())
                }
                None => Err(error),
            },
        }
    }

    /// When the first is due.
    pub fn due(&self) -> Option<Instant> {
        self.tokens.values().map(|t| t.renew).min()
    }
}

async fn request(client: &Arc<dyn Client>, pod: &Pod, audience: &str, life: i64) -> Result<(String, Duration)> {
    let m = &pod.metadata;
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
    let namespace = m.namespace.as_deref().unwrap_or("");
    let audiences: Vec<&str> = Some(audience).filter(|a| !a.is_empty()).into_iter().collect();
    let tree = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "metadata": {"name": account, "namespace": namespace},
        "spec": {"audiences": audiences, "expirationSeconds": life,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": m.name, "uid": m.uid}},
    });
    let target = Target::one(ServiceAccount::gvr(), namespace, account).sub("token");
    let answer = client.create(&target, tree, &WriteOptions::default()).await?.tree();
    let text = answer.pointer("/status/token").and_then(|t| t.as_str());
    let text = text.ok_or_else(|| Error::config("the answer to a TokenRequest has no token"))?.to_owned();
    let expires = answer.pointer("/status/expirationTimestamp").and_then(|t| t.as_str());
    let valid = expires
        .and_then(|t| t.parse::<Timestamp>().ok())
        .and_then(|t| u64::try_from(t.as_second() - Timestamp::now().as_second()).ok())
        .unwrap_or(life.max(0) as u64);
    Ok((text, Duration::from_secs(valid)))
}
