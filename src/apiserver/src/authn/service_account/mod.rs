//! Service-account tokens: issued and verified. Upstream's `pkg/serviceaccount`.
//!
//! A token is an ES256 JWT that is good while its account (and the pod, secret or node it is bound to) is there with the same
//! uid. The signature is checked once per token; that its objects still stand is looked up at every use.

mod claims;
mod key;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use api::{Object, Value};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use crate::User;
use crate::lookup::Lookup;
use claims::{Claims, LEGACY_ISSUER, Legacy, Private, Reference, Said, user_name};

/// How long a token outlives the deletion of its account or pod: they may still clean up.
const LEEWAY_SECONDS: i64 = 60;

/// Groups of the accounts in `namespace`.
pub fn groups_of(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

/// What a token is bound to beside its account.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Bound {
    #[default]
    Account,
    /// Name and uid; the node (name and uid) that the pod runs on.
    Pod(String, String, Option<(String, String)>),
    Secret(String, String),
    Node(String, String),
}

/// What to put on a token.
pub struct Request {
    pub namespace: String,
    pub account: String,
    pub account_uid: String,
    /// Empty: the API server's own.
    pub audiences: Vec<String>,
    pub seconds: i64,
    /// The kubelet renews the token after these; set for tokens that live longer than asked.
    pub warn_after: Option<i64>,
    pub bound: Bound,
}

pub struct Issued {
    pub token: String,
    pub audiences: Vec<String>,
    /// Unix seconds.
    pub expires: i64,
}

/// What a token review finds.
pub struct Review {
    pub user: Arc<User>,
    pub audiences: Vec<String>,
}

#[derive(Clone)]
struct Verified {
    user: Arc<User>,
    said: Arc<Said>,
}

pub struct ServiceAccounts {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    /// The public key as others may have it.
    jwk: Value,
    lookup: Arc<dyn Lookup>,
    clock: Arc<dyn Clock>,
    seen: Cache<[u8; 32], Verified>,
}

