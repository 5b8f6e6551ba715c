//! Nodes whose certificates count no more: the ConfigMap `kube-system/revoked-nodes`, node name → RFC 3339 time. A certificate
//! that was signed before that time is refused; one that the machine gets by joining again later is good.

use std::collections::HashMap;
use std::sync::Arc;

use api::Object;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::Lookup;

pub const NAMESPACE: &str = "kube-system";
pub const NAME: &str = "revoked-nodes";

type Times = HashMap<String, Timestamp>;

pub struct Revoked {
    lookup: Arc<dyn Lookup>,
    /// Read from which revision.
    read: Mutex<(u64, Arc<Times>)>,
}

/// What the ConfigMap says. A time that cannot be read counts for ever: someone meant it.
pub fn times(object: &Object) -> Times {
    let tree = object.tree();
    let entries = tree["data"].as_object().into_iter().flatten();
    entries
        .map(|(name, at)| (name.clone(), at.as_str().and_then(|t| t.parse().ok()).unwrap_or(Timestamp::MAX)))
        .collect()
}

impl Revoked {
    pub fn new(lookup: Arc<dyn Lookup>) -> Revoked {
        Revoked { lookup, read: Mutex::default() }
    }

    /// Since when certificates of `node` must have been signed, if any have been revoked.
    pub fn at(&self, node: &str) -> Option<Timestamp> {
        let object = self.lookup.get("configmaps", NAMESPACE, NAME)?;
        let mut read = self.read.lock();
        if read.0 != object.revision() {
            *read = (object.revision(), Arc::new(times(&object)));
        }
        read.1.get(node).copied()
    }

    /// Whether a certificate of `node` that counts from `not_before` is refused.
    pub fn refuses(&self, node: &str, not_before: Timestamp) -> bool {
        // it counts from a little before it was signed
        self.at(node).is_some_and(|at| not_before.checked_add(pki::BACKDATE).is_ok_and(|signed| signed < at))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::lookup::fake::Cluster;

    #[test]
    fn what_was_signed_before_is_refused() {
        let cluster = Arc::new(Cluster::default());
        let revoked = Revoked::new(cluster.clone());
        let at: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        let signed = |seconds: i64| at + SignedDuration::from_secs(seconds) - pki::BACKDATE;
        assert!(!revoked.refuses("n1", signed(-1)));
        let data = json!({"n1": at.to_string(), "n2": "always"});
        cluster.put("configmaps", json!({"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data}));
        assert!(revoked.refuses("n1", signed(-1)) && !revoked.refuses("n1", signed(0)));
        assert!(revoked.refuses("n2", signed(1_000_000)) && !revoked.refuses("n3", signed(-1)));
    }
}
