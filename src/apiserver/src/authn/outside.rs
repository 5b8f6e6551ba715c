//! Authenticators outside of the server: an OpenID Connect provider, and a webhook that reviews tokens
//! (`--authentication-token-webhook-config-file`). Their answers are remembered.

use std::sync::Arc;
use std::time::Duration;

use api::Value;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::cache::Cache;
use super::oidc::Oidc;
use crate::User;
use crate::outbound::Outbound;

/// `--authentication-token-webhook-cache-ttl`
pub const CACHE_TTL: Duration = Duration::from_secs(120);

pub struct Webhook {
    pub to: Outbound,
    pub ttl: Duration,
    seen: Cache<[u8; 32], (Instant, Option<Arc<User>>)>,
}

#[derive(Default)]
pub struct Outside {
    pub oidc: Option<Oidc>,
    pub webhook: Option<Webhook>,
}

impl Webhook {
    pub fn new(to: Outbound, ttl: Duration) -> Webhook {
        Webhook { to, ttl, seen: Cache::new(4096) }
    }

    /// `None`: not asked lately. `Some(None)`: refused.
    fn recall(&self, token: &str) -> Option<Option<Arc<User>>> {
        let key: [u8; 32] = Sha256::digest(token).into();
        self.seen.get(&key).filter(|(at, _)| at.elapsed() < self.ttl).map(|(_, user)| user)
    }

    async fn ask(&self, token: &str) -> Result<Arc<User>, String> {
        let refused = || "the webhook does not know the token".to_owned();
        if let Some(known) = self.recall(token) {
            return known.ok_or_else(refused);
        }
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let (code, body) = self.to.post(&review).await?;
        if !(200..300).contains(&code) {
            return Err(format!("the token webhook answers {code}"));
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|e| format!("the token webhook's answer: {e}"))?;
        let user = (answer["status"]["authenticated"] == true).then(|| user(&answer["status"]["user"]));
        self.seen.put(Sha256::digest(token).into(), (Instant::now(), user.clone()));
        user.ok_or_else(refused)
    }
}

fn user(info: &Value) -> Arc<User> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = |v: &Value| v.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mut groups = list(&info["groups"]);
    if !groups.iter().any(|g| g == "system:authenticated") {
        groups.push("system:authenticated".into());
    }
    let extra = info["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), list(v))).collect();
    Arc::new(User { name: text(&info["username"]), uid: text(&info["uid"]), groups, extra })
}

impl Outside {
    pub fn is_empty(&self) -> bool {
        self.oidc.is_none() && self.webhook.is_none()
    }

    /// From memory.
    pub fn recall(&self, token: &str) -> Option<Arc<User>> {
        if let Some(oidc) = self.oidc.as_ref().filter(|o| o.issued(token)) {
            return oidc.verify(token).ok();
        }
        self.webhook.as_ref()?.recall(token)?
    }

    pub async fn ask(&self, token: &str) -> Result<Arc<User>, String> {
        if let Some(oidc) = self.oidc.as_ref().filter(|o| o.issued(token)) {
            return oidc.ask(token).await;
        }
        match &self.webhook {
            Some(webhook) => webhook.ask(token).await,
            None => Err("invalid bearer token".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_webhook_is_asked_once_per_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Outbound::new(&format!("http://{}/review", listener.local_addr().unwrap()), None).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"}}") {
                    let mut more = vec![0; 4096];
                    let n = socket.read(&mut more).await.unwrap();
                    request.extend_from_slice(&more[..n]);
                }
                count.fetch_add(1, Ordering::Relaxed);
                let good = String::from_utf8_lossy(&request).contains("\"good\"");
                let user = json!({"username": "ann", "groups": ["g"], "extra": {"k": ["v"]}});
                let body = json!({"status": {"authenticated": good, "user": user}}).to_string();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let outside = Outside { oidc: None, webhook: Some(Webhook::new(to, CACHE_TTL)) };
        assert!(outside.recall("good").is_none());
        for _ in 0..3 {
            let user = outside.ask("good").await.unwrap();
            assert_eq!(
                (user.name.as_str(), &*user.groups),
                ("ann", &["g".to_owned(), "system:authenticated".into()][..])
            );
            assert!(outside.ask("bad").await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(outside.recall("good").unwrap().name, "ann");
    }
}
