//! OpenAPI documents of what a [`Registry`] serves: v2 (swagger, JSON and protobuf) and v3, made on demand.
//!
//! ```text
//!   Registry ── paths ──► operations ──┐
//!   data/definitions.gz, one at a time ┴──► v2 JSON | v2 protobuf | v3 JSON
//! ```
//!
//! Nothing stays in memory, and no document is ever a tree: the definitions are read, changed and written one by one.
//! Making a document takes some ten milliseconds; who serves them keeps them compressed.

mod custom;
mod definitions;
mod old;
mod paths;
mod proto;
mod v2;
mod v3;

use crate::{Kind, Registry};

pub use custom::Trees;
pub use v2::{Extra, v2, v2_protobuf};
pub use v3::{v3, v3_index};

/// The media type by which clients ask for [`v2_protobuf`] (in `Accept`).
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The `Content-Type` of the answer: `@` may not stand in one, and old clients check.
pub const V2_PROTOBUF_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What `info.version` says.
const VERSION: &str = "v1.36.0";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The definition of a kind as a group and version serve it.
fn definition_name(kind: &Kind, group: &str, version: &str) -> String {
    if kind.definition.is_some() {
        return crate::crd::definition::schema_name(group, version, &kind.kind);
    }
    if kind.is_derived(group, version) {
        let package = group.split('.').next().unwrap_or_default();
        return format!("io.k8s.api.{package}.{version}.{}", kind.kind);
    }
    kind.schema_of(group, version)
}

/// The groups and versions that are served, in order of the registry.
fn group_versions(registry: &Registry) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for gv in registry.kinds().iter().flat_map(|k| &k.served) {
        if !all.contains(gv) {
            all.push(gv.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests;
