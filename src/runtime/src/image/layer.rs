//! Unpacking one layer's tar into a directory that overlayfs can take: whiteouts become overlay's, ownership, modes,
//! times, attributes, devices and hard links are kept. Nothing a tar says gets outside of the directory: every path is
//! resolved by the kernel as if the directory were `/`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, utimensat};
use nix::sys::time::TimeSpec;
use tar::{Archive, Entry, EntryType};

use crate::sys;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks an uncompressed tar. Returns the bytes of its files. `below`: the layers under it, the lowest first; a
/// directory that the tar leaves out, although it has something in it, looks as it does there.
pub fn unpack(tar: impl Read, directory: &Path, below: &[PathBuf]) -> io::Result<u64> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let mut unpacker =
        Unpacker { root: sys::open_root(directory)?, parent: None, times: Vec::new(), implied: Vec::new() };
    let mut archive = Archive::new(tar);
    let mut size = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        size += entry.size();
        let path = entry.path()?.into_owned();
        unpacker.entry(&mut entry, &path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    }
    unpacker.inherit(below)?;
    // what came into a directory after its entry has changed its time
    for (path, time) in unpacker.times.iter().rev() {
        if let Ok(fd) =
            sys::open_in(unpacker.root.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
        {
            nix::sys::stat::futimens(fd.as_fd(), time, time)?;
        }
    }
    Ok(size)
}

struct Unpacker {
    root: OwnedFd,
    /// The directory of the last entry: the next one's is mostly the same.
    parent: Option<(PathBuf, OwnedFd)>,
    times: Vec<(PathBuf, TimeSpec)>,
    /// Directories that no entry has named so far.
    implied: Vec<PathBuf>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = clean(path);
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // the root itself
            return if kind.is_dir() {
                self.metadata(entry, &sys::at(&self.root, OsStr::new(".")), &path)
            } else {
                Ok(())
            };
        };
        let target = self.place(path.parent().unwrap_or(Path::new("")), &name)?;
        if name.as_bytes() == OPAQUE {
            let parent = target.parent().unwrap_or(&target);
            return xattr::set_deref(parent.join("."), "trusted.overlay.opaque", b"y");
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a whiteout of nothing"));
            }
            let hidden = target.with_file_name(OsStr::from_bytes(hidden));
            clear(&hidden, false)?;
            return Ok(nix::sys::stat::mknod(&hidden, SFlag::S_IFCHR, Mode::empty(), 0)?);
        }
        clear(&target, kind.is_dir())?;
        match kind {
            EntryType::Directory => {
                self.implied.retain(|implied| *implied != path);
                match fs::create_dir(&target) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default();
                std::os::unix::fs::symlink(OsStr::from_bytes(&link), &target)?;
            }
            EntryType::Link => {
                let link = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
                let link = clean(&link);
                let (from, name) = (link.parent().unwrap_or(Path::new("")), link.file_name());
                let name = name.ok_or(io::ErrorKind::InvalidData)?;
                let from = sys::open_in(self.root.as_fd(), from, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                // its attributes are the first name's
                return fs::hard_link(sys::at(&from, name), &target);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let header = entry.header();
                let field = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0).into();
                let number = makedev(field(header.device_major()), field(header.device_minor()));
                let kind = match kind {
                    EntryType::Char => SFlag::S_IFCHR,
                    EntryType::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                nix::sys::stat::mknod(&target, kind, Mode::from_bits_truncate(0o600), number)?;
            }
            _ => {
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .custom_flags(libc::O_NOFOLLOW)
                    .open(&target)?;
                io::copy(entry, &mut file)?;
            }
        }
        self.metadata(entry, &target, &path)
    }

    /// A path to `name` in the layer's directory `parent`, which is made where a tar does not list it.
    fn place(&mut self, parent: &Path, name: &OsStr) -> io::Result<PathBuf> {
        if let Some((path, fd)) = &self.parent
            && path == parent
        {
            return Ok(sys::at(fd, name));
        }
        let missing = |p: &&Path| sys::open_in(self.root.as_fd(), p, OFlag::O_PATH).is_err();
        let missing: Vec<PathBuf> = parent.ancestors().take_while(missing).map(Path::to_owned).collect();
        self.implied.extend(missing);
        let fd = sys::mkdir_in(self.root.as_fd(), parent)?;
        let target = sys::at(&fd, name);
        self.parent = Some((parent.to_owned(), fd));
        Ok(target)
    }

    fn inherit(&self, below: &[PathBuf]) -> io::Result<()> {
        let below = below.iter().rev().map(|p| sys::open_root(p)).collect::<io::Result<Vec<_>>>()?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        for path in &self.implied {
            let like = below.iter().find_map(|layer| sys::open_in(layer.as_fd(), path, flags).ok());
            if let (Some(like), Ok(own)) = (like, sys::open_in(self.root.as_fd(), path, flags)) {
                let like = File::from(like).metadata()?;
                std::os::unix::fs::fchown(&own, Some(like.uid()), Some(like.gid()))?;
                File::from(own).set_permissions(like.permissions())?;
            }
        }
        Ok(())
    }

    fn metadata<R: Read>(&mut self, entry: &mut Entry<'_, R>, target: &Path, path: &Path) -> io::Result<()> {
        let mut attributes: HashMap<String, Vec<u8>> = HashMap::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions.flatten() {
                if let Some(name) = extension.key().ok().and_then(|k| k.strip_prefix("SCHILY.xattr.")) {
                    attributes.insert(name.to_owned(), extension.value_bytes().to_owned());
                }
            }
        }
        let header = entry.header();
        // a field left empty is 0
        let id = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        lchown(target, Some(id(header.uid())), Some(id(header.gid())))?;
        let kind = header.entry_type();
        if !kind.is_symlink() {
            // after chown, which clears the set-id bits
            fs::set_permissions(target, fs::Permissions::from_mode(header.mode()? & 0o7777))?;
        }
        for (name, value) in attributes {
            // overlay's own are not for an image to set; others a file system may not know
            if !name.starts_with("trusted.overlay.") {
                match xattr::set(target, &name, &value) {
                    Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
                    _ => {}
                }
            }
        }
        let time = TimeSpec::new(i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0);
        if kind.is_dir() {
            self.times.push((path.to_owned(), time));
        } else {
            let here = File::open("/")?;
            utimensat(here.as_fd(), target, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        }
        Ok(())
    }
}

