//! Running containers: images and layers, sandboxes, the per-pod shim.
//!
//! [`Runtime`] is the border to the kubelet, shaped after CRI so that a CRI client can implement it too. The embedded
//! implementation runs each pod under one small `skiff shim` process that outlives the agent: see `embedded`.

mod spec;

pub use spec::*;
