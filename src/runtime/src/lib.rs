//! Running containers: images and layers, sandboxes, the per-pod shim.
//!
//! [`Runtime`] is the border to the kubelet, shaped after CRI so that a CRI client can implement it too. [`Embedded`],
//! the default, runs each pod under one small [`shim`] process that outlives the agent.
//!
//! ```text
//! kubelet ─▶ Embedded ─▶ image::Store      layers/<diff id>, unpacked once, content-addressed
//!               │   └──▶ cgroup::Cgroups   limits, accounts
//!               └─socket─▶ shim (one per pod) ─▶ libcontainer ─▶ containers
//! ```
//!
//! The agent never calls libcontainer: what it does after `clone` is undefined in a process with threads.

mod cgroup;
mod embedded;
pub mod image;
pub mod shim;
mod spec;
mod sys;

pub use embedded::{Config, Embedded, killall, layers_in_use};
pub use spec::*;
pub use sys::release_memory;
