//! NodeResourcesFit: enough of every resource, and of pods.

use std::borrow::Cow;

use super::Rejection;
use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};

pub fn check(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let (mut reasons, mut unresolvable): (Vec<Cow<'static, str>>, bool) = (Vec::new(), false);
    if node.pods.len() as i64 + 1 > node.allocatable.get("pods") {
        reasons.push("Too many pods".into());
    }
    // upstream names these first, extended resources after
    let first = ["cpu", "memory", "ephemeral-storage"];
    let (others, wanted) = (&pod.requests.0, |n: &str| pod.requests.get(n));
    let others = others.keys().map(String::as_str).filter(|n| !first.contains(n));
    for name in first.into_iter().chain(others).filter(|n| wanted(n) > 0) {
        let have = node.allocatable.get(name);
        if wanted(name) > have - node.requested.get(name) {
            reasons.push(format!("Insufficient {name}").into());
            unresolvable |= wanted(name) > have;
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Rejection { by: Plugins::FIT, reasons, unresolvable }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn what_is_asked_must_be_free() {
        let asks = |r: serde_json::Value| {
            pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": r}}]}}))
        };
        let mut n =
            node("n", json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2", "x.io/gpu": "1"}}}));
        n.add(asks(json!({"cpu": "1500m"})));
        let none: Vec<&str> = vec![];
        for (want, reasons, unresolvable) in [
            (json!({}), none, false),
            (json!({"cpu": "500m", "memory": "1Gi"}), vec![], false),
            (json!({"cpu": "600m"}), vec!["Insufficient cpu"], false),
            (json!({"cpu": "3", "memory": "2Gi"}), vec!["Insufficient cpu", "Insufficient memory"], true),
            (json!({"x.io/gpu": "2"}), vec!["Insufficient x.io/gpu"], true),
        ] {
            let got = check(&asks(want), &n).err();
            assert_eq!(got.as_ref().map_or(vec![], |r| r.reasons.clone()), reasons);
            assert_eq!(got.is_some_and(|r| r.unresolvable), unresolvable);
        }
        n.add(asks(json!({})));
        assert_eq!(check(&asks(json!({})), &n).unwrap_err().reasons, ["Too many pods"]);
    }
}
