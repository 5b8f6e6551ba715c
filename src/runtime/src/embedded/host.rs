//! What the host has: capabilities, devices, mounts, disk use.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::oci::{self, Host, HostDevice};

pub fn read(unified: bool) -> io::Result<Host> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap_or_default();
    let bounding = oci::from_mask(u64::from_str_radix(mask.trim(), 16).unwrap_or(0));
    if !bounding.contains("CAP_SYS_RESOURCE") {
        tracing::warn!("CAP_SYS_RESOURCE is missing: processes cannot be shielded from the out-of-memory killer");
    }
    Ok(Host { bounding, unified, devices: Vec::new() })
}

/// All device nodes in `/dev`, for a privileged container; without terminals and what every container has its own of.
pub fn devices() -> Vec<HostDevice> {
    fn walk(directory: &Path, devices: &mut Vec<HostDevice>) {
        const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", "ptmx"];
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if OWN.iter().any(|own| name == *own) || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => walk(&path, devices),
                Ok(meta) => devices.extend(node(&path, &meta)),
                Err(_) => {}
            }
        }
    }
    let mut devices = Vec::new();
    walk(Path::new("/dev"), &mut devices);
    devices
}

/// The device behind a path, as the container shall see it.
pub fn device(device: &crate::Device) -> io::Result<HostDevice> {
    let meta = fs::metadata(&device.host_path)?;
    let to = if device.container_path.as_os_str().is_empty() { &device.host_path } else { &device.container_path };
    node(to, &meta).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a device"))
}

fn node(path: &Path, meta: &fs::Metadata) -> Option<HostDevice> {
    let kind = match meta.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => return None,
    };
    Some(HostDevice {
        path: path.to_owned(),
        kind,
        major: nix::sys::stat::major(meta.rdev()),
        minor: nix::sys::stat::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

/// Makes a directory a mount of its own from which no mount spreads to other namespaces.
pub fn private_mount(path: &Path) -> io::Result<()> {
    if !mounts_below(path)?.iter().any(|m| m == path) {
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    Ok(mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?)
}

/// The mount points at and below a path, as they came.
pub fn mounts_below(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let info = fs::read_to_string("/proc/self/mountinfo")?;
    let points = info.lines().filter_map(|line| line.split(' ').nth(4));
    let unescaped = points.map(|p| p.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into());
    Ok(unescaped.filter(|p: &std::path::PathBuf| p.starts_with(path)).collect())
}

/// Bytes and inodes below a directory.
pub fn disk_usage(path: &Path) -> (u64, u64) {
    let Ok(meta) = fs::symlink_metadata(path) else { return (0, 0) };
    let mut total = (meta.blocks() * 512, 1);
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (bytes, inodes) = disk_usage(&entry.path());
            total = (total.0 + bytes, total.1 + inodes);
        }
    }
    total
}
