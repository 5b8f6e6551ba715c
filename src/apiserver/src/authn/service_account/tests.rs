use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use parking_lot::Mutex;
use serde_json::json;

use super::claims::Claims;
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
        agent_token: None,
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

#[test]
fn a_token_in_a_secret_is_good_while_the_secret_holds_it() {
    let (cluster, _, accounts) = fixture();
    let secret =
        |token: &str| json!({"metadata": {"name": "s", "namespace": "ns"}, "data": {"token": STANDARD.encode(token)}});
    let token = accounts.issue_legacy("ns", "bot", "u1", "s").unwrap();
    assert!(accounts.authenticate(&token).is_err(), "no secret yet");
    cluster.put("secrets", secret(&token));
    assert_eq!(accounts.authenticate(&token).unwrap().name, "system:serviceaccount:ns:bot");
    assert!(accounts.review(&token, &["vault".into()]).is_err());
    cluster.put("secrets", secret("another"));
    assert!(accounts.authenticate(&token).is_err());
    cluster.put("secrets", secret(&token));
    cluster.put("serviceaccounts", json!({"metadata": {"name": "bot", "namespace": "ns", "uid": "reborn"}}));
    assert!(accounts.authenticate(&token).is_err());
}
