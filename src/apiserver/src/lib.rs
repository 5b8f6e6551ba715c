//! The API server: HTTP, authentication, authorization, admission and the one REST engine that serves every kind.
//!
//! ```text
//!   request → authn → authz → decode → convert → default → mutate → validate → admit → strategy → store.commit → encode
//!   Client (in process) ─ identity ──► authz ──► decode …            (no socket, no serialisation)
//! ```

pub mod admission;
pub mod agents;
mod aggregation;
mod attributes;
pub mod audit;
pub mod authn;
pub mod authz;
mod bootstrap;
mod client;
mod crd;
mod discovery;
pub mod encryption;
pub mod engine;
pub mod fairness;
mod health;
pub mod http;
mod lookup;
pub mod manifests;
mod metrics;
pub mod outbound;
pub mod profile;
pub mod proxy;
pub mod quota;
mod resource_metrics;
pub mod security;
mod server;
pub mod service_ip;
pub mod special;
pub mod subresource;
pub mod webhook;

pub use aggregation::FrontProxy;
pub use attributes::{Attributes, Authenticator, Authorizer, Decision, User, Verb};
pub use bootstrap::Address;
pub use engine::Engine;
pub use health::Health;
pub use lookup::Lookup;
pub use server::{Config, Options, Server};

/// The Kubernetes version whose API this is, and skiff's own.
pub const GIT_VERSION: &str = concat!("v1.36.0+skiff", env!("CARGO_PKG_VERSION"));
