//! One container in the shim: its streams, its log, those attached to it, its state file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use super::log::{Log, Source};
use super::protocol::{Start, State};

pub struct Container {
    pub start: Start,
    pub state: State,
    /// stdout (or the terminal's master) and stderr, while open.
    pub outputs: [Option<File>; 2],
    /// Our end of its stdin, or a second handle on the terminal's master.
    pub stdin: Option<OwnedFd>,
    pub log: Log,
    pub attached: Vec<Attached>,
}

/// A connection that wants copies of the output.
pub struct Attached {
    pub connection: u64,
    pub sinks: [Option<Sink>; 2],
}

pub struct Sink {
    pub pipe: File,
    /// What the pipe did not take yet. While there is any, the container's stream is not read: a slow reader slows the
    /// container, as everywhere.
    pub pending: Vec<u8>,
}

const SOURCES: [Source; 2] = [Source::Stdout, Source::Stderr];

impl Container {
    /// Whether output of the stream may be read now.
    pub fn wants(&self, stream: usize) -> bool {
        self.outputs[stream].is_some() && !self.attached.iter().any(|a| a.behind(stream))
    }

    /// Takes what the stream has: one buffer full, so that one talkative container does not starve the rest; or with
    /// `drain` all that is there.
    pub fn pump(&mut self, stream: usize, drain: bool) {
        let mut buffer = [0u8; 16 * 1024];
        loop {
            let Some(output) = &mut self.outputs[stream] else { return };
            match output.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    self.log.write(SOURCES[stream], &buffer[..n], now());
                    for sink in self.attached.iter_mut().filter_map(|a| a.sinks[stream].as_mut()) {
                        sink.pending.extend_from_slice(&buffer[..n]);
                    }
                    self.attached.iter_mut().for_each(|a| a.flush(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // the end of a pipe, EIO from a terminal whose last user is gone
                _ => {
                    self.outputs[stream] = None;
                    self.log.finish(SOURCES[stream], now());
                    return;
                }
            }
            if !drain {
                return;
            }
        }
    }

    /// Writes `state.json`, whole or not at all.
    pub fn save(&self) -> io::Result<()> {
        let path = self.start.bundle.join("state.json");
        let next = path.with_extension("new");
        File::create(&next)?.write_all(&serde_json::to_vec(&self.state)?)?;
        fs::rename(next, path)
    }
}

impl Attached {
    fn behind(&self, stream: usize) -> bool {
        self.sinks[stream].as_ref().is_some_and(|s| !s.pending.is_empty())
    }

    pub fn flush(&mut self, stream: usize) {
        let Some(sink) = &mut self.sinks[stream] else { return };
        while !sink.pending.is_empty() {
            match sink.pipe.write(&sink.pending) {
                Ok(n) if n > 0 => drop(sink.pending.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    // its reader is gone
                    self.sinks[stream] = None;
                    return;
                }
            }
        }
        sink.pending = Vec::new();
    }

    pub fn idle(&self) -> bool {
        !self.behind(0) && !self.behind(1)
    }
}

/// Non-blocking, as everything that the loop reads and writes.
pub fn nonblocking(fd: OwnedFd) -> io::Result<File> {
    crate::sys::set_nonblocking(fd.as_fd())?;
    Ok(File::from(fd))
}

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)).unwrap_or(0)
}
