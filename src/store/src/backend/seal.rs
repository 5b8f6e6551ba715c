//! Encryption at rest, at the border to the disk: index, log and watchers hold plain objects, the file does not.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Key};

/// With this every sealed value begins; an object's encoding begins with `{`.
pub const MARK: &[u8] = b"k8s:enc:";

/// What knows the keys. Called by the writer and by whoever reads the past.
pub trait Seal: Send + Sync + 'static {
    /// Whether values of the resource are this one's affair: plain ones too.
    fn covers(&self, resource: &str) -> bool;
    /// The value for the disk; `None`: as it is. Must begin with [`MARK`].
    fn seal(&self, key: &Key, value: &[u8]) -> Option<Vec<u8>>;
    /// The value that was sealed. The error says what to do about it.
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, String>;
    /// Whether what is freed on disk is overwritten.
    fn wipes(&self) -> bool;
    /// Whether what is on disk is as [`Seal::seal`] makes it by now.
    fn is_current(&self, stored: &[u8]) -> bool;
}

impl fmt::Debug for dyn Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

pub(super) fn sealed<'a>(seal: Option<&Arc<dyn Seal>>, key: &Key, value: &'a [u8]) -> Cow<'a, [u8]> {
    let seal = seal.filter(|s| s.covers(&key.resource));
    seal.and_then(|s| s.seal(key, value)).map_or(Cow::Borrowed(value), Cow::Owned)
}

pub(super) fn opened(seal: Option<&Arc<dyn Seal>>, key: &Key, stored: Bytes) -> Result<Bytes, Error> {
    if !stored.starts_with(MARK) {
        return Ok(stored);
    }
    let failed = |why: &str| {
        let Key { resource, namespace, name } = key;
        Error::Storage(format!("{resource} {namespace}/{name} is encrypted and cannot be read: {why}"))
    };
    let seal = seal.ok_or_else(|| failed("there are no keys"))?;
    seal.open(key, &stored).map(Bytes::from).map_err(|e| failed(&e))
}
