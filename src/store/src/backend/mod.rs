//! Where the log lies. The index, watches and the API above do not know which backend it is.

mod lock;
mod seal;
mod sqlite;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api::{Draft, Object};
use bytes::{Bytes, BytesMut};

use crate::{Error, Event, Key};

pub use seal::{MARK, Seal};
pub use sqlite::Sqlite;

/// What the writer thread, and nobody else, drives.
pub trait Backend: Send {
    /// Every live object. Called once, first.
    fn load(&mut self) -> Result<Loaded, Error>;
    /// Makes the changes durable, all or none, and gives their objects ([`Write::at`]) at the revisions that the backend
    /// chose: rising, in the order of `writes`, which are to different keys. Those that are `late` may become durable later.
    fn commit(&mut self, writes: &[Write]) -> Result<Vec<Arc<Object>>, Error>;
    /// When [`Backend::work`] wants to be called: late flushes, compaction. `None` while nothing is pending.
    fn due(&self) -> Option<Instant>;
    /// One bounded step of it.
    fn work(&mut self) -> Result<(), Error>;
    fn history(&self) -> Arc<dyn History>;
    /// Brings all that is on disk, the past too, into the form that [`Options::seal`](crate::Options) wants by now. How many
    /// values were not.
    fn reseal(&mut self) -> Result<usize, Error> {
        Ok(0)
    }
    /// The end: all is durable afterwards.
    fn close(&mut self) -> Result<(), Error>;
}

/// The log of the past, for any thread.
pub trait History: Send + Sync {
    /// The revision up to which the past may be gone.
    fn horizon(&self) -> u64;
    /// The first `limit` events of `resource` in the range `after < revision <= upto`. Blocks.
    ///
    /// Errors with [`Error::Compacted`] where some of them are gone.
    fn events(&self, resource: &str, after: u64, upto: u64, limit: usize) -> Result<Vec<Event>, Error>;
}

pub struct Loaded {
    pub revision: u64,
    pub objects: Vec<(Key, Arc<Object>)>,
    /// The revision of the latest event of each resource that the log still has.
    pub latest: HashMap<Arc<str>, u64>,
    /// Late writes up to this revision may have been lost in a crash; 0 if none.
    pub lost: u64,
}

/// A change that has passed its precondition.
pub struct Write {
    pub key: Key,
    pub prev: Option<Arc<Object>>,
    /// `None` deletes `prev`, which there is then.
    pub draft: Option<Draft>,
    pub late: bool,
}

impl Write {
    /// The object as the event shows it.
    pub fn at(&self, revision: u64) -> Result<Arc<Object>, Error> {
        let object = match (&self.draft, &self.prev) {
            (Some(draft), _) => draft.at(revision),
            (None, Some(prev)) => tombstone(prev.json(), prev.revision(), revision)?,
            (None, None) => return Err(Error::NotFound),
        };
        Ok(Arc::new(object))
    }
}

/// The object whose encoding is `json`, with another revision spliced in.
pub fn tombstone(json: &Bytes, revision: u64, deleted: u64) -> Result<Object, Error> {
    // quotes inside strings are escaped, so this matches the member itself; `Draft` puts it first
    let old = format!("\"metadata\":{{\"resourceVersion\":\"{revision}\"");
    let at = json
        .windows(old.len())
        .position(|w| w == old.as_bytes())
        .ok_or_else(|| Error::Storage(format!("the object of revision {revision} does not say so")))?;
    let new = format!("\"metadata\":{{\"resourceVersion\":\"{deleted}\"");
    let mut spliced = BytesMut::with_capacity(json.len() + 8);
    spliced.extend_from_slice(&json[..at]);
    spliced.extend_from_slice(new.as_bytes());
    spliced.extend_from_slice(&json[at + old.len()..]);
    Object::from_json(spliced.freeze(), deleted).map_err(|e| Error::Storage(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tombstone_differs_only_in_its_revision() {
        let tree = json!({"kind": "K", "apiVersion": "v1", "metadata": {"name": "n", "annotations": {
            "a": "\"metadata\":{\"resourceVersion\":\"99\"", "resourceVersion": "99"}}, "spec": {"metadata": {"resourceVersion": "99"}}});
        let object = Draft::encode(&tree).unwrap().at(99);
        let deleted = tombstone(object.json(), 99, 1000).unwrap();
        let mut want = tree;
        want["metadata"]["resourceVersion"] = json!("1000");
        assert_eq!((deleted.tree(), deleted.revision()), (want, 1000));
        assert!(tombstone(object.json(), 98, 1000).is_err());
    }
}
