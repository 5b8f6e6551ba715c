//! Node passwords: a machine that has taken a name keeps it. k3s' `nodepassword`.
//!
//! The Secret `kube-system/<node>.node-password.skiff` holds a salted hash; the first machine with a name sets it. It goes
//! with the Node: who deletes that lets another machine take the name.

use api::{Status, Value};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Client, Target, WriteOptions};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Lookup;
use crate::authn::bootstrap::{NAMESPACE, entry};

const SUFFIX: &str = ".node-password.skiff";

pub fn secret_name(node: &str) -> String {
    format!("{node}{SUFFIX}")
}

/// `<salt>:<hash>`. One round: a password is 32 random bytes, not a word.
fn hashed(password: &str, salt: &str) -> String {
    let digest = Sha256::digest(format!("{salt}:{password}"));
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("{salt}:{hex}")
}

fn matches(tree: &Value, password: &str) -> bool {
    let Some(kept) = entry(tree, "hash") else { return false };
    let Some((salt, _)) = kept.split_once(':') else { return false };
    pki::same_secret(&kept, &hashed(password, salt))
}

/// Whether this is the password of `node`, or becomes it: a node that is `there` without one is not to be had.
pub async fn check(
    client: &dyn Client,
    lookup: &dyn Lookup,
    node: &str,
    there: bool,
    password: &str,
) -> Result<bool, Status> {
    if password.len() < 16 {
        return Err(Status::bad_request("the node password is too short"));
    }
    let name = secret_name(node);
    if let Some(kept) = lookup.get("secrets", NAMESPACE, &name) {
        return Ok(matches(&kept.tree(), password));
    }
    if there {
        return Ok(false);
    }
    let salt: String = rand::random::<[u8; 8]>().iter().map(|b| format!("{b:02x}")).collect();
    let tree = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"hash": STANDARD.encode(hashed(password, &salt))},
    });
    let target = Target::within(api::Gvr::new("", "v1", "secrets"), NAMESPACE);
    match client.create(&target, tree, &WriteOptions::default()).await {
        // another machine was quicker; or the same one, whose answer was lost
        Err(status) if status.is_already_exists() => {
            let kept = client.get(&Target { name, ..target }).await?;
            Ok(matches(&kept.tree(), password))
        }
        made => made.map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash() {
        let tree = |text: String| json!({"data": {"hash": STANDARD.encode(text)}});
        let kept = tree(hashed("correct horse battery", "00ff"));
        assert!(matches(&kept, "correct horse battery"));
        assert!(!matches(&kept, "correct horse") && !matches(&tree("x".into()), "x") && !matches(&json!({}), ""));
    }
}
