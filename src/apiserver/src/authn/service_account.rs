//! Service-account tokens: issued and verified. Upstream's `pkg/serviceaccount`.
//!
//! A token is an ES256 JWT that is good while its account (and the pod, secret or node it is bound to) is there with the same
//! uid. The signature is checked once per token; that its objects still stand is looked up at every use.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Object, Value};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use crate::User;
use crate::lookup::Lookup;

/// How long a token outlives the deletion of its account or pod: they may still clean up.
const LEEWAY_SECONDS: i64 = 60;

/// Groups of the accounts in `namespace`.
pub fn groups_of(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Private,
    nbf: i64,
    sub: String,
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
    claims: Arc<Claims>,
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
        validation.set_issuer(&[&issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        ServiceAccounts {
            encoding: EncodingKey::from_ec_der(key),
            decoding: DecodingKey::from_ec_der(public),
            validation,
            issuer,
            jwk: jwk(public),
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
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
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
            sub: format!("system:serviceaccount:{}:{}", r.namespace, r.account),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(api::Status::internal)?;
        Ok(Issued { token, audiences, expires: claims.exp })
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
        self.stands(&verified.claims)?;
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let audiences: Vec<String> = wanted.iter().filter(|a| verified.claims.aud.contains(a)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {:?} is invalid for the target audiences {wanted:?}",
                verified.claims.aud
            ));
        }
        Ok(Review { user: verified.user, audiences })
    }

    fn verify(&self, token: &str) -> Result<Verified, String> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| "invalid bearer token".to_owned())?
            .claims;
        let k = &claims.kubernetes;
        let name = format!("system:serviceaccount:{}:{}", k.namespace, k.serviceaccount.name);
        if claims.sub != name {
            return Err("invalid bearer token".into());
        }
        let mut groups = groups_of(&k.namespace);
        groups.push("system:authenticated".into());
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        note("credential-id", format!("JTI={}", claims.jti));
        if let Some(pod) = &k.pod {
            note("pod-name", pod.name.clone());
            note("pod-uid", pod.uid.clone());
        }
        if let Some(node) = &k.node {
            note("node-name", node.name.clone());
            note("node-uid", node.uid.clone());
        }
        let user = User { name, uid: k.serviceaccount.uid.clone(), groups, extra };
        Ok(Verified { user: Arc::new(user), claims: Arc::new(claims) })
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
        let bound = |resource: &str, namespace: &str, r: &Reference| match self.lookup.get(resource, namespace, &r.name)
        {
            Some(o) if o.uid() == r.uid && !gone(&o, now) => Ok(()),
            _ => Err("service account token has been invalidated".to_owned()),
        };
        bound("serviceaccounts", &k.namespace, &k.serviceaccount)?;
        if let Some(pod) = &k.pod {
            return bound("pods", &k.namespace, pod);
        }
        if let Some(secret) = &k.secret {
            return bound("secrets", &k.namespace, secret);
        }
        k.node.as_ref().map_or(Ok(()), |node| bound("nodes", "", node))
    }
}

/// A P-256 point (SEC 1, uncompressed) as a JSON Web Key, named by its hash.
fn jwk(point: &[u8]) -> Value {
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    json!({
        "use": "sig", "kty": "EC", "kid": base64(&Sha256::digest(point)), "crv": "P-256", "alg": "ES256",
        "x": base64(x), "y": base64(y),
    })
}

/// Whether `object`'s deletion lies further back than the leeway.
fn gone(object: &Object, now: i64) -> bool {
    let at = object.meta().deletion_timestamp.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    at.is_some_and(|t| t.as_second() + LEEWAY_SECONDS < now)
}

#[cfg(test)]
pub mod tests {
    use jiff::Timestamp;
    use parking_lot::Mutex;

    use super::*;
    use crate::lookup::fake::Cluster;

