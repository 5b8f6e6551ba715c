//! The file: made, opened, checked.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::Error;

/// In the file's header (`PRAGMA user_version`).
const FORMAT: i64 = 1;

const CREATE: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE resource(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE log(revision INTEGER PRIMARY KEY, resource INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
                     prev INTEGER NOT NULL, value BLOB);
    INSERT INTO meta VALUES ('reserved', 0), ('horizon', 0), ('clean', 0);
    PRAGMA user_version = 1;";

/// Pages of 4 KiB in the WAL at which a commit moves them to the file: 8 MiB.
const CHECKPOINT_PAGES: i64 = 2000;

/// The writer's connection, and whether the last close was clean. `formed`: the directory has held a store before.
pub(super) fn open(path: &Path, formed: bool) -> Result<(Connection, bool), Error> {
    let size = std::fs::metadata(path).map_or(0, |m| m.len());
    let wal = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |m| m.len());
    if size == 0 && (formed || wal > 0) {
        let reason = "it is missing or empty, though its directory has held a store".to_string();
        return Err(Error::Damaged { path: path.into(), reason });
    }
    if size == 0 {
        // secrets lie in it; SQLite gives its WAL the same mode
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|e| Error::Storage(format!("{}: {e}", path.display())))?;
    }
    prepare(path).map_err(|e| damaged(path, e))
}

/// Says which file it is.
pub(super) fn damaged(path: &Path, error: Error) -> Error {
    match error {
        Error::Damaged { reason, .. } => Error::Damaged { path: path.into(), reason },
        other => other,
    }
}

fn prepare(path: &Path) -> Result<(Connection, bool), Error> {
    let mut conn = Connection::open(path)?;
    // before the first page is written: both are properties of the file
    conn.pragma_update(None, "page_size", 4096)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", 16 << 20, |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -1024)?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if found > FORMAT {
        return Err(Error::Newer { path: path.into(), found, known: FORMAT });
    }
    if found == 0 {
        let tx = conn.transaction()?;
        tx.execute_batch(CREATE)?;
        tx.commit()?;
        return Ok((conn, true));
    }
    let clean = get(&conn, "clean")? == 1;
    if clean {
        set(&conn, "clean", 0)?;
    } else {
        let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if verdict != "ok" {
            return Err(Error::Damaged { path: path.into(), reason: verdict });
        }
    }
    Ok((conn, clean))
}

pub(super) fn get(conn: &Connection, key: &str) -> Result<u64, Error> {
    let value = conn.query_row("SELECT value FROM meta WHERE key = ?", [key], |r| r.get::<_, i64>(0)).optional()?;
    Ok(value.unwrap_or(0) as u64)
}

pub(super) fn set(conn: &Connection, key: &str, value: u64) -> Result<(), Error> {
    conn.prepare_cached("UPDATE meta SET value = ? WHERE key = ?")?.execute(params![value as i64, key])?;
    Ok(())
}
