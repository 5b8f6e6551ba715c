//! Black-box tests: the real binary, real clients, real containers. This library is the harness; the tests are `tests/box`.
//!
//! ```text
//!   a test ── Cx ─┬─ api: HTTPS, JSON in and out       namespace of its own in a shared server,
//!                 ├─ kubectl, skiff: the binaries      or a Server of its own where it stops and kills it
//!                 └─ server ── Machine: process, data directory, network namespace (with a node)
//!   Cluster ── Lan: a switch ── Machines: one Server, Agents that joined it
//! ```
//!
//! Every server has its own data directory, and one with a node its own network namespace, so the tests pass beside a running
//! skiff. What a server made is removed when it is dropped, also after a panic. `SKIFF` names the binary under test.

pub mod api;
pub mod cluster;
pub mod cx;
pub mod image;
pub mod lan;
pub mod machine;
pub mod pods;
pub mod server;

pub use api::{Api, Reply};
pub use cluster::{Agent, Cluster};
pub use cx::{Cx, trial};
pub use lan::Lan;
pub use machine::Machine;
pub use server::Server;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take that is not said otherwise.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks until there is an answer; panics with `what` and the last refusal after `deadline`.
pub async fn until<T, F>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(why) if Instant::now() > end => panic!("{what}: not within {deadline:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
