//! The API machinery as pure functions: values in, values out, no I/O and no clock but the one handed in.
//!
//! ```text
//!   bytes ──decode──► serde_json::Value (the tree) ──default, validate, patch──► Draft ──commit──► Object
//!                                                                                (store)    │
//!                                  bytes as stored ◄── get, list, watch ────────────────────┤
//!                                  typed view (`Pod`, …), decoded at most once ◄────────────┘
//! ```
//!
//! * [`Kind`] is one entry of the [`Registry`]: everything the generic engine must know about a resource.
//!   What a kind does of its own is its [`Strategy`], one file each under `kinds/`.
//! * [`Object`] is an object as everyone in the process shares it; [`Draft`] is one that has no revision yet.
//! * [`Status`] is the one error that clients see; [`field`] holds the errors it is made of.
//!
//! | module | is about |
//! |---|---|
//! | [`decode`] | bytes to trees: JSON, YAML, duplicate fields, `fieldValidation` |
//! | [`schema`] | the structure of every built-in type; makes a tree what Go's decoder would make of it |
//! | [`convert`] | versions of a kind, through the storage version; deprecation warnings |
//! | [`kinds`] | the built-in kinds: defaults, validation, table columns |
//! | [`crd`] | custom resources: structural schemas, what a definition makes |
//! | [`cel`] | the expressions of validation rules |
//! | [`patch`] | JSON, merge and strategic merge patch |
//! | [`apply`] | server-side apply: field ownership, conflicts |
//! | [`labels`], [`fields`] | label and field selectors |
//! | [`warnings()`] | what is valid and yet not wise |
//! | [`names`] | the syntax of names, labels, keys, ports |
//! | [`quantity`] | amounts of resources |
//! | [`table`] | Table and PartialObjectMetadata |
//! | [`protobuf`] | Kubernetes protobuf, the wire form that Go clients send |
//! | [`yaml`] | YAML as Go writes it |
//! | [`openapi`] | OpenAPI v2 and v3 of what a registry serves |
//!
//! `data/` holds what `data/generate.py` makes from Kubernetes' own definitions.

pub mod apply;
pub mod cel;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod field;
pub mod fields;
mod kind;
pub mod kinds;
pub mod labels;
pub mod names;
mod object;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
mod status;
mod strategy;
pub mod table;
mod typed;
mod warnings;
pub mod yaml;
pub mod zone;

pub use kind::{Gvk, Gvr, Kind, Registry, Scope, Subresources};
pub use object::{Draft, Meta, Object, OwnerReference, when_freed};
pub use status::{Cause, Reason, Status};
pub use strategy::{Column, NoStrategy, Scale, Strategy, age, human_duration};
pub use typed::{DecodeError, Resource};
pub use warnings::warnings;

/// Upstream's Go types, for in-process readers; decode them with [`Object::view`], encode with [`Resource::to_value`].
pub use k8s_openapi;
/// The tree on which patches, defaulting and validation work.
pub use serde_json::Value;
