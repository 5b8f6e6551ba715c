//! What has been, for watchers and pages that go on from before the ring. A connection of its own: WAL lets it read beside
//! the writer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Object;
use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::schema;
use crate::backend::{History, Seal, seal, tombstone};
use crate::{Error, Event, EventKind, Key};

pub(super) struct Reader {
    path: PathBuf,
    seal: Option<Arc<dyn Seal>>,
    /// Opened at the first need.
    conn: Mutex<Option<Connection>>,
    pub horizon: AtomicU64,
    /// From this revision on, published events may be missing in the file.
    pub unflushed: AtomicU64,
}

const EVENTS: &str = "
    SELECT l.revision, l.value, l.prev, p.value, l.namespace, l.name FROM log l LEFT JOIN log p ON p.revision = l.prev
    WHERE l.revision > ? AND l.revision <= ? AND l.resource = (SELECT id FROM resource WHERE name = ?)
    ORDER BY l.revision LIMIT ?";

impl Reader {
    pub fn new(path: PathBuf, seal: Option<Arc<dyn Seal>>) -> Reader {
        Reader { path, seal, conn: Mutex::new(None), horizon: AtomicU64::new(0), unflushed: AtomicU64::new(u64::MAX) }
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn close(&self) {
        *self.conn.lock() = None;
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.pragma_update(None, "cache_size", -256)?;
        Ok(conn)
    }
}

impl History for Reader {
    fn horizon(&self) -> u64 {
        self.horizon.load(Ordering::Acquire)
    }

    fn events(&self, resource: &str, after: u64, upto: u64, limit: usize) -> Result<Vec<Event>, Error> {
        let unflushed = self.unflushed.load(Ordering::Acquire);
        if upto >= unflushed {
            return Err(Error::Compacted { revision: after, oldest: unflushed });
        }
        let mut guard = self.conn.lock();
        let conn = match &mut *guard {
            Some(conn) => conn,
            none => none.insert(self.connect()?),
        };
        // one transaction: compaction moves the horizon in the one that deletes
        let tx = conn.transaction()?;
        let oldest = schema::get(&tx, "horizon")?;
        if after < oldest {
            return Err(Error::Compacted { revision: after, oldest });
        }
        let mut stmt = tx.prepare_cached(EVENTS)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = stmt.query(params![after as i64, upto as i64, resource, limit])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(event(row, resource, self.seal.as_ref())?);
        }
        Ok(events)
    }
}

fn event(row: &Row<'_>, resource: &str, keys: Option<&Arc<dyn Seal>>) -> Result<Event, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::Storage(format!("an event of the past: {e}"));
    let (revision, before) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(2)? as u64);
    let value = |column| -> Result<Option<Bytes>, Error> {
        let blob = row.get_ref(column)?.as_blob_or_null().map_err(|e| bad(&e))?;
        let Some(stored) = blob.map(Bytes::copy_from_slice) else { return Ok(None) };
        if !stored.starts_with(seal::MARK) {
            return Ok(Some(stored));
        }
        let key = Key { resource: resource.into(), namespace: row.get(4)?, name: row.get(5)? };
        seal::opened(keys, &key, stored).map(Some)
    };
    let prev = match value(3)? {
        Some(json) => Some(Arc::new(Object::from_json(json, before).map_err(|e| bad(&e))?)),
        None => None,
    };
    let (kind, object) = match (value(1)?, &prev) {
        (Some(json), _) => (EventKind::Put, Object::from_json(json, revision).map_err(|e| bad(&e))?),
        (None, Some(prev)) => (EventKind::Delete, tombstone(prev.json(), before, revision)?),
        (None, None) => return Err(bad(&format!("the deletion at {revision} deletes nothing"))),
    };
    Ok(Event { kind, revision, object: Arc::new(object), prev })
}
