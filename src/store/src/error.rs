//! What can go wrong. Each text says what its reader can do about it.

use std::path::PathBuf;
use std::sync::Arc;

use api::Object;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// [`crate::Precondition::Absent`], but there is one.
    #[error("the object exists already")]
    Exists { current: Arc<Object> },
    #[error("there is no such object")]
    NotFound,
    /// [`crate::Precondition::Revision`], but it is at another.
    #[error("the object has changed: it is at revision {}", current.revision())]
    Conflict { current: Arc<Object> },
    /// The history that was asked for is gone: list anew. Upstream's 410 Gone, `Expired`.
    #[error("too old resource version: {revision} ({oldest})")]
    Compacted { revision: u64, oldest: u64 },
    #[error("the store is closed")]
    Closed,
    #[error("{} is in use by {holder}: stop that server first, or give this one another --data-dir", dir.display())]
    Locked { dir: PathBuf, holder: String },
    #[error(
        "{} is damaged ({reason}): keep a copy of its directory, then put a backup in its place, or remove the directory \
         to start with an empty cluster", path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    /// Written by a newer skiff.
    #[error("{} has format {found}, this skiff knows up to {known}: run the version that wrote it", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the disk is full: {0}")]
    Full(String),
    #[error("the store's database: {0}")]
    Storage(String),
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match e.sqlite_error_code() {
            Some(DiskFull) => Error::Full(e.to_string()),
            Some(DatabaseCorrupt | NotADatabase) => Error::Damaged { path: "state.db".into(), reason: e.to_string() },
            _ => Error::Storage(e.to_string()),
        }
    }
}
