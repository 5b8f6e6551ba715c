//! How everything in skiff talks to the API.
//!
//! [`Client`] is the one door. In a server process `apiserver` implements it over its engine (no HTTP, no serialisation,
//! an identity instead of a socket); elsewhere it is [`HttpClient`]. [`Api`] puts types on it, [`Informer`] keeps a set of objects at
//! hand, [`WorkQueue`] feeds reconcilers. [`Offline`] answers from disk what a node must know when its server is away.
//!
//! ```text
//!   Client::watch ──► Informer (cache of Arc<Object>) ──► handlers ──► WorkQueue ──► reconcile(key) ──► Client::update
//! ```

mod client;
mod clock;
mod controller;
pub mod fake;
mod http;
mod informer;
mod informers;
mod lease;
mod offline;
mod queue;
mod recorder;
mod typed;

pub use client::{
    Aggregated, BoxIo, Client, DeleteOptions, List, ListOptions, NodeDialer, Patch, Precondition, Propagation, Target,
    Watch, WatchEvent, WriteOptions,
};
pub use clock::{Clock, SystemClock, now_rfc3339};
pub use controller::{Controller, ObjectKey, Requeue};
pub use http::{Ask, HttpClient, HttpConfig, Transport, is_unreachable, unreachable};
pub use informer::{Change, Index, Informer, Selector, by_controller};
pub use informers::Informers;
pub use lease::{Election, elect};
pub use offline::Offline;
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder, Reference};
pub use typed::Api;
