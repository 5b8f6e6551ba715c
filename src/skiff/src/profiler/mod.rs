//! CPU profiles: another process, started for as long as one is wanted, looks at this one a hundred times a second.
//!
//! ```text
//!   GET /debug/pprof/profile ─► Helper ─► skiff profile PID MILLISECONDS ── stops each running thread for a moment,
//!                                                                           copies registers and stack, walks it ─► stdout
//! ```
//!
//! So nothing is in the server while no profile is taken: no signal handler, no buffers, no unwinder. A signal handler would
//! have to be `unsafe`, and every system call of the server could be interrupted by it.

// where stacks can be walked
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod elf;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod modules;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod sampler;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod thread;

use std::ffi::OsString;
use std::io::Write;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use apiserver::profile::CpuProfiler;
use async_trait::async_trait;
use nix::unistd::Pid;
use tokio::process::Command;

/// The first argument of the process that watches.
pub const COMMAND: &str = "profile";

/// Watches this process.
pub struct Helper;

#[async_trait]
impl CpuProfiler for Helper {
    async fn profile(&self, duration: Duration) -> Result<Vec<u8>, String> {
        let mut helper = Command::new("/proc/self/exe");
        helper.arg(COMMAND).arg(std::process::id().to_string()).arg(duration.as_millis().to_string());
        helper.stdin(Stdio::null()).kill_on_drop(true);
        let output = helper.output().await.map_err(|e| format!("cannot start the profiler: {e}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    }
}

/// The process that watches: `PID MILLISECONDS`, the profile on the standard output.
pub fn main(args: &[OsString]) -> ExitCode {
    match watch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(args: &[OsString]) -> Result<(), String> {
    let numbers: Vec<u64> = args.iter().filter_map(|a| a.to_str()?.parse().ok()).collect();
    let (Ok(pid), Some(millis)) = (i32::try_from(numbers.first().copied().unwrap_or(0)), numbers.get(1)) else {
        return Err("usage: skiff profile PID MILLISECONDS".into());
    };
    let profile = sample(Pid::from_raw(pid), Duration::from_millis(*millis))?;
    std::io::stdout().write_all(&profile).map_err(|e| e.to_string())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn sample(pid: Pid, duration: Duration) -> Result<Vec<u8>, String> {
    Ok(sampler::sample(pid, duration)?.encode())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn sample(_: Pid, _: Duration) -> Result<Vec<u8>, String> {
    Err("not on this architecture".into())
}
