//! `skiff shim`: one small process per pod that outlives the agent.
//!
//! It holds the pod's namespaces, starts its containers (in a forked [`runner`], so that libcontainer's memory and side
//! effects end with it), writes their logs, reaps them and remembers how they ended, and answers on a socket. It has
//! one thread and one `poll`; what it does not do for a request, it does not do at all.
//!
//! ```text
//! agent ──socket──▶ shim ──fork──▶ runner ──clone──▶ container's first process (a child of the shim)
//!                    ▲ ◀──────────── pid ─┘             │ stdout, stderr: pipes
//!                    └──────────────────────────────────┘
//! ```

mod container;
mod jobs;
mod log;
pub mod protocol;
mod recorder;
mod runner;
mod server;
mod setup;
mod user;
mod workload;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::unistd::ForkResult;

use crate::sys;

/// Turns this process into a pod's shim: `args` are those after `shim`. The caller must have started no thread.
///
/// The process that was called ends with 0 when its child, the shim, listens; or with 1 and the reason on stderr.
pub fn main(args: Vec<OsString>) -> ! {
    let Some(directory) = args.first().map(PathBuf::from) else {
        eprintln!("usage: shim SANDBOX_DIRECTORY [NAMESPACE/POD]");
        std::process::exit(2);
    };
    let forked = nix::unistd::pipe2(OFlag::O_CLOEXEC)
        .map_err(std::io::Error::from)
        .and_then(|(reader, writer)| sys::fork().map(|side| (side, reader, writer)));
    let (side, reader, writer) = match forked {
        Ok(forked) => forked,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    match side {
        ForkResult::Parent { .. } => {
            drop(writer);
            let mut answer = String::new();
            // the end of the pipe without an answer: the child has died
            let _ = BufReader::new(File::from(reader)).read_line(&mut answer);
            if answer == READY {
                std::process::exit(0);
            }
            eprintln!("{}", if answer.is_empty() { "the shim ended before it was ready" } else { answer.trim() });
            std::process::exit(1);
        }
        ForkResult::Child => {
            drop(reader);
            let mut ready = File::from(writer);
            let opened = setup::open(&directory).and_then(|server| sys::detach_stdio().map(|()| server));
            match opened {
                Ok(mut server) => {
                    // a caller that no longer waits is the caller's business
                    let _ = ready.write_all(READY.as_bytes());
                    drop(ready);
                    server.run();
                    std::process::exit(0);
                }
                Err(error) => {
                    let _ = writeln!(ready, "{error}");
                    std::process::exit(1);
                }
            }
        }
    }
}

const READY: &str = "ready\n";
