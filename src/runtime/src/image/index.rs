//! What images there are: `index.json`, replaced as a whole under a file lock, so that a `skiff image import` beside a
//! running agent is seen by it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::reference::Reference;
use crate::Image;

/// An image as it runs: its configuration's part that matters, and its layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub size_bytes: u64,
    /// Diff ids, the lowest first.
    pub layers: Vec<String>,
    pub config: Config,
}

/// The image configuration's `config`, by its upstream names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_default")]
    pub stop_signal: String,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// By id: the digest of the configuration.
pub type Entries = BTreeMap<String, Entry>;

pub struct Index {
    path: PathBuf,
    /// The last read, and the file that it was read from.
    cache: Mutex<(Option<Stamp>, Arc<Entries>)>,
}

/// Inode and time: a replaced file has others.
type Stamp = (u64, i64, i64);

impl Index {
    pub fn new(path: PathBuf) -> Self {
        Self { path, cache: Mutex::default() }
    }

    pub fn read(&self) -> io::Result<Arc<Entries>> {
        let mut cache = self.cache.lock();
        let stamp = match fs::metadata(&self.path) {
            Ok(meta) => Some((meta.ino(), meta.mtime(), meta.mtime_nsec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if cache.0 != stamp {
            let entries = match stamp {
                Some(_) => serde_json::from_slice(&fs::read(&self.path)?)?,
                None => Entries::new(),
            };
            *cache = (stamp, Arc::new(entries));
        }
        Ok(cache.1.clone())
    }

    /// Changes it; other processes wait.
    pub fn update<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> io::Result<T> {
        let lock = File::create(self.path.with_extension("lock"))?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let mut entries = (*self.read()?).clone();
        let result = change(&mut entries);
        let next = self.path.with_extension("new");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(&entries)?)?;
        file.sync_all()?;
        fs::rename(next, &self.path)?;
        Ok(result)
    }
}

/// Adds what an import or pull brought. A tag belongs to one image: others lose it.
pub fn add(entries: &mut Entries, id: &str, new: Entry) {
    for entry in entries.values_mut() {
        entry.tags.retain(|tag| !new.tags.contains(tag));
    }
    let entry = entries.entry(id.to_owned()).or_default();
    let (mut tags, mut digests) = (std::mem::take(&mut entry.tags), std::mem::take(&mut entry.digests));
    *entry = new;
    tags.append(&mut entry.tags);
    digests.append(&mut entry.digests);
    for list in [&mut tags, &mut digests] {
        let mut seen = HashSet::new();
        list.retain(|name| seen.insert(name.clone()));
    }
    (entry.tags, entry.digests) = (tags, digests);
}

/// By id (whole, or the first hex digits), name or digest.
pub fn find<'e>(entries: &'e Entries, name: &str) -> Option<(&'e String, &'e Entry)> {
    if let Some(found) = entries.get_key_value(name) {
        return Some(found);
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    if hex.len() >= 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut found =
            entries.iter().filter(|(id, _)| id.strip_prefix("sha256:").is_some_and(|id| id.starts_with(hex)));
        if let (Some(one), None) = (found.next(), found.next()) {
            return Some(one);
        }
    }
    let reference = Reference::parse(name).ok()?;
    if let Some(digest) = &reference.digest {
        let wanted = format!("{}@{digest}", reference.name());
        return entries.iter().find(|(_, e)| e.digests.contains(&wanted));
    }
    let wanted = reference.to_string();
    entries.iter().find(|(_, e)| e.tags.contains(&wanted))
}

pub fn image(id: &str, entry: &Entry) -> Image {
    Image {
        id: id.to_owned(),
        tags: entry.tags.clone(),
        digests: entry.digests.clone(),
        size_bytes: entry.size_bytes,
        user: entry.config.user.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn tags_move_and_names_are_found() {
        let mut entries = Entries::new();
        let tagged = |tag: &str| Entry { tags: vec![tag.to_owned()], ..Default::default() };
        add(&mut entries, &id('a'), tagged("docker.io/library/redis:4"));
        add(
            &mut entries,
            &id('b'),
            Entry { digests: vec![format!("docker.io/x/y@{}", id('c'))], ..Default::default() },
        );
        add(&mut entries, &id('a'), tagged("docker.io/library/redis:5"));
        for (name, want) in [
            ("redis:4", Some('a')),
            ("docker.io/library/redis:5", Some('a')),
            (&id('a'), Some('a')),
            ("aaaaaaaaaaaa", Some('a')),
            (&format!("x/y@{}", id('c')), Some('b')),
            ("redis", None),
            ("aaaa", None),
            (&id('d'), None),
        ] {
            assert_eq!(find(&entries, name).map(|(id, _)| id.clone()), want.map(id), "{name}");
        }
        add(&mut entries, &id('b'), tagged("docker.io/library/redis:4"));
        assert_eq!(find(&entries, "redis:4").unwrap().0, &id('b'));
        assert_eq!(entries[&id('a')].tags, ["docker.io/library/redis:5"]);
    }

    #[test]
    fn kept_on_disk_and_seen_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Index::new(dir.path().join("index.json")), Index::new(dir.path().join("index.json")));
        assert!(one.read().unwrap().is_empty());
        two.update(|e| add(e, &id('a'), Entry::default())).unwrap();
        assert_eq!(one.read().unwrap().len(), 1);
    }

    #[test]
    fn configurations_have_nulls() {
        let config: Config = serde_json::from_str(r#"{"User":"","Env":null,"Cmd":["sh"],"Labels":{}}"#).unwrap();
        assert_eq!(config, Config { cmd: vec!["sh".to_owned()], ..Default::default() });
    }
}
