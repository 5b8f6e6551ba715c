//! May this pod go to this node? One file a plugin, each a pure function of the two and of what [`Cycle`] knows of the rest.

mod affinity;
mod basic;
mod fit;
mod pod_affinity;
pub mod spread;

pub use affinity::{node_affinity, term_matches};
pub use basic::tolerates;

use std::borrow::Cow;

use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};
use crate::term::Namespaces;
use crate::volumes::Volumes;

/// Why a node does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub by: Plugins,
    /// In upstream's words; several resources may lack at once.
    pub reasons: Vec<Cow<'static, str>>,
    /// Removing pods from the node would not help: `UnschedulableAndUnresolvable`.
    pub unresolvable: bool,
}

impl Rejection {
    fn new(by: Plugins, reason: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection { by, reasons: vec![reason.into()], unresolvable: false }
    }
    fn unresolvable(by: Plugins, reason: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection { unresolvable: true, ..Rejection::new(by, reason) }
    }
    /// Nobody here allocates devices. A pod's claims do not change, so nothing wakes it.
    pub fn devices() -> Rejection {
        Rejection::unresolvable(Plugins::GATES, "resource claims are not allocated by this scheduler")
    }
}

/// What is computed once for a pod before the nodes are looked at: upstream's `PreFilter`.
pub struct Cycle<'a> {
    pub pod: &'a PodInfo,
    volumes: &'a Volumes,
    spread: spread::State,
    affinity: pod_affinity::State,
}

impl<'a> Cycle<'a> {
    pub fn new<'n>(
        pod: &'a PodInfo,
        nodes: impl Iterator<Item = &'n NodeInfo> + Clone,
        namespaces: &Namespaces,
        volumes: &'a Volumes,
    ) -> Cycle<'a> {
        let (spread, affinity) =
            (spread::State::of(pod, nodes.clone()), pod_affinity::State::of(pod, nodes, namespaces));
        Cycle { pod, volumes, spread, affinity }
    }
}

/// Runs the filters in upstream's order; the first that rejects has the word.
pub fn check(cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
    let pod = cycle.pod;
    basic::unschedulable(pod, node)?;
    basic::name(pod, node)?;
    basic::taints(pod, node)?;
    affinity::check(pod, node)?;
    basic::ports(pod, node)?;
    fit::check(pod, node)?;
    cycle.volumes.check(node)?;
    cycle.spread.check(pod, node)?;
    cycle.affinity.check(pod, node)
}

/// What a DaemonSet asks of a node before it puts a pod there, which is then scheduled like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonFit {
    /// Node name, selector and affinity match.
    pub wanted: bool,
    /// No taint keeps new pods off.
    pub may_come: bool,
    /// No taint drives off pods that are there.
    pub may_stay: bool,
}

/// Upstream's `daemon.predicates`.
pub fn daemon_fit(pod: &PodInfo, node: &NodeInfo) -> DaemonFit {
    let untolerated = |effect: &str| {
        let mut taints = node.taints().iter().filter(|t| t.effect == effect);
        taints.any(|t| !pod.spec().tolerations.iter().flatten().any(|own| tolerates(own, t)))
    };
    DaemonFit {
        wanted: basic::name(pod, node).is_ok() && node_affinity(pod, node),
        may_come: basic::taints(pod, node).is_ok(),
        may_stay: !untolerated("NoExecute"),
    }
}

/// Why a kubelet refuses a pod that was bound to its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// CPU in thousandths, all else in units.
    Resource { name: String, requested: i64, used: i64, capacity: i64 },
    /// A plugin's name and its reason.
    Plugin { name: &'static str, reason: &'static str },
}

/// Upstream's `AdmissionCheck` with the kubelet's `generalFilter` on top: the first thing that is wrong. Extended resources
/// that the node does not know are the cluster's, not the node's, and are not looked at.
pub fn admission_check(pod: &PodInfo, node: &NodeInfo) -> Option<Misfit> {
    let lack = |name: &str, requested: i64, used: i64, capacity: i64| {
        (requested > capacity - used).then(|| Misfit::Resource { name: name.into(), requested, used, capacity })
    };
    let foreign = |name: &str| name.contains('/') && !node.allocatable.0.contains_key(name);
    let resources = || {
        let asked = pod.requests.0.iter().filter(|(name, amount)| **amount > 0 && !foreign(name));
        asked.into_iter().find_map(|(n, v)| lack(n, *v, node.requested.get(n), node.allocatable.get(n)))
    };
    let plugin = |fits: bool, name, reason| (!fits).then_some(Misfit::Plugin { name, reason });
    let untolerated = node
        .taints()
        .iter()
        .any(|t| t.effect == "NoExecute" && !pod.spec().tolerations.iter().flatten().any(|own| tolerates(own, t)));
    lack("pods", 1, node.pods.len() as i64, node.allocatable.get("pods"))
        .or_else(resources)
        .or_else(|| plugin(node_affinity(pod, node), "NodeAffinity", affinity::REASON))
        .or_else(|| plugin(basic::name(pod, node).is_ok(), "NodeName", "node(s) didn't match the requested node name"))
        .or_else(|| plugin(basic::ports(pod, node).is_ok(), "NodePorts", basic::NO_PORTS))
        .or_else(|| plugin(!untolerated, "TaintToleration", "node(s) had taints that the pod didn't tolerate"))
}
