//! The API server: HTTP, authentication, authorization, admission and the one REST engine that serves every kind.
//!
//! ```text
//!   request → authn → authz → decode → convert → default → mutate → validate → admit → strategy → store.commit → encode
//!   Client (in process) ─ identity ──► authz ──► decode …            (no socket, no serialisation)
//! ```

pub mod admission;
mod attributes;
pub mod authn;
pub mod authz;
mod lookup;

pub use attributes::{Attributes, Authenticator, Authorizer, Decision, User, Verb};
pub use lookup::Lookup;
