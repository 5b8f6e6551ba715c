//! Pods: one worker each, made of pure pieces.
//!
//! ```text
//!   spec (informer) ─┐
//!   runtime events ──┼─► mailbox ─► worker: observe ─► compute_actions ─► runtime, network, volumes
//!   probes, timers ──┘                     └─────────► status ─► API
//! ```

pub(crate) mod actions;
mod backoff;
mod conditions;
mod container;
pub(crate) mod dns;
mod end;
pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hooks;
pub(crate) mod image;
mod kill;
pub(crate) mod mailbox;
pub(crate) mod manager;
pub(crate) mod observe;
mod phase;
pub(crate) mod qos;
mod resize;
pub(crate) mod resources;
mod sandbox;
mod security;
pub(crate) mod spec;
mod start;
pub(crate) mod status;
mod sysctls;
mod termination;
mod worker;
mod write;
