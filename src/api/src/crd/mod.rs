//! Custom resources: the kind CustomResourceDefinition, and what it makes of others.
//!
//! ```text
//!   CustomResourceDefinition ── resource.rs: defaults, validation, structural rules ──► stored
//!        └─ Definition (once a change) ── kind() ──► an entry of the registry, as of a built-in kind
//!                └─ versions, each with a Structural schema: prune, default, validate, CEL rules, list types for apply
//! ```

mod custom;
pub mod definition;
mod format;
mod jsonpath;
pub mod names;
mod resource;
mod schema_rules;
mod structural;
mod validate;

pub use definition::{Conversion, Definition};
pub use resource::{approval_condition, kind, violations};
pub(crate) use structural::is_meta;
pub use structural::{Additional, Checks, List, Structural, Type, default, prune};

pub(crate) use format::holds as format_holds;
pub(crate) use validate::{key_of, pattern};

/// `apiextensions.k8s.io`
pub const GROUP: &str = "apiextensions.k8s.io";
/// How the store names the definitions.
pub const RESOURCE: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Held by a definition that is being deleted until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