    pub struct SetClock(pub Mutex<i64>);
    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(*self.0.lock()).unwrap()
        }
    }

    pub fn fixture() -> (Arc<Cluster>, Arc<SetClock>, ServiceAccounts) {
        let dir = tempfile::tempdir().unwrap();
        let options = pki::Options {
            node_name: "n".into(),
            node_ips: vec![],
            service_ips: vec![],
            cluster_domain: "cluster.local".into(),
            extra_hosts: vec![],
            token: None,
        };
        let keys = pki::Pki::open(dir.path(), &options).unwrap();
        let (cluster, clock) = (Arc::new(Cluster::default()), Arc::new(SetClock(Mutex::new(1_800_000_000))));
        cluster.put("serviceaccounts", json!({"metadata": {"name": "bot", "namespace": "ns", "uid": "u1"}}));
        cluster.put("pods", json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u2"}}));
        let accounts = ServiceAccounts::new(
            &keys.service_account_key,
            &keys.service_account_public_key,
            "cluster.local",
            cluster.clone(),
            clock.clone(),
        );
        (cluster, clock, accounts)
    }
    fn request(audiences: &[&str], bound: Bound) -> Request {
        Request {
            namespace: "ns".into(),
            account: "bot".into(),
            account_uid: "u1".into(),
            audiences: audiences.iter().map(|a| (*a).into()).collect(),
            seconds: 600,
            warn_after: None,
            bound,
        }
    }

    #[test]
    fn a_token_names_its_account_and_pod_while_both_stand() {
        let (cluster, clock, accounts) = fixture();
        let bound = Bound::Pod("p".into(), "u2".into(), Some(("n1".into(), "u3".into())));
        let token = accounts.issue(request(&[], bound)).unwrap().token;
        let user = accounts.authenticate(&token).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:bot", "u1"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);

        *clock.0.lock() += 599;
        assert!(accounts.authenticate(&token).is_ok());
        *clock.0.lock() += 1;
        assert_eq!(accounts.authenticate(&token).unwrap_err(), "service account token has expired");
        *clock.0.lock() -= 300;
        cluster.put("pods", json!({"metadata": {"name": "p", "namespace": "ns", "uid": "reborn"}}));
        assert_eq!(accounts.authenticate(&token).unwrap_err(), "service account token has been invalidated");
        cluster.put("pods", json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u2"}}));
        assert!(accounts.authenticate(&token).is_ok());
        cluster.remove("serviceaccounts", "ns", "bot");
        assert!(accounts.authenticate(&token).is_err());
    }

    #[test]
    fn a_token_is_for_its_audiences_only() {
        let (_, _, accounts) = fixture();
        let token = accounts.issue(request(&["vault", "other"], Bound::Account)).unwrap().token;
        assert!(accounts.authenticate(&token).is_err());
        let review = accounts.review(&token, &["vault".into(), "x".into()]).unwrap();
        assert_eq!(review.audiences, ["vault"]);
    }

    #[test]
    fn others_can_verify_with_the_published_key() {
        let (_, _, accounts) = fixture();
        let token = accounts.issue(request(&["vault"], Bound::Account)).unwrap().token;
        let key = &accounts.key_set()["keys"][0];
        let text = |k: &str| key[k].as_str().unwrap();
        let decoding = DecodingKey::from_ec_components(text("x"), text("y")).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let read = jsonwebtoken::decode::<Claims>(&token, &decoding, &validation).unwrap();
        assert_eq!(read.header.kid.as_deref(), Some(text("kid")));
        assert_eq!(accounts.discovery()["issuer"], read.claims.iss);
    }

    #[test]
    fn strangers_tokens_are_refused() {
        let ((_, _, mine), (_, _, theirs)) = (fixture(), fixture());
        let token = theirs.issue(request(&[], Bound::Account)).unwrap().token;
        assert_eq!(mine.authenticate(&token).unwrap_err(), "invalid bearer token");
        assert!(mine.authenticate("a.b.c").is_err() && mine.authenticate("").is_err());
        let mut forged = mine.issue(request(&[], Bound::Account)).unwrap().token;
        forged.replace_range(40..41, if forged.as_bytes()[40] == b'x' { "y" } else { "x" });
        assert!(mine.authenticate(&forged).is_err());
    }
}
