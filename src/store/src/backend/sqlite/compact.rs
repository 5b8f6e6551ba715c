//! Forgetting: which history may go, and deleting it in small steps between batches.
//!
//! History is bounded by age and by bytes, whichever is the stricter; bytes, so that the file stays within a small factor of
//! the live data under any churn. A quiet store is compacted once per [`Options::keep`] at most, and not at all once there is
//! nothing to forget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use super::schema;
use crate::{Error, Options};

/// About what a row takes beside its value.
pub(super) const ROW_OVERHEAD: usize = 64;
/// Revisions that one step goes through.
const STEP: u64 = 512;
/// Pages that one step gives back to the file system.
const VACUUM_PAGES: u32 = 256;
/// Free pages that are kept for reuse, besides a quarter of the file.
const SPARE_PAGES: u32 = 1024;

pub(super) struct Compaction {
    keep: Duration,
    keep_bytes: u64,
    /// What was written when, a second or a part of `keep_bytes` each.
    marks: VecDeque<Mark>,
    /// Bytes ever written, as of this process.
    written: u64,
    live: u64,
    done: u64,
    /// History up to here may go.
    target: u64,
    /// When a quiet store looks again.
    look: Option<Instant>,
    /// A quiet store forgets all that it may.
    finish: bool,
    vacuum: bool,
}

struct Mark {
    opened: Instant,
    /// The last revision, and `written`, when it was closed.
    revision: u64,
    written: u64,
}

impl Compaction {
    pub fn new(options: &Options) -> Compaction {
        Compaction {
            keep: options.keep,
            keep_bytes: options.keep_bytes,
            marks: VecDeque::new(),
            written: 0,
            live: 0,
            done: 0,
            target: 0,
            look: None,
            finish: false,
            vacuum: false,
        }
    }

    /// What the file has at start: `bytes` in the log, up to revision `last`, of which `live` are of live objects.
    pub fn seed(&mut self, horizon: u64, last: u64, live: u64, bytes: u64, now: Instant) {
        (self.done, self.target, self.live) = (horizon, horizon, live);
        self.written = bytes - live;
        if self.written > 0 {
            self.mark(now, last);
        }
    }

    /// A row of `bytes` was written in the place of one of `replaced` bytes.
    pub fn wrote(&mut self, now: Instant, revision: u64, bytes: usize, replaced: usize, delete: bool) {
        self.written += bytes as u64;
        self.live = (self.live + if delete { 0 } else { bytes as u64 }).saturating_sub(replaced as u64);
        self.mark(now, revision);
    }

    fn mark(&mut self, now: Instant, revision: u64) {
        let (written, part) = (self.written, self.keep_bytes / 16);
        let before = self.marks.iter().rev().nth(1).map_or(0, |m| m.written);
        match self.marks.back_mut() {
            Some(m) if now < m.opened + self.keep.min(Duration::from_secs(1)) && written < before + part => {
                (m.revision, m.written) = (revision, written);
            }
            _ => self.marks.push_back(Mark { opened: now, revision, written }),
        }
        self.look.get_or_insert(now + self.keep + self.keep / 4);
        let keep_bytes = self.keep_bytes.max(self.live);
        while let Some(m) = self.marks.front() {
            if now < m.opened + self.keep + Duration::from_secs(1) && written - m.written <= keep_bytes {
                break;
            }
            self.target = m.revision;
            self.marks.pop_front();
        }
    }

    pub fn due(&self) -> Option<Instant> {
        if self.may_forget() || self.vacuum { Some(Instant::now()) } else { self.look }
    }

    /// Not in smaller steps than these, but for the rest of what a quiet store has to forget.
    fn may_forget(&self) -> bool {
        self.target >= self.done + STEP || (self.finish && self.target > self.done)
    }

    /// The revision that the next step goes up to.
    pub fn next(&mut self, now: Instant) -> Option<u64> {
        if self.look.is_some_and(|at| at <= now) {
            while let Some(m) = self.marks.front()
                && m.opened + self.keep <= now
            {
                self.target = m.revision;
                self.marks.pop_front();
            }
            self.finish = true;
            self.look = (!self.marks.is_empty()).then(|| now + self.keep);
        }
        self.may_forget().then(|| self.target.min(self.done + STEP))
    }

    /// Gives free pages back, if there are too many.
    pub fn vacuum(&mut self, conn: &Connection) -> Result<(), Error> {
        if !std::mem::take(&mut self.vacuum) {
            return Ok(());
        }
        let free: u32 = conn.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        let pages: u32 = conn.pragma_query_value(None, "page_count", |r| r.get(0))?;
        if free > SPARE_PAGES.max(pages / 4) {
            // it frees one page per step
            let mut stmt = conn.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = stmt.raw_query();
            while rows.next()?.is_some() {}
            self.vacuum = true;
        }
        Ok(())
    }

    /// Deletes what was superseded up to revision `upto`, and the deletions up to there.
    pub fn forget(&mut self, conn: &mut Connection, horizon: &AtomicU64, upto: u64) -> Result<(), Error> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let range = params![self.done as i64, upto as i64];
        tx.prepare_cached(
            "DELETE FROM log WHERE revision IN (SELECT prev FROM log WHERE revision > ? AND revision <= ? AND prev > 0)",
        )?
        .execute(range)?;
        tx.prepare_cached("DELETE FROM log WHERE revision > ? AND revision <= ? AND value IS NULL")?.execute(range)?;
        schema::set(&tx, "horizon", upto)?;
        // whoever asks from here on is told, whoever reads has a snapshot
        tx.commit()?;
        horizon.store(upto, Ordering::Release);
        self.done = upto;
        self.finish &= self.target > upto;
        self.vacuum = true;
        Ok(())
    }
}
