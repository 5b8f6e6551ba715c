//! `subPath`: a part of a volume, reached without ever leaving the volume, whatever links lie in it.
//! Upstream's `subpath_linux.go`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::mount::Mounter;
use crate::error::At;
use crate::{Error, Result};

/// Opens `sub` below `root`, making directories that are missing where `create` is set.
fn open_beneath(root: &Path, sub: &Path, create: bool) -> Result<OwnedFd> {
    let base = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).at(root)?;
    let how = || {
        OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let mut so_far = PathBuf::new();
    let mut fd = openat2(&base, ".", how()).at(root)?;
    for part in sub.components() {
        let Component::Normal(name) = part else {
            if part == Component::CurDir {
                continue;
            }
            return Err(Error::config(format!("subPath {:?} must not leave the volume", sub.display())));
        };
        so_far.push(name);
        fd = match openat2(&base, &so_far, how()) {
            Ok(f) => f,
            Err(Errno::ENOENT) if create => {
                mkdirat(&fd, Path::new(name), Mode::from_bits_truncate(0o755)).at(&root.join(&so_far))?;
                let made = openat2(&base, &so_far, how()).at(&root.join(&so_far))?;
                // as open as the volume itself, whatever our umask
                let mode = std::fs::metadata(root).at(root)?.permissions();
                std::fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), mode).at(&root.join(&so_far))?;
                made
            }
            Err(e) => return Err(e).at(&root.join(&so_far)),
        };
    }
    Ok(fd)
}

/// Binds the part to `target`, so that what the container gets can no longer be swapped. Done once: a second call finds it.
pub(crate) fn prepare(mounter: &dyn Mounter, root: &Path, sub: &str, target: &Path, create: bool) -> Result<()> {
    let fd = open_beneath(root, Path::new(sub), create)?;
    let seen = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let is_dir = std::fs::metadata(&seen).at(&seen)?.is_dir();
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).at(parent)?;
        if mounter.below(parent)?.iter().any(|p| p == target) {
            mounter.unmount(target)?;
        }
    }
    if is_dir {
        std::fs::create_dir_all(target).at(target)?;
    } else if !target.exists() {
        std::fs::File::create(target).at(target)?;
    }
    mounter.bind(&seen, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("volume");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::create_dir(tmp.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("escape")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("real", root.join("inside")).unwrap();
        for (sub, ok) in [
            ("real", true),
            ("inside", true),
            ("new/dir", true),
            ("escape", false),
            ("absolute", false),
            ("../outside", false),
        ] {
            assert_eq!(open_beneath(&root, Path::new(sub), true).is_ok(), ok, "{sub}");
        }
        assert!(root.join("new/dir").is_dir());
        assert!(open_beneath(&root, Path::new("absent"), false).is_err());
    }
}
