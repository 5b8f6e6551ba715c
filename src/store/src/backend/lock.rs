//! One process per directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::Error;

/// What the lock file says, beside the process id, once the directory holds a store.
const FORMED: &str = "formed";

/// Held as long as it lives; the kernel lets go of it with the process.
pub(super) struct Lock {
    file: File,
    /// The directory has held a store before.
    pub formed: bool,
}

impl Lock {
    pub fn take(dir: &Path) -> Result<Lock, Error> {
        let failed = |e: std::io::Error| Error::Storage(format!("{}: {e}", dir.display()));
        // secrets lie here
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let path = dir.join("lock");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let locked = file.try_lock();
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = text.lines().next().unwrap_or_default();
                let holder = if holder.is_empty() { "another process".into() } else { format!("process {holder}") };
                return Err(Error::Locked { dir: dir.into(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let mut lock = Lock { file, formed: text.lines().any(|l| l == FORMED) };
        lock.write(lock.formed).map_err(failed)?;
        Ok(lock)
    }

    /// The store is there now: its absence from here on is damage.
    pub fn form(&mut self) -> Result<(), Error> {
        if !self.formed {
            self.write(true).map_err(|e| Error::Storage(format!("lock: {e}")))?;
            self.formed = true;
        }
        Ok(())
    }

    fn write(&mut self, formed: bool) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        let formed = if formed { format!("{FORMED}\n") } else { String::new() };
        write!(self.file, "{}\n{formed}", std::process::id())
    }
}
