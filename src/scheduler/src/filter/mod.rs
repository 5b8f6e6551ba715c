//! May this pod go to this node? One file a plugin, each a pure function of the two and of what [`Cycle`] knows of the rest.

mod affinity;
mod basic;
mod fit;

pub use affinity::{node_affinity, term_matches};
pub use basic::tolerates;

use std::borrow::Cow;

use crate::event::Plugins;
use crate::node::{NodeInfo, PodInfo};

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
}

/// What is computed once for a pod before the nodes are looked at: upstream's `PreFilter`.
pub struct Cycle<'a> {
    pub pod: &'a PodInfo,
}

/// Runs the filters in upstream's order; the first that rejects has the word.
pub fn check(cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
    basic::unschedulable(cycle.pod, node)?;
    basic::name(cycle.pod, node)?;
    basic::taints(cycle.pod, node)?;
    affinity::check(cycle.pod, node)?;
    basic::ports(cycle.pod, node)?;
    fit::check(cycle.pod, node)?;
    Ok(())
}
