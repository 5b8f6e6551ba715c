//! hostPath volumes and their types. Upstream's `host_path.go`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::error::At;
use crate::{Error, Result};

/// Checks, or makes, what is to be mounted. A missing path without a type becomes a directory, as containerd does.
pub(crate) fn prepare(path: &str, kind: &str) -> Result<()> {
    let p = Path::new(path);
    let meta = fs::metadata(p);
    let is = |f: fn(&fs::Metadata) -> bool| meta.as_ref().is_ok_and(f);
    let must = |ok: bool, what: &str| {
        if ok { Ok(()) } else { Err(Error::config(format!("hostPath type check failed: {path} is not {what}"))) }
    };
    let mkdir = || {
        fs::create_dir_all(p).at(p)?;
        fs::set_permissions(p, fs::Permissions::from_mode(0o755)).at(p)
    };
    match kind {
        "" if meta.is_err() => mkdir(),
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_err() => mkdir(),
        "FileOrCreate" if meta.is_err() => {
            fs::File::create(p).at(p)?;
            fs::set_permissions(p, fs::Permissions::from_mode(0o644)).at(p)
        }
        "Directory" | "DirectoryOrCreate" => must(is(fs::Metadata::is_dir), "a directory"),
        "File" | "FileOrCreate" => must(is(fs::Metadata::is_file), "a file"),
        "Socket" => must(is(|m| m.file_type().is_socket()), "a socket"),
        "CharDevice" => must(is(|m| m.file_type().is_char_device()), "a character device"),
        "BlockDevice" => must(is(|m| m.file_type().is_block_device()), "a block device"),
        other => Err(Error::config(format!("{other} is an invalid volume type"))),
    }
}