impl ServiceAccounts {
    /// `key`: PKCS#8 DER, `public`: the SEC 1 point, as [`pki::Pki`] has them.
    pub fn new(
        key: &[u8],
        public: &[u8],
        cluster_domain: &str,
        lookup: Arc<dyn Lookup>,
        clock: Arc<dyn Clock>,
    ) -> ServiceAccounts {
        let issuer = format!("https://kubernetes.default.svc.{cluster_domain}");
        let mut validation = Validation::new(Algorithm::ES256);
        // times are checked against the injected clock, audiences by whoever asks
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.set_issuer(&[issuer.as_str(), LEGACY_ISSUER]);
        validation.set_required_spec_claims(&["iss", "sub"]);
        ServiceAccounts {
            encoding: EncodingKey::from_ec_der(key),
            decoding: DecodingKey::from_ec_der(public),
            validation,
            issuer,
            jwk: key::jwk(public),
            lookup,
            clock,
            seen: Cache::new(1024),
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What `/openid/v1/jwks` says.
    pub fn key_set(&self) -> Value {
        json!({"keys": [self.jwk]})
    }
    /// What `/.well-known/openid-configuration` says.
    pub fn discovery(&self) -> Value {
        key::discovery(&self.issuer)
    }

    pub fn issue(&self, r: Request) -> Result<Issued, api::Status> {
        let now = self.clock.now().as_second();
        let audiences = if r.audiences.is_empty() { vec![self.issuer.clone()] } else { r.audiences };
        let reference = |name, uid| Some(Reference { name, uid });
        let mut private = Private {
            namespace: r.namespace.clone(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Reference { name: r.account.clone(), uid: r.account_uid },
            warnafter: r.warn_after.map(|s| now + s),
        };
        match r.bound {
            Bound::Account => {}
            Bound::Pod(name, uid, node) => {
                private.pod = reference(name, uid);
                private.node = node.and_then(|(name, uid)| reference(name, uid));
            }
            Bound::Secret(name, uid) => private.secret = reference(name, uid),
            Bound::Node(name, uid) => private.node = reference(name, uid),
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + r.seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: private,
            nbf: now,
            sub: user_name(&r.namespace, &r.account),
        };
        Ok(Issued { token: self.sign(&claims)?, audiences, expires: claims.exp })
    }

    /// A token without an end, for the Secret in which it is to live.
    pub fn issue_legacy(
        &self,
        namespace: &str,
        account: &str,
        account_uid: &str,
        secret: &str,
    ) -> Result<String, api::Status> {
        self.sign(&Legacy {
            iss: LEGACY_ISSUER.into(),
            namespace: namespace.into(),
            secret: secret.into(),
            account: account.into(),
            account_uid: account_uid.into(),
            sub: user_name(namespace, account),
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, api::Status> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(api::Status::internal)
    }

    /// The account of a token for the API server itself.
    pub fn authenticate(&self, token: &str) -> Result<Arc<User>, String> {
        self.review(token, &[]).map(|r| r.user)
    }

    /// The account of a token that is for one of `audiences` (empty: the API server), and for which of them.
    pub fn review(&self, token: &str, audiences: &[String]) -> Result<Review, String> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let verified = match self.seen.get(&key) {
            Some(v) => v,
            None => {
                let v = self.verify(token)?;
                self.seen.put(key, v.clone());
                v
            }
        };
        let own = vec![self.issuer.clone()];
        let written = match &*verified.said {
            Said::Bound(claims) => {
                self.stands(claims)?;
                &claims.aud
            }
            Said::Legacy(claims) => {
                self.holds(claims, token)?;
                &own
            }
        };
        let wanted = if audiences.is_empty() { &own } else { audiences };
        let audiences: Vec<String> = wanted.iter().filter(|a| written.contains(a)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!("token audiences {written:?} is invalid for the target audiences {wanted:?}"));
        }
        Ok(Review { user: verified.user, audiences })
    }

    fn verify(&self, token: &str) -> Result<Verified, String> {
        let invalid = || "invalid bearer token".to_owned();
        let data = jsonwebtoken::decode::<Value>(token, &self.decoding, &self.validation).map_err(|_| invalid())?;
        let said = Said::read(data.claims).ok_or_else(invalid)?;
        Ok(Verified { user: Arc::new(said.user()), said: Arc::new(said) })
    }

    /// Whether the token's time and the objects it speaks of still are.
    fn stands(&self, claims: &Claims) -> Result<(), String> {
        let now = self.clock.now().as_second();
        if claims.exp <= now {
            return Err("service account token has expired".into());
        }
        if claims.nbf > now + LEEWAY_SECONDS {
            return Err("service account token is not valid yet".into());
        }
        let k = &claims.kubernetes;
        self.bound("serviceaccounts", &k.namespace, &k.serviceaccount)?;
        if let Some(pod) = &k.pod {
            return self.bound("pods", &k.namespace, pod);
        }
        if let Some(secret) = &k.secret {
            return self.bound("secrets", &k.namespace, secret);
        }
        k.node.as_ref().map_or(Ok(()), |node| self.bound("nodes", "", node))
    }

    fn bound(&self, resource: &str, namespace: &str, r: &Reference) -> Result<(), String> {
        match self.lookup.get(resource, namespace, &r.name) {
            Some(o) if o.uid() == r.uid && !gone(&o, self.clock.now().as_second()) => Ok(()),
            _ => Err("service account token has been invalidated".to_owned()),
        }
    }

    /// Whether the Secret of a token without an end still holds it.
    fn holds(&self, claims: &Legacy, token: &str) -> Result<(), String> {
        let account = Reference { name: claims.account.clone(), uid: claims.account_uid.clone() };
        self.bound("serviceaccounts", &claims.namespace, &account)?;
        let secret = self.lookup.get("secrets", &claims.namespace, &claims.secret);
        let held = secret.filter(|s| !s.meta().is_deleting()).map(|s| s.tree()["data"]["token"].take());
        match held.as_ref().and_then(Value::as_str) {
            Some(held) if held == STANDARD.encode(token) => Ok(()),
            _ => Err("service account token has been invalidated".to_owned()),
        }
    }
}

/// Whether `object`'s deletion lies further back than the leeway.
fn gone(object: &Object, now: i64) -> bool {
    let at = object.meta().deletion_timestamp.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    at.is_some_and(|t| t.as_second() + LEEWAY_SECONDS < now)
}
