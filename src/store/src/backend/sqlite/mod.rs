//! The embedded backend: one SQLite file, `state.db`.
//!
//! ```text
//!   log(revision PRIMARY KEY, resource, namespace, name, prev, value)     value NULL: a deletion
//! ```
//!
//! The log is all there is: a live object is the last row of its key, so a write is one row appended to the end of one B-tree
//! without an index beside it, and its bytes go to disk once. `prev` is the revision of the row that this one supersedes:
//! compaction deletes it when its successor falls out of the history that is kept.
//!
//! Late writes wait in memory, in order, for the next transaction. Their revisions are never given out twice, since a
//! revision is only given out below `reserved`, which is on disk, and a start after a crash goes on above it.

mod compact;
mod history;
mod load;
mod schema;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::Object;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use self::compact::Compaction;
use self::history::Reader;
use super::lock::Lock;
use super::{Backend, History, Loaded, Seal, Write, seal};
use crate::{Error, Key, Options};

/// Revisions that late writes may use up between two transactions.
const RESERVE: u64 = 1024;
/// Late writes may not outgrow the rings that serve them to watchers meanwhile: beyond a part of those, they are flushed.
const LATE_PART: usize = 4;

pub struct Sqlite {
    conn: Connection,
    /// Row ids of resources.
    ids: HashMap<Arc<str>, i64>,
    /// The last revision given out.
    last: u64,
    reserved: u64,
    late: Late,
    compaction: Compaction,
    seal: Option<Arc<dyn Seal>>,
    reader: Arc<Reader>,
    /// The last close was clean.
    clean: bool,
    closed: bool,
    /// Last: it goes when the connections have.
    _lock: Lock,
}

/// Published, but not yet in the file.
struct Late {
    rows: Vec<Row>,
    bytes: usize,
    due: Option<Instant>,
    after: Duration,
    max_rows: usize,
    max_bytes: usize,
}

/// A row of the log to be.
struct Row {
    key: Key,
    prev: u64,
    object: Arc<Object>,
    delete: bool,
}

impl Row {
    fn bytes(&self) -> usize {
        compact::ROW_OVERHEAD + if self.delete { 0 } else { self.object.json().len() }
    }
}

impl Sqlite {
    pub fn open(dir: &Path, options: &Options) -> Result<Sqlite, Error> {
        let mut lock = Lock::take(dir)?;
        let path = dir.join("state.db");
        let (conn, clean) = schema::open(&path, lock.formed)?;
        lock.form()?;
        if options.seal.as_ref().is_some_and(|s| s.wipes()) {
            // what is freed may have been plain
            conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
        }
        let reader = Arc::new(Reader::new(path, options.seal.clone()));
        let late = Late {
            rows: Vec::new(),
            bytes: 0,
            due: None,
            after: options.late_flush_after,
            max_rows: options.ring_events / LATE_PART,
            max_bytes: options.ring_bytes / LATE_PART,
        };
        let compaction = Compaction::new(options);
        Ok(Sqlite {
            conn,
            ids: HashMap::new(),
            last: 0,
            reserved: 0,
            late,
            compaction,
            seal: options.seal.clone(),
            reader,
            clean,
            closed: false,
            _lock: lock,
        })
    }

    /// Bounds the file's size, as a full disk would. For tests of what happens then.
    pub fn limit_pages(&self, pages: u32) -> Result<(), Error> {
        Ok(self.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
    }

    /// Writes what waits and `rows`.
    fn transact(&mut self, rows: &[Row]) -> Result<(), Error> {
        let reserve = (self.last + RESERVE / 4 > self.reserved).then(|| self.last + RESERVE);
        let mut fresh = HashMap::new();
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)")?;
            for row in self.late.rows.iter().chain(rows) {
                let id = match self.ids.get(&row.key.resource).or_else(|| fresh.get(&row.key.resource)) {
                    Some(id) => *id,
                    None => {
                        tx.prepare_cached("INSERT INTO resource(name) VALUES (?)")?.execute([&*row.key.resource])?;
                        fresh.insert(row.key.resource.clone(), tx.last_insert_rowid());
                        tx.last_insert_rowid()
                    }
                };
                let value = (!row.delete).then(|| seal::sealed(self.seal.as_ref(), &row.key, row.object.json()));
                let (Key { namespace, name, .. }, revision) = (&row.key, row.object.revision() as i64);
                insert.execute(params![revision, id, namespace, name, row.prev as i64, value])?;
            }
        }
        if let Some(reserve) = reserve {
            schema::set(&tx, "reserved", reserve)?;
        }
        tx.commit()?;
        self.ids.extend(fresh);
        self.reserved = reserve.unwrap_or(self.reserved);
        self.late.rows.clear();
        self.late.bytes = 0;
        self.late.due = None;
        self.reader.unflushed.store(u64::MAX, Ordering::Release);
        Ok(())
    }

    fn rows(&mut self, writes: &[Write]) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::with_capacity(writes.len());
        for w in writes {
            // a revision of a batch that fails is not used again
            self.last += 1;
            let prev = w.prev.as_ref().map_or(0, |p| p.revision());
            rows.push(Row { key: w.key.clone(), prev, object: w.at(self.last)?, delete: w.draft.is_none() });
        }
        Ok(rows)
    }
}

