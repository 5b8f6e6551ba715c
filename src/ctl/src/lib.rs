//! `skiff ctl`: the command line that kubectl's users know, in the same binary.
//!
//! ```text
//!   argv ──clap──► Command ──► commands::<verb>::run(&Session, args)
//!                                   │ resources::resolve("deploy") by discovery ──► Mapping
//!                                   └ Session::{get, send, stream} ──► the API, as trees
//! ```
//!
//! Output, texts and exit codes are kubectl's, so that scripts written for it work. Objects stay trees: a kind that this
//! program has never heard of works like any other.

mod cli;
mod commands;
mod error;
mod jsonpath;
mod manifest;
mod mapping;
mod merge;
mod objects;
mod pods;
mod print;
mod session;
mod stream;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::Error;
pub use print::tabs;
pub use stream::terminal;

/// Runs the command line `args` (`args[0]` is how the program was called) and prints what it has to say.
///
/// Exit code 1 on failure, as kubectl; an exec'd command's own code where there is one.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // who reads may stop reading, as `| head` does
    sigpipe::reset();
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    // another provider may be there already: either will do
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Exit(code)) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    };
    // a read of stdin that nobody waits for any more must not hold us up
    runtime.shutdown_background();
    code
}
