//! The scheduler: which node a pod goes to.
//!
//! ```text
//!   informers ──► Cache (nodes, pods on them, pods assumed)      Queue (active │ backoff │ unschedulable) ◄── events
//!                        └───────────────► decide: filter, score, preempt ◄──────────┘
//!                                                    └──► POST pods/NAME/binding
//! ```
//!
//! Decisions are pure functions of a pod and the cache ([`filter`], [`score`]); the loop makes one at a time, assumes it in
//! the cache and binds in the background. A pod without a node is tried again only after an event that could help it.

mod cache;
mod decide;
mod event;
mod filter;
mod node;
mod preempt;
mod queue;
mod resources;
mod scheduler;
mod score;
mod term;
#[cfg(test)]
mod testing;
mod volumes;

pub use filter::{DaemonFit, Misfit, admission_check, daemon_fit};
pub use node::{NodeInfo, PodInfo};
pub use scheduler::run;
