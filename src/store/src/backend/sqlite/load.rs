//! At start: the last row of every key.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use api::Object;
use bytes::Bytes;
use rusqlite::Connection;

use super::compact::ROW_OVERHEAD;
use crate::backend::{Seal, seal};
use crate::{Error, Key};

pub(super) struct Contents {
    /// The highest revision in the log.
    pub last: u64,
    pub objects: Vec<(Key, Arc<Object>)>,
    /// Per resource.
    pub latest: HashMap<Arc<str>, u64>,
    pub live_bytes: u64,
    pub bytes: u64,
}

/// Reads the whole log, and so meets any damage of its pages.
pub(super) fn load(conn: &Connection, path: &Path, keys: Option<&Arc<dyn Seal>>) -> Result<Contents, Error> {
    read(conn, keys).map_err(|e| super::schema::damaged(path, e))
}

fn read(conn: &Connection, keys: Option<&Arc<dyn Seal>>) -> Result<Contents, Error> {
    let damaged = |reason: String| Error::Damaged { path: "state.db".into(), reason };
    let mut resources: HashMap<i64, Arc<str>> = HashMap::new();
    let mut stmt = conn.prepare("SELECT id, name FROM resource")?;
    let mut rows = stmt.query([])?;
    while let Some(r) = rows.next()? {
        resources.insert(r.get(0)?, r.get(1)?);
    }
    let (mut live, mut latest) = (HashMap::<Key, (u64, Bytes)>::new(), HashMap::new());
    let mut names = HashSet::<Arc<str>>::new();
    let (mut last, mut bytes) = (0, 0);
    let mut stmt = conn.prepare("SELECT revision, resource, namespace, name, value FROM log ORDER BY revision")?;
    let mut rows = stmt.query([])?;
    while let Some(r) = rows.next()? {
        last = r.get::<_, i64>(0)? as u64;
        let resource = resources.get(&r.get(1)?).ok_or_else(|| damaged(format!("revision {last}: of no resource")))?;
        latest.insert(resource.clone(), last);
        let namespace = r.get_ref(2)?.as_str().map_err(|e| damaged(format!("revision {last}: {e}")))?;
        let namespace = match names.get(namespace) {
            Some(known) => known.clone(),
            None => {
                names.insert(namespace.into());
                namespace.into()
            }
        };
        let key = Key { resource: resource.clone(), namespace, name: r.get(3)? };
        match r.get_ref(4)?.as_blob_or_null().map_err(|e| damaged(format!("revision {last}: {e}")))? {
            None => drop(live.remove(&key)),
            Some(value) => {
                bytes += (value.len() + ROW_OVERHEAD) as u64;
                live.insert(key, (last, Bytes::copy_from_slice(value)));
            }
        }
    }
    let live_bytes = live.values().map(|(_, v)| (v.len() + ROW_OVERHEAD) as u64).sum();
    let objects = live
        .into_iter()
        .map(|(key, (revision, value))| {
            let value = seal::opened(keys, &key, value)?;
            match Object::from_json(value, revision) {
                Ok(object) => Ok((key, Arc::new(object))),
                Err(e) => Err(damaged(format!("revision {revision}, {}/{}: {e}", key.namespace, key.name))),
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(Contents { last, objects, latest, live_bytes, bytes })
}
