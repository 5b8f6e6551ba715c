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
//! Invariants: a commit is answered after it is on disk; revisions are one sequence for the whole store, without gaps going
//! back; readers never wait for the writer; a watcher sees every event of its range in order of revision, or is told
//! [`WatchError::Compacted`].

mod key;

pub use key::{Key, Precondition};
