//! OpenID Connect: tokens of an identity provider. Upstream's `plugin/pkg/authenticator/token/oidc` with its `--oidc-*` flags.
//!
//! The provider's keys are fetched when the first token comes that needs them, and again when one names a key that is not
//! known, at most every ten seconds. With the key at hand a token is checked from memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::Value;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::User;
use crate::outbound::Outbound;

const PAUSE: Duration = Duration::from_secs(10);

/// `--oidc-*`
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub issuer_url: String,
    pub client_id: String,
    pub username_claim: String,
    /// `None`: the issuer and `#`, but for emails; `-`: none.
    pub username_prefix: Option<String>,
    pub groups_claim: Option<String>,
    pub groups_prefix: String,
    pub required_claims: Vec<(String, String)>,
    pub signing_algs: Vec<String>,
    pub ca_file: Option<PathBuf>,
}

pub struct Oidc {
    o: Options,
    algorithms: Vec<Algorithm>,
    provider: Outbound,
    keys: RwLock<JwkSet>,
    fetched: tokio::sync::Mutex<Option<Instant>>,
}

/// Why a token is not good.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// Signed with a key that is not known (yet).
    Key,
    Because(String),
}

fn because(why: impl std::fmt::Display) -> Refused {
    Refused::Because(why.to_string())
}

impl Oidc {
    /// Errors with what is wrong with the options.
    pub fn new(o: Options) -> Result<Oidc, String> {
        if !o.issuer_url.starts_with("https://") {
            return Err(format!("--oidc-issuer-url {}: must be https", o.issuer_url));
        }
        let ca = match &o.ca_file {
            Some(path) => Some(std::fs::read(path).map_err(|e| format!("--oidc-ca-file {}: {e}", path.display()))?),
            None => None,
        };
        let provider = Outbound::new(&o.issuer_url, ca.as_deref())?;
        Oidc::over(provider, o)
    }

    fn over(provider: Outbound, o: Options) -> Result<Oidc, String> {
        if o.client_id.is_empty() {
            return Err("--oidc-client-id is needed with --oidc-issuer-url".into());
        }
        let one = |name: &String| match name.parse() {
            Ok(a) if !matches!(a, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) => Ok(a),
            _ => Err(format!("--oidc-signing-algs: {name} is not supported")),
        };
        let algorithms = o.signing_algs.iter().map(one).collect::<Result<_, _>>()?;
        Ok(Oidc {
            o,
            algorithms,
            provider,
            keys: RwLock::new(JwkSet { keys: Vec::new() }),
            fetched: Default::default(),
        })
    }

    /// Whether a token says that it is of this provider; nothing is checked.
    pub fn issued(&self, token: &str) -> bool {
        let payload = token.split('.').nth(1).and_then(|p| URL_SAFE_NO_PAD.decode(p).ok());
        let claims: Option<Value> = payload.and_then(|p| serde_json::from_slice(&p).ok());
        claims.is_some_and(|c| c["iss"] == self.o.issuer_url.as_str())
    }

