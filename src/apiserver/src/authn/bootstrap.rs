//! Tokens with which machines join: the cluster's own secrets, and bootstrap tokens, which are Secrets of type
//! `bootstrap.kubernetes.io/token` in `kube-system`. Upstream's `plugin/pkg/auth/authenticator/token/bootstrap`.
//!
//! Who shows one is `system:bootstrap:<id>` in `system:bootstrappers`. That alone allows nothing: joining asks for more.

use std::collections::VecDeque;
use std::sync::Arc;

use api::{Cause, Object, Status, Value};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::Clock;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use pki::{JoinToken, Secret, same_secret};
use sha2::{Digest, Sha256};
use tunnel::Refusal;

use crate::{Lookup, User};

pub const NAMESPACE: &str = "kube-system";
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// The `<id>` of those who show the cluster's own secret: no bootstrap token has one of this form.
const OWN: &str = "join-token";
/// Of tokens that were cleaned up, so many are remembered, to tell their holders.
const REMEMBERED: usize = 1024;

/// The cluster's own secrets: one to join servers and agents, one for agents only.
pub struct OwnSecrets {
    pub server: JoinToken,
    pub agent: JoinToken,
}

pub struct BootstrapTokens {
    own: RwLock<OwnSecrets>,
    lookup: Arc<dyn Lookup>,
    clock: Arc<dyn Clock>,
    /// Digests of tokens that have expired.
    expired: Mutex<VecDeque<[u8; 32]>>,
}

fn digest(id: &str, secret: &str) -> [u8; 32] {
    Sha256::digest(format!("{id}.{secret}")).into()
}

/// An entry of a Secret's `data`.
pub fn entry(tree: &Value, key: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(tree["data"][key].as_str()?).ok()?).ok()
}

/// When a bootstrap token's Secret ends, if it does. `Err`: what it says is no time, which upstream takes for expired.
pub fn expiration(tree: &Value) -> Result<Option<Timestamp>, jiff::Error> {
    match entry(tree, "expiration") {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => text.parse().map(Some),
    }
}

/// `auth-extra-groups`: `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(plain)
}

impl BootstrapTokens {
    pub fn new(own: OwnSecrets, lookup: Arc<dyn Lookup>, clock: Arc<dyn Clock>) -> BootstrapTokens {
        BootstrapTokens { own: RwLock::new(own), lookup, clock, expired: Mutex::default() }
    }

    /// From now on these.
    pub fn replace(&self, own: OwnSecrets) {
        *self.own.write() = own;
    }

    /// `Ok(None)`: none of ours, perhaps another authenticator's. `Err`: one that has expired.
    pub fn authenticate(&self, token: &str) -> Result<Option<Arc<User>>, Status> {
        match Secret::parse(token) {
            Ok(Secret::Bootstrap { id, secret }) => self.bootstrap(&id, &secret),
            Ok(Secret::Password { secret, .. }) if token.contains(':') => {
                let own = self.own.read();
                let is = |t: &JoinToken| t.own_secret().is_some_and(|own| same_secret(own, &secret));
                // both are compared, whichever it is
                Ok((is(&own.agent) | is(&own.server)).then(|| user(OWN, Vec::new())))
            }
            _ => Ok(None),
        }
    }

    fn bootstrap(&self, id: &str, secret: &str) -> Result<Option<Arc<User>>, Status> {
        let name = format!("bootstrap-token-{id}");
        let Some(object) = self.lookup.get("secrets", NAMESPACE, &name) else {
            let was = self.expired.lock().contains(&digest(id, secret));
            return if was { Err(has_expired()) } else { Ok(None) };
        };
        let tree = object.tree();
        let is = |key, value: &str| entry(&tree, key).is_some_and(|have| same_secret(&have, value));
        if tree["type"] != TYPE || object.meta().is_deleting() || !(is("token-secret", secret) & is("token-id", id)) {
            return Ok(None);
        }
        if !expiration(&tree).is_ok_and(|end| end.is_none_or(|end| end > self.clock.now())) {
            return Err(has_expired());
        }
        if entry(&tree, "usage-bootstrap-authentication").as_deref() != Some("true") {
            return Ok(None);
        }
        let extra = entry(&tree, "auth-extra-groups").unwrap_or_default();
        let groups: Vec<String> = extra.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect();
        if !groups.iter().all(|g| is_group(g)) {
            return Ok(None);
        }
        Ok(Some(user(id, groups)))
    }

