//! The user's terminal: raw while a command runs in it, and its size.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::AsyncRead;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Raw mode until dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// `None` where stdin is no terminal.
    pub fn enter() -> Option<Raw> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Stdin, to read beside other things.
pub fn stdin() -> std::io::Result<Box<dyn AsyncRead + Unpin + Send>> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(Box::new(tokio::fs::File::from_std(fd.into())))
}

pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The terminal's sizes: the first at once, then each new one.
pub struct Sizes {
    first: bool,
    changes: Option<Signal>,
}

impl Sizes {
    pub fn new(wanted: bool) -> Sizes {
        Sizes { first: wanted, changes: wanted.then(|| signal(SignalKind::window_change()).ok()).flatten() }
    }

    /// Columns and lines. Never ends where there is no terminal.
    pub async fn next(&mut self) -> (u16, u16) {
        loop {
            if !std::mem::take(&mut self.first) {
                let changed = match &mut self.changes {
                    Some(changes) => changes.recv().await,
                    None => None,
                };
                if changed.is_none() {
                    std::future::pending::<()>().await;
                }
            }
            if let Some((width, height)) = terminal_size::terminal_size() {
                return (width.0, height.0);
            }
        }
    }
}
