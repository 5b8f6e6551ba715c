//! A set's file: a header, then a line for each change: an object as it is since, or `-namespace/name` for one that is gone.
//!
//! Lines are appended without waiting for the disk; what a power cut leaves of the last ones is told from whole ones since it
//! is no JSON or has no end.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::Object;
use bytes::Bytes;

use crate::http::decode;

/// Beyond twice what is live, so much of a file may be history before it is written anew.
pub const SLACK: usize = 64 << 10;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long what is secret is kept when nobody looks for it, and how long everything else.
const SECRET_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Default)]
pub struct Contents {
    /// By namespace and name.
    pub objects: Vec<Arc<Object>>,
    pub bytes: usize,
    /// It ends in something unreadable: not to be appended to.
    pub torn: bool,
}

/// `None` where there is none with this header. Also notes that it was looked for.
pub fn read(path: &Path, header: &str) -> Option<Contents> {
    let bytes = std::fs::read(path).ok()?;
    let (first, mut rest) = split(&bytes)?;
    if first != header.as_bytes() {
        return None;
    }
    touch(path);
    let mut objects = BTreeMap::new();
    let mut torn = false;
    while !rest.is_empty() {
        let Some(line) = split(rest).and_then(|(line, after)| {
            rest = after;
            parse(line)
        }) else {
            torn = true;
            break;
        };
        match line {
            Line::Is(object) => drop(objects.insert((object.namespace().to_owned(), object.name().to_owned()), object)),
            Line::Gone(namespace, name) => drop(objects.remove(&(namespace, name))),
        }
    }
    Some(Contents { objects: objects.into_values().collect(), bytes: bytes.len(), torn })
}

enum Line {
    Is(Arc<Object>),
    Gone(String, String),
}

fn parse(line: &[u8]) -> Option<Line> {
    match line.strip_prefix(b"-") {
        Some(gone) => {
            let (namespace, name) = str::from_utf8(gone).ok()?.split_once('/')?;
            Some(Line::Gone(namespace.into(), name.into()))
        }
        None => decode::object(line, None).ok().map(Line::Is),
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The object's line; no copy, unless its bytes have line ends of their own.
pub fn line(object: &Object) -> Bytes {
    match object.json().contains(&b'\n') {
        true => serde_json::to_vec(&object.tree()).expect("a tree encodes").into(),
        false => object.json().clone(),
    }
}

pub fn removal(namespace: &str, name: &str) -> Bytes {
    format!("-{namespace}/{name}").into()
}

/// The part of a file's name that tells resources of the same name apart.
pub fn group(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(".{group}") }
}

fn write(mut file: &File, lines: &[Bytes]) -> io::Result<()> {
    let mut text = Vec::with_capacity(lines.iter().map(|l| l.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    file.write_all(&text)
}

pub fn append(path: &Path, lines: &[Bytes]) -> io::Result<()> {
    write(&OpenOptions::new().append(true).open(path)?, lines)
}

/// Whole or not at all.
pub fn replace(path: &Path, lines: &[Bytes]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    write(&file, lines)?;
    // what is there is good: it goes when the new one surely is
    if path.exists() {
        file.sync_data()?;
    }
    std::fs::rename(&fresh, path)
}

/// The file's date is the day it was last looked for.
fn touch(path: &Path) {
    let now = SystemTime::now();
    let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > DAY);
    if std::fs::metadata(path).and_then(|m| m.modified()).is_ok_and(old)
        && let Ok(file) = OpenOptions::new().append(true).open(path)
    {
        // without it the file goes some days early
        let _ = file.set_modified(now);
    }
}

pub fn prune(dir: &Path, is_used: impl Fn(&str) -> bool) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let secret = ["secrets_", "configmaps_", "tokenrequests."].iter().any(|p| name.starts_with(p));
        let kept = if secret { SECRET_KEPT } else { KEPT };
        let is_old = now.duration_since(entry.metadata()?.modified()?).is_ok_and(|age| age > kept);
        if is_old && !is_used(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