    /// A token's Secret is about to be cleaned up.
    pub fn remember(&self, object: &Object) {
        let tree = object.tree();
        if let (Some(id), Some(secret)) = (entry(&tree, "token-id"), entry(&tree, "token-secret")) {
            let mut expired = self.expired.lock();
            expired.truncate(REMEMBERED - 1);
            expired.push_front(digest(&id, &secret));
        }
    }
}

fn user(id: &str, mut groups: Vec<String>) -> Arc<User> {
    groups.extend([GROUP.into(), "system:authenticated".into()]);
    Arc::new(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

fn has_expired() -> Status {
    let cause = Cause { reason: Refusal::TokenExpired.as_str().into(), ..Cause::default() };
    Status { causes: vec![cause], ..Status::unauthorized() }
}

#[cfg(test)]
mod tests {
    use pki::Authority;
    use serde_json::json;

    use super::*;
    use crate::lookup::fake::Cluster;

    struct At(Timestamp);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    fn tokens() -> (BootstrapTokens, Arc<Cluster>) {
        let now: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        let ca = Authority::generate("server-ca", now).unwrap();
        let own = OwnSecrets {
            server: JoinToken::password(&ca, pki::SERVER, "one"),
            agent: JoinToken::password(&ca, pki::NODE, "two"),
        };
        let cluster = Arc::new(Cluster::default());
        (BootstrapTokens::new(own, cluster.clone(), Arc::new(At(now))), cluster)
    }

    fn secret(more: &[(&str, &str)]) -> Value {
        let mut data = serde_json::Map::new();
        let basic =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        for (key, value) in basic.iter().chain(more) {
            data.insert((*key).into(), STANDARD.encode(value).into());
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef", "namespace": NAMESPACE}, "type": TYPE, "data": data})
    }

    #[test]
    fn own_secrets_and_nobody_elses() {
        let (tokens, _) = tokens();
        for (token, good) in [("server:one", true), ("node:two", true), ("server:two", true), ("server:three", false)] {
            assert_eq!(tokens.authenticate(token).unwrap().is_some(), good, "{token}");
        }
        assert_eq!(tokens.authenticate("eyJhbGci.eyJpc3Mi.c2ln").unwrap(), None, "not ours to judge");
        assert_eq!(tokens.authenticate("one").unwrap(), None);
        assert_eq!(tokens.authenticate("node:two").unwrap().unwrap().name, "system:bootstrap:join-token");
    }

    #[test]
    fn bootstrap_tokens_as_upstream_judges_them() {
        let (tokens, cluster) = tokens();
        let token = "abcdef.0123456789abcdef";
        assert_eq!(tokens.authenticate(token).unwrap(), None);
        let group = "system:bootstrappers:edge";
        for (more, good, expired) in [
            (vec![], true, false),
            (vec![("auth-extra-groups", group)], true, false),
            (vec![("auth-extra-groups", "system:masters")], false, false),
            (vec![("expiration", "2026-01-15T10:00:01Z")], true, false),
            (vec![("expiration", "2026-01-15T10:00:00Z")], false, true),
            (vec![("expiration", "soon")], false, true),
            (vec![("usage-bootstrap-authentication", "false")], false, false),
            (vec![("token-secret", "fedcba9876543210")], false, false),
        ] {
            let object = cluster.put("secrets", secret(&more));
            match tokens.authenticate(token) {
                Ok(None) => assert!(!good && !expired, "{more:?}"),
                Ok(Some(user)) => {
                    assert!(good, "{more:?}");
                    assert_eq!(user.name, "system:bootstrap:abcdef");
                    assert_eq!(user.groups.contains(&group.to_owned()), !more.is_empty() && more[0].1 == group);
                }
                Err(status) => {
                    assert!(expired, "{more:?}");
                    assert_eq!(status.causes[0].reason, "TokenExpired");
                }
            }
            drop(object);
        }
        let object = cluster.put("secrets", secret(&[]));
        tokens.remember(&object);
        cluster.remove("secrets", NAMESPACE, "bootstrap-token-abcdef");
        let status = tokens.authenticate(token).unwrap_err();
        assert_eq!(status.causes[0].reason, "TokenExpired", "after its Secret is gone, its holder is told");
        assert_eq!(tokens.authenticate("abcdef.aaaaaaaaaaaaaaaa").unwrap(), None);
    }
}
