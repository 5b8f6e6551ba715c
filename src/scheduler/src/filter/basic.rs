//! NodeUnschedulable, NodeName, TaintToleration, NodePorts.

use api::k8s_openapi::api::core::v1::{Taint, Toleration};

use super::Rejection;
use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};

/// `Toleration.ToleratesTaint`
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let (own, of_taint) = (text(&toleration.value), text(&taint.value));
    let numbers = || Some((own.parse::<i64>().ok()?, of_taint.parse::<i64>().ok()?));
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => own == of_taint,
        Some("Exists") => true,
        Some("Lt") => numbers().is_some_and(|(own, taint)| taint < own),
        Some("Gt") => numbers().is_some_and(|(own, taint)| taint > own),
        Some(_) => false,
    }
}

fn tolerated(pod: &PodInfo, taint: &Taint) -> bool {
    pod.spec().tolerations.iter().flatten().any(|t| tolerates(t, taint))
}

pub fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if node.spec().unschedulable != Some(true) {
        return Ok(());
    }
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Default::default() };
    if tolerated(pod, &cordon) {
        return Ok(());
    }
    Err(Rejection::unresolvable(Plugins::UNSCHEDULABLE, "node(s) were unschedulable"))
}

/// `spec.nodeName` is set on pods that are bound already: then no filter runs. It is here for preemption's sake only.
pub fn name(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    match pod.spec().node_name.as_deref() {
        None | Some("") => Ok(()),
        Some(name) if name == node.name() => Ok(()),
        Some(_) => Err(Rejection::unresolvable(Plugins::NAME, "node(s) didn't match the requested node name")),
    }
}

pub fn taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let hard = node.taints().iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    match hard.into_iter().find(|t| !tolerated(pod, t)) {
        None => Ok(()),
        Some(t) => {
            let value = t.value.as_deref().unwrap_or("");
            let reason = format!("node(s) had untolerated taint {{{}: {value}}}", t.key);
            Err(Rejection::unresolvable(Plugins::TAINTS, reason))
        }
    }
}

pub(super) const NO_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

pub fn ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let used = || node.pods.iter().flat_map(|p| &p.host_ports);
    if pod.host_ports.iter().any(|p| used().any(|u| p.conflicts(u))) {
        return Err(Rejection::new(Plugins::PORTS, NO_PORTS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn taints_need_tolerations() {
        let tainted = node("n", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
        for (toleration, ok) in [
            (json!([]), false),
            (json!([{"key": "k", "value": "v"}]), true),
            (json!([{"key": "k", "operator": "Exists"}]), true),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "k", "value": "w", "operator": "Equal"}]), false),
            (json!([{"key": "k", "value": "v", "effect": "NoExecute"}]), false),
        ] {
            let p = pod("p", json!({"spec": {"tolerations": toleration}}));
            assert_eq!(taints(&p, &tainted).is_ok(), ok, "{toleration}");
        }
        let refused = taints(&pod("p", json!({})), &tainted).unwrap_err();
        assert_eq!(refused.reasons, ["node(s) had untolerated taint {k: v}"]);
        let soft = node("n", json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}));
        assert!(taints(&pod("p", json!({})), &soft).is_ok());
    }

    #[test]
    fn a_cordoned_node_takes_who_tolerates_it() {
        let cordoned = node("n", json!({"spec": {"unschedulable": true}}));
        assert!(unschedulable(&pod("p", json!({})), &cordoned).is_err());
        let daemon =
            json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}});
        assert!(unschedulable(&pod("p", daemon), &cordoned).is_ok());
    }

    #[test]
    fn host_ports_are_taken_once() {
        let with = |ip: &str, protocol: &str| {
            let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol});
            pod("p", json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}}))
        };
        let mut n = node("n", json!({}));
        n.add(with("127.0.0.1", "TCP"));
        for (p, ok) in [
            (with("127.0.0.1", "TCP"), false),
            (with("", "TCP"), false),
            (with("127.0.0.2", "TCP"), true),
            (with("127.0.0.1", "UDP"), true),
            (pod("p", json!({})), true),
        ] {
            assert_eq!(ports(&p, &n).is_ok(), ok, "{:?}", p.host_ports);
        }
    }
}
