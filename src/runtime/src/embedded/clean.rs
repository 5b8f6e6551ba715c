//! `skiff killall`: everything that pods have on this machine goes, with or without an agent.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::mount::MntFlags;

use super::host;
use super::pod::remove_tree;
use crate::cgroup::Cgroups;
use crate::shim::protocol::{Envelope, Request};
use crate::{Result, sys};

const PATIENCE: Duration = Duration::from_secs(10);

/// Kills all shims and containers of a runtime and removes their mounts, cgroups and records; images stay. `cgroup_root`
/// as in [`super::Config`]. No agent may run on the same directories. Blocks. Network namespaces go with their shims.
pub fn killall(state_dir: &Path, run_dir: &Path, cgroup_root: &str) -> Result<()> {
    let cgroups = Cgroups::detect()?;
    let root = cgroup_root.trim_end_matches('/');
    for entry in fs::read_dir(run_dir.join("s")).into_iter().flatten().flatten() {
        // one that does not listen is dead already
        if let Ok(socket) = sys::connect(&entry.path()) {
            let packet = serde_json::to_vec(&Envelope { seq: 0, request: Request::Shutdown }).unwrap_or_default();
            let _ = sys::send(socket.as_fd(), &packet, &[]);
        }
    }
    cgroups.remove(root, PATIENCE)?;
    cgroups.remove(&format!("{root}.shims"), PATIENCE)?;
    unmount_below(run_dir)?;
    remove_tree(&run_dir.join("s"))?;
    remove_tree(&run_dir.join("m"))?;
    // unless something else is in it
    let _ = fs::remove_dir(run_dir);
    remove_tree(&state_dir.join("sandboxes"))
}

/// Unmounts everything at and below a path, the innermost first.
pub(super) fn unmount_below(path: &Path) -> io::Result<()> {
    for point in host::mounts_below(path)?.iter().rev() {
        match nix::mount::umount2(point, MntFlags::MNT_DETACH) {
            // gone with what it was in
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
