//! The watchable store: every object of the cluster, its revisions, transactions, watches and compaction.
//!
//! ```text
//!   commit() ──queue──► writer thread ──one SQL transaction per batch──► SQLite (WAL, synchronous=FULL)
//!                            │ then publishes
//!                            ├──► index (imbl, snapshot per resource) ◄── get, list
//!                            ├──► log (ring per resource; older: SQLite) ◄── watch
//!                            └──► the callers' answers
//! ```
//!
//! Invariants: a commit is answered after it is on disk (but for the resources in [`Options::late_flush`]); revisions are one
//! sequence for the whole store that never goes back, not even over a crash; readers never wait for the writer; a watcher sees
//! every event of its range in order of revision, or is told [`Error::Compacted`].

pub mod backend;
mod error;
mod index;
mod key;
mod log;
mod options;
mod store;
mod watcher;
mod writer;

pub use backend::Seal;
pub use error::Error;
pub use index::Snapshot;
pub use key::{Key, Precondition};
pub use log::{Event, EventKind};
pub use options::Options;
pub use store::{Change, Commit, Store};
pub use watcher::Watcher;
