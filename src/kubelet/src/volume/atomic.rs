//! Files that change all at once: `..data` is a symlink to a directory that is never changed, and is swapped by a rename.
//! Upstream's `AtomicWriter`.
//!
//! ```text
//!   volume/key       -> ..data/key
//!   volume/..data    -> ..2026_11_21_02_30_00.123456789
//!   volume/..2026_11_21_02_30_00.123456789/key
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path};

use nix::unistd::{Gid, Uid, chown};

use crate::error::At;
use crate::{Error, Result};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    pub uid: Option<u32>,
}

/// Relative paths to their files.
pub(crate) type Payload = BTreeMap<String, File>;

/// Makes `dir` hold exactly `payload`. With `group`, all belongs to that group. Answers whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), payload)
    {
        return Ok(false);
    }
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let name = format!("{stamp}.{:09}", rand::random::<u32>() % 1_000_000_000);
    let fresh = dir.join(&name);
    fs::create_dir(&fresh).at(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).at(&fresh)?;
    own(&fresh, None, group)?;
    for (path, file) in payload {
        let at = fresh.join(path);
        let mut parent = fresh.clone();
        for part in Path::new(path).parent().iter().flat_map(|p| p.components()) {
            parent.push(part);
            if !parent.is_dir() {
                fs::create_dir(&parent).at(&parent)?;
                fs::set_permissions(&parent, fs::Permissions::from_mode(0o755)).at(&parent)?;
                own(&parent, None, group)?;
            }
        }
        let mut f = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at).at(&at)?;
        f.write_all(&file.data).at(&at)?;
        own(&at, file.uid, group)?;
        f.set_permissions(fs::Permissions::from_mode(file.mode)).at(&at)?;
    }
    let swap = dir.join(DATA_NEW);
    let _ = fs::remove_file(&swap);
    symlink(&name, &swap).at(&swap)?;
    fs::rename(&swap, dir.join(DATA)).at(&swap)?;
    let tops: BTreeSet<&str> = payload.keys().filter_map(|p| p.split('/').next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link).at(&link)?;
        }
    }
    for entry in fs::read_dir(dir).at(dir)?.flatten() {
        let file_name = entry.file_name();
        let Some(n) = file_name.to_str() else { continue };
        if !n.starts_with("..") && !tops.contains(n) {
            fs::remove_file(entry.path()).at(&entry.path())?;
        } else if n.starts_with("..") && n != DATA && n != name {
            fs::remove_dir_all(entry.path()).at(&entry.path())?;
        }
    }
    Ok(true)
}

/// Also a directory gets the set-group-ID bit, so that what is made in it belongs to the group.
pub(crate) fn own(path: &Path, uid: Option<u32>, group: Option<u32>) -> Result<()> {
    if uid.is_some() || group.is_some() {
        chown(path, uid.map(Uid::from_raw), group.map(Gid::from_raw)).at(path)?;
    }
    Ok(())
}

fn check(path: &str) -> Result<()> {
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(Error::config(format!("invalid path {path:?} in a volume")));
    }
    Ok(())
}

fn same(dir: &Path, payload: &Payload) -> bool {
    payload.iter().all(|(path, file)| {
        let at = dir.join(path);
        let mode = fs::metadata(&at).map(|m| m.permissions().mode() & 0o7777);
        mode.is_ok_and(|m| m == file.mode) && fs::read(&at).is_ok_and(|d| d == file.data)
    }) && count(dir) == payload.len()
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |d: &str| File { data: d.into(), mode: 0o644, uid: None };
        files.iter().map(|(k, v)| ((*k).to_owned(), file(v))).collect()
    }

    #[test]
    fn a_volume_changes_at_once_and_only_when_it_must() {
        let tmp = tempfile::tempdir().unwrap();
        let d = tmp.path();
        assert!(write(d, &payload(&[("a", "1"), ("dir/b", "2")]), None).unwrap());
        assert!(!write(d, &payload(&[("a", "1"), ("dir/b", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(d.join("dir/b")).unwrap(), "2");
        assert!(write(d, &payload(&[("a", "3"), ("c", "4")]), None).unwrap());
        assert_eq!(fs::read_to_string(d.join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(d.join("dir")).is_err());
        assert_eq!(fs::read_dir(d).unwrap().count(), 4, "two links, ..data and its directory");
    }

    #[test]
    fn paths_may_not_leave_the_volume() {
        let tmp = tempfile::tempdir().unwrap();
        for path in ["../x", "/x", "a/../../x", "..x", ""] {
            assert!(write(tmp.path(), &payload(&[(path, "1")]), None).is_err(), "{path}");
        }
    }
}
