//! The mounts that volumes need, behind a trait: tests run without privileges.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Result;
use crate::error::At;

pub trait Mounter: Send + Sync + 'static {
    /// `size_bytes` 0: the kernel's default, half of the memory.
    fn tmpfs(&self, at: &Path, size_bytes: u64) -> Result<()>;
    fn bind(&self, from: &Path, at: &Path) -> Result<()>;
    fn unmount(&self, at: &Path) -> Result<()>;
    /// All mount points below `dir`, the deepest and newest first.
    fn below(&self, dir: &Path) -> Result<Vec<PathBuf>>;
}

pub struct Kernel;

impl Mounter for Kernel {
    fn tmpfs(&self, at: &Path, size_bytes: u64) -> Result<()> {
        let options = if size_bytes == 0 { "mode=0777".into() } else { format!("mode=0777,size={size_bytes}") };
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options.as_str())).at(at)
    }
    fn bind(&self, from: &Path, at: &Path) -> Result<()> {
        mount(Some(from), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).at(at)
    }
    fn unmount(&self, at: &Path) -> Result<()> {
        umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).at(at)
    }
    fn below(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read_to_string(path).at(path)?;
        let mut points: Vec<PathBuf> =
            text.lines().filter_map(mount_point).filter(|p| p.starts_with(dir) && p != dir).collect();
        points.reverse();
        Ok(points)
    }
}

fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    // the kernel writes space, tab, newline and backslash in octal
    let mut out = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(byte) => {
                out.push(byte as char);
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    Some(out.into())
}