    /// The user of a token, with the keys at hand.
    pub fn verify(&self, token: &str) -> Result<Arc<User>, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(because)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(because(format!("signing algorithm {:?} is not allowed", header.alg)));
        }
        let key = {
            let keys = self.keys.read();
            let found = match &header.kid {
                Some(kid) => keys.find(kid),
                None => keys.keys.first().filter(|_| keys.keys.len() == 1),
            };
            DecodingKey::from_jwk(found.ok_or(Refused::Key)?).map_err(because)?
        };
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.o.issuer_url]);
        validation.set_audience(&[&self.o.client_id]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.validate_nbf = true;
        validation.leeway = 10;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(because)?.claims;
        self.user(&claims).map(Arc::new)
    }

    fn user(&self, claims: &Value) -> Result<User, Refused> {
        let o = &self.o;
        for (claim, value) in &o.required_claims {
            if claims[claim] != value.as_str() {
                return Err(because(format!("required claim {claim} is not {value}")));
            }
        }
        let name = claims[&o.username_claim].as_str().filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| because(format!("claim {} is not there", o.username_claim)))?;
        let email = o.username_claim == "email";
        if email && claims.get("email_verified").is_some_and(|v| *v != true) {
            return Err(because("the email is not verified"));
        }
        let prefix = match o.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if email => String::new(),
            None => format!("{}#", o.issuer_url),
        };
        let mut groups = match o.groups_claim.as_ref().map(|c| &claims[c]) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(one)) => vec![format!("{}{one}", o.groups_prefix)],
            Some(Value::Array(all)) => {
                let text = |g: &Value| g.as_str().map(|g| format!("{}{g}", o.groups_prefix));
                let all: Option<Vec<String>> = all.iter().map(text).collect();
                all.ok_or_else(|| because("the groups claim holds what is no text"))?
            }
            Some(_) => return Err(because("the groups claim is no list of texts")),
        };
        groups.push("system:authenticated".into());
        let mut user = User { name: format!("{prefix}{name}"), groups, ..User::default() };
        if let Some(id) = claims["jti"].as_str() {
            user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={id}")]);
        }
        Ok(user)
    }

    /// The user of a token, after asking the provider for its keys if need be.
    pub async fn ask(&self, token: &str) -> Result<Arc<User>, String> {
        match self.verify(token) {
            Err(Refused::Key) => self.refresh().await?,
            Err(Refused::Because(why)) => return Err(why),
            Ok(user) => return Ok(user),
        }
        self.verify(token).map_err(|e| match e {
            Refused::Key => "it is signed with a key that the provider does not have".into(),
            Refused::Because(why) => why,
        })
    }

    async fn refresh(&self) -> Result<(), String> {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        *fetched = Some(Instant::now());
        let base = self.o.issuer_url.trim_end_matches('/');
        let document: Value = self.fetch(&format!("{base}/.well-known/openid-configuration")).await?;
        if document["issuer"] != self.o.issuer_url.as_str() {
            return Err(format!("the provider is {}, not {}", document["issuer"], self.o.issuer_url));
        }
        let keys = document["jwks_uri"].as_str().ok_or("the provider has no jwks_uri")?;
        *self.keys.write() = self.fetch(keys).await?;
        Ok(())
    }

    async fn fetch<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let (code, body) = self.provider.at(url)?.get().await?;
        if code != 200 {
            return Err(format!("{url}: {code}"));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{url}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::authn::ServiceAccounts;

    /// A provider that counts how often it is asked for its keys.
    async fn provider(keys: Value) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (own, asked) = (url.clone(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let n = socket.read(&mut head).await.unwrap();
                let body = match String::from_utf8_lossy(&head[..n]).contains("/.well-known/") {
                    true => json!({"issuer": own, "jwks_uri": format!("{own}/keys")}).to_string(),
                    false => {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        keys.to_string()
                    }
                };
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_providers_tokens_name_users_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let options = pki::Options {
            node_name: "n".into(),
            node_ips: vec![],
            service_ips: vec![],
            cluster_domain: "cluster.local".into(),
            extra_hosts: vec![],
            token: None,
            agent_token: None,
        };
        let pki = pki::Pki::open(dir.path(), &options).unwrap();
        let (key, point) = (&pki.service_account_key, &pki.service_account_public_key);
        let lookup = Arc::new(crate::lookup::fake::Cluster::default());
        let accounts = ServiceAccounts::new(key, point, "x", lookup, Arc::new(client::SystemClock));
        let set = accounts.key_set();
        let (url, asked) = provider(set.clone()).await;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = set["keys"][0]["kid"].as_str().map(str::to_owned);
        let now = jiff::Timestamp::now().as_second();
        let token = |change: Value| {
            let mut claims =
                json!({"iss": url, "aud": "kube", "exp": now + 600, "sub": "ann", "groups": ["dev", "ops"], "hd": "x"});
            for (key, value) in change.as_object().unwrap() {
                claims[key] = value.clone();
            }
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(key)).unwrap()
        };
        let oidc = Oidc::over(
            Outbound::new(&url, None).unwrap(),
            Options {
                issuer_url: url.clone(),
                client_id: "kube".into(),
                username_claim: "sub".into(),
                username_prefix: Some("oidc:".into()),
                groups_claim: Some("groups".into()),
                groups_prefix: "oidc:".into(),
                required_claims: vec![("hd".into(), "x".into())],
                signing_algs: vec!["ES256".into()],
                ..Options::default()
            },
        )
        .unwrap();
        let good = token(json!({}));
        assert!(oidc.issued(&good) && !oidc.issued("a.b.c"));
        assert_eq!(oidc.verify(&good), Err(Refused::Key));
        let user = oidc.ask(&good).await.unwrap();
        assert_eq!(user.name, "oidc:ann");
        assert_eq!(user.groups, ["oidc:dev", "oidc:ops", "system:authenticated"]);
        assert_eq!(oidc.verify(&good).unwrap(), user, "from memory by now");
        for (bad, why) in [
            (json!({"exp": now - 60}), "Expired"),
            (json!({"aud": "other"}), "Audience"),
            (json!({"iss": "https://other"}), "Issuer"),
            (json!({"hd": "y"}), "required claim hd"),
            (json!({"sub": ""}), "claim sub"),
            (json!({"groups": 7}), "groups claim"),
            (json!({"nbf": now + 600}), "ImmatureSignature"),
        ] {
            let error = oidc.ask(&token(bad.clone())).await.unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let mut parts: Vec<&str> = good.split('.').collect();
        parts[2] = "AAAA";
        assert!(oidc.ask(&parts.join(".")).await.is_err());
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn bad_options_are_told() {
        let o = |issuer: &str, client: &str, alg: &str| {
            let signing_algs = vec![alg.to_owned()];
            let o = Options { issuer_url: issuer.into(), client_id: client.into(), signing_algs, ..Options::default() };
            Oidc::new(o).err().unwrap_or_default()
        };
        assert!(o("http://x", "c", "RS256").contains("must be https"));
        assert!(o("https://x", "", "RS256").contains("--oidc-client-id"));
        assert!(o("https://x", "c", "HS256").contains("not supported"));
        assert_eq!(o("https://x", "c", "RS256"), "");
    }
}