impl Backend for Sqlite {
    fn load(&mut self) -> Result<Loaded, Error> {
        let contents = load::load(&self.conn, self.reader.path(), self.seal.as_ref())?;
        self.reserved = schema::get(&self.conn, "reserved")?;
        let horizon = schema::get(&self.conn, "horizon")?;
        self.reader.horizon.store(horizon, Ordering::Release);
        let revision = contents.last.max(self.reserved);
        let lost = if !self.clean && self.reserved > contents.last { revision } else { 0 };
        self.last = revision;
        let mut ids = self.conn.prepare("SELECT name, id FROM resource")?;
        let ids = ids.query_map([], |r| Ok((r.get::<_, Arc<str>>(0)?, r.get(1)?)))?;
        self.ids = ids.collect::<Result<_, _>>()?;
        self.compaction.seed(horizon, contents.last, contents.live_bytes, contents.bytes, Instant::now());
        Ok(Loaded { revision, objects: contents.objects, latest: contents.latest, lost })
    }

    fn commit(&mut self, writes: &[Write]) -> Result<Vec<Arc<Object>>, Error> {
        let rows = self.rows(writes)?;
        let bytes: usize = rows.iter().map(Row::bytes).sum();
        let late = &self.late;
        let wait = writes.iter().all(|w| w.late)
            && self.last <= self.reserved
            && late.rows.len() + rows.len() <= late.max_rows
            && late.bytes + bytes <= late.max_bytes;
        if !wait {
            self.transact(&rows)?;
        }
        let now = Instant::now();
        for (row, write) in rows.iter().zip(writes) {
            let replaced = write.prev.as_ref().map_or(0, |p| p.json().len() + compact::ROW_OVERHEAD);
            self.compaction.wrote(now, row.object.revision(), row.bytes(), replaced, row.delete);
        }
        let objects = rows.iter().map(|r| r.object.clone()).collect();
        if wait && let Some(first) = rows.first() {
            self.reader.unflushed.fetch_min(first.object.revision(), Ordering::AcqRel);
            self.late.due.get_or_insert(now + self.late.after);
            self.late.bytes += bytes;
            self.late.rows.extend(rows);
        }
        Ok(objects)
    }

    fn due(&self) -> Option<Instant> {
        [self.late.due, self.compaction.due()].into_iter().flatten().min()
    }

    fn work(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.late.due.is_some_and(|at| at <= now) {
            // not at once again if the disk is full
            self.late.due = Some(now + self.late.after);
            return self.transact(&[]);
        }
        match self.compaction.next(now) {
            Some(upto) => {
                if self.late.rows.first().is_some_and(|r| r.object.revision() <= upto) {
                    self.transact(&[])?;
                }
                self.compaction.forget(&mut self.conn, &self.reader.horizon, upto)
            }
            None => self.compaction.vacuum(&self.conn),
        }
    }

    fn history(&self) -> Arc<dyn History> {
        self.reader.clone()
    }

    fn reseal(&mut self) -> Result<usize, Error> {
        let Some(seal) = self.seal.clone() else { return Ok(0) };
        if !self.late.rows.is_empty() {
            self.transact(&[])?;
        }
        if seal.wipes() {
            self.conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
        }
        let mut changed = 0;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (resource, id) in self.ids.iter().filter(|(r, _)| seal.covers(r)) {
            let mut stmt = tx.prepare("SELECT revision FROM log WHERE resource = ? AND value IS NOT NULL")?;
            let revisions: Vec<i64> = stmt.query_map([id], |r| r.get(0))?.collect::<Result<_, _>>()?;
            let mut read = tx.prepare("SELECT namespace, name, value FROM log WHERE revision = ?")?;
            let mut write = tx.prepare("UPDATE log SET value = ? WHERE revision = ?")?;
            for revision in revisions {
                let (namespace, name, stored) =
                    read.query_row([revision], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, Vec<u8>>(2)?)))?;
                if seal.is_current(&stored) {
                    continue;
                }
                let key = Key { resource: resource.clone(), namespace, name };
                let plain = seal::opened(Some(&seal), &key, stored.into())?;
                write.execute(params![seal::sealed(Some(&seal), &key, &plain), revision])?;
                changed += 1;
            }
        }
        tx.commit()?;
        // the WAL has what was before
        let _: Option<i64> = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).optional()?;
        Ok(changed)
    }

    fn close(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        if !self.late.rows.is_empty() {
            self.transact(&[])?;
        }
        self.reader.close();
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::set(&tx, "reserved", self.last)?;
        schema::set(&tx, "clean", 1)?;
        tx.commit()?;
        let checkpointed: Option<i64> =
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).optional()?;
        if checkpointed != Some(0) {
            tracing::debug!("store: the last checkpoint is left to the next start");
        }
        Ok(())
    }
}