/// Makes room: a later entry of a tar replaces an earlier one, but a directory stays a directory.
fn clear(target: &Path, directory: bool) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() && directory => Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(target),
        Ok(_) => fs::remove_file(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Without `/`, `.` and `..`, which mean nothing at a root.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt;
    use tar::{Builder, Header};

    fn header(kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(5678);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header
    }

    /// Writes the name as it is, which `Builder` refuses for bad ones.
    fn raw(builder: &mut Builder<Vec<u8>>, mut header: Header, name: &str, link: &str, data: &[u8]) {
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn everything_a_layer_has() {
        let mut tar = Builder::new(Vec::new());
        raw(&mut tar, header(EntryType::Directory, 0o1777), "tmp/", "", b"");
        raw(&mut tar, header(EntryType::Regular, 0o4755), "bin/su", "", b"su");
        raw(&mut tar, header(EntryType::Link, 0o644), "bin/ln", "bin/su", b"");
        raw(&mut tar, header(EntryType::Symlink, 0o777), "sbin", "/bin", b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "sbin/via", "", b"via");
        raw(&mut tar, header(EntryType::Fifo, 0o600), "run/fifo", "", b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "etc/.wh.gone", "", b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "var/.wh..wh..opq", "", b"");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unpack(&tar.into_inner().unwrap()[..], dir.path(), &[]).unwrap(), 5);
        let at = |p: &str| dir.path().join(p);
        let su = fs::metadata(at("bin/su")).unwrap();
        assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 1234, 5678, 2));
        assert_eq!(su.mtime(), 1_000_000_000);
        assert_eq!(fs::metadata(at("tmp")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata(at("tmp")).unwrap().mtime(), 1_000_000_000);
        assert_eq!(fs::read(at("bin/via")).unwrap(), b"via", "an absolute link stays inside");
        assert!(fs::metadata(at("run/fifo")).unwrap().file_type().is_fifo());
        let gone = fs::symlink_metadata(at("etc/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(xattr::get(at("var"), "trusted.overlay.opaque").unwrap().unwrap(), b"y");
    }

    #[test]
    fn directories_left_out_look_as_below() {
        let (low, high) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut tar = Builder::new(Vec::new());
        raw(&mut tar, header(EntryType::Directory, 0o1777), "tmp/", "", b"");
        raw(&mut tar, header(EntryType::Directory, 0o700), "srv/", "", b"");
        unpack(&tar.into_inner().unwrap()[..], low.path(), &[]).unwrap();
        let mut tar = Builder::new(Vec::new());
        raw(&mut tar, header(EntryType::Regular, 0o644), "tmp/new/file", "", b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "srv/file", "", b"");
        raw(&mut tar, header(EntryType::Directory, 0o750), "srv/", "", b"");
        unpack(&tar.into_inner().unwrap()[..], high.path(), &[low.path().to_owned()]).unwrap();
        let look = |p: &str| fs::metadata(high.path().join(p)).map(|m| (m.mode() & 0o7777, m.uid())).unwrap();
        assert_eq!((look("tmp"), look("tmp/new"), look("srv")), ((0o1777, 1234), (0o755, 0), (0o750, 1234)));
    }

    #[test]
    fn nothing_escapes() {
        let outside = tempfile::tempdir().unwrap();
        let mut tar = Builder::new(Vec::new());
        let link = outside.path().to_str().unwrap();
        raw(&mut tar, header(EntryType::Regular, 0o644), "../../up", "", b"x");
        raw(&mut tar, header(EntryType::Symlink, 0o777), "out", link, b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "out/file", "", b"x");
        raw(&mut tar, header(EntryType::Symlink, 0o777), "rel", "../../../../..", b"");
        raw(&mut tar, header(EntryType::Regular, 0o644), "rel/escaped", "", b"x");
        let dir = tempfile::tempdir().unwrap();
        unpack(&tar.into_inner().unwrap()[..], dir.path(), &[]).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(dir.path().join("up").exists() && dir.path().join("escaped").exists());
        assert!(dir.path().join(link.trim_start_matches('/')).join("file").exists());
    }
}
