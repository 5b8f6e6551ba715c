//! Waiting for a file to grow: inotify, never a poll.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// Tells of changes in one directory.
pub struct Watched {
    /// To tokio an inotify descriptor is one more that can be waited for and read, like a pipe.
    events: Receiver,
}

impl Watched {
    pub fn directory(path: &Path) -> io::Result<Watched> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let moved = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MOVED_FROM;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | moved)?;
        Ok(Watched { events: Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))? })
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut any = false;
        loop {
            match self.events.try_read(&mut buffer) {
                Ok(_) => any = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && any => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.events.readable().await?,
                Err(e) => return Err(e),
            }
        }
    }
}
