//! Kubernetes protobuf, `application/vnd.kubernetes.protobuf`: wire bytes to trees and back, for the built-in kinds.
//!
//! ```text
//!   "k8s\0" Unknown{typeMeta, raw} ──decode──► tree, as Go would have written it in JSON ──encode──► the same bytes
//! ```
//!
//! Driven by one table of all messages ([`table`]), which `data/protobuf.py` makes; there are no generated types. Unknown
//! fields are skipped. Go writes the zero value of every field that is not a pointer; such zeros are dropped where Go's JSON
//! leaves them out. Malformed bytes are an error, never a panic, and nesting is limited.

mod decode;
mod encode;
#[cfg(test)]
mod kinds_test;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use decode::decode;
pub use encode::{encode, item, list, of_item, watch_frame};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";

/// How deep messages may nest.
const MAX_DEPTH: usize = 100;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A kind that has no protobuf form, such as a custom resource.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Unknown { api_version: String, kind: String },
    #[error("{0}")]
    Malformed(String),
}

/// Whether a kind has a protobuf form.
pub fn covers(group: &str, version: &str, kind: &str) -> bool {
    table::find(group, version, kind).is_some()
}

fn malformed(why: impl Into<String>) -> Error {
    Error::Malformed(why.into())
}
