//! Which changes of the cluster can help a pod that found no node: upstream's `EventsToRegister` and queueing hints.

/// A set of the plugins that can reject a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plugins(u16);

impl Plugins {
    pub const NONE: Plugins = Plugins(0);
    pub const UNSCHEDULABLE: Plugins = Plugins(1);
    pub const NAME: Plugins = Plugins(2);
    pub const TAINTS: Plugins = Plugins(4);
    pub const AFFINITY: Plugins = Plugins(8);
    pub const PORTS: Plugins = Plugins(16);
    pub const FIT: Plugins = Plugins(32);
    pub const VOLUMES: Plugins = Plugins(64);
    pub const SPREAD: Plugins = Plugins(128);
    pub const POD_AFFINITY: Plugins = Plugins(256);
    pub const GATES: Plugins = Plugins(512);
    /// There was no node at all.
    pub const NO_NODE: Plugins = Plugins(1024);

    pub const fn and(self, other: Plugins) -> Plugins {
        Plugins(self.0 | other.0)
    }
    pub fn intersects(self, other: Plugins) -> bool {
        self.0 & other.0 != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    NodeAdded,
    NodeAllocatable,
    NodeLabels,
    NodeTaints,
    NodeUnschedulable,
    /// A pod left its node.
    PodRemoved,
    /// A pod came to a node, or one there changed its labels.
    PodPlaced,
    /// A claim, a volume or a storage class.
    Storage,
    Namespace,
}

impl Event {
    /// The plugins whose rejection may be void now.
    pub fn helps(self) -> Plugins {
        use Plugins as P;
        match self {
            Event::NodeAdded => Plugins(u16::MAX),
            Event::NodeAllocatable => P::FIT,
            Event::NodeLabels => P::AFFINITY.and(P::SPREAD).and(P::POD_AFFINITY).and(P::NAME),
            Event::NodeTaints => P::TAINTS.and(P::SPREAD).and(P::UNSCHEDULABLE),
            Event::NodeUnschedulable => P::UNSCHEDULABLE,
            Event::PodRemoved => P::FIT.and(P::PORTS).and(P::SPREAD).and(P::POD_AFFINITY),
            Event::PodPlaced => P::SPREAD.and(P::POD_AFFINITY),
            Event::Storage => P::VOLUMES,
            Event::Namespace => P::POD_AFFINITY,
        }
    }
}
