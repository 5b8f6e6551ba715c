//! `skiff crictl`, and what a link named `crictl` is: the node's containers, sandboxes and images as the tool of that name shows
//! them. Names, flags and formats are those of crictl 1.3x; errors go to stderr as it prints them, with exit code 1, and an
//! exec'd command's own code passes through.
//!
//! There is no CRI socket behind it. It reads the embedded runtime's records and speaks with the pods' shims, beside a running
//! skiff or without one; the kubelet notices what is stopped here as it notices any exit.

mod containers;
mod flags;
mod images;
mod pods;
mod select;
mod show;
mod stats;
mod streams;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use runtime::Embedded;
use serde_json::json;

use crate::paths::Paths;
use flags::{Cli, Command};

pub use images::table as image_table;

/// Runs the command line `args`; `args[0]` is how the program was called.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // what cannot be printed has no reader
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("FATA[0000] {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    if !nix::unistd::geteuid().is_root() {
        bail!("crictl needs root");
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    let done = runtime.block_on(command(cli));
    // a read of stdin that nobody waits for any more must not hold us up
    runtime.shutdown_background();
    done
}

async fn command(cli: Cli) -> Result<u8> {
    let paths = Paths::of(&cli.data.data_dir);
    let config = runtime::Config {
        cgroup_root: paths.cgroup_root.clone(),
        registries: crate::agent::REGISTRIES.into(),
        ..runtime::Config::new(paths.runtime(), &paths.run, "/proc/self/exe")
    };
    let Some(node) = Embedded::beside(config).await? else {
        bail!("no skiff has run on this node: there is nothing in {}", paths.runtime().display());
    };
    if !matches!(cli.command, Command::Exec(_) | Command::Attach(_)) {
        // who reads may stop reading, as `| head` does; a container that does not read must not end us
        sigpipe::reset();
    }
    match cli.command {
        Command::Ps(flags) => containers::ps(&node, flags).await?,
        Command::Inspect(flags) => containers::inspect(&node, &flags).await?,
        Command::Stop { timeout, containers } => containers::stop(&node, &containers, timeout).await?,
        Command::Rm(flags) => containers::remove(&node, flags).await?,
        Command::Pods(flags) => pods::list(&node, flags).await?,
        Command::Inspectp(flags) => pods::inspect(&node, &flags).await?,
        Command::Stopp { pods } => pods::stop(&node, &pods).await?,
        Command::Rmp(flags) => pods::remove(&node, flags).await?,
        Command::Images(flags) => images::list(&node, &flags).await?,
        Command::Inspecti(flags) => images::inspect(&node, &flags)?,
        Command::Pull(flags) => images::pull(&node, &flags).await?,
        Command::Rmi(flags) => images::remove(&node, &flags).await?,
        Command::Logs(flags) => streams::logs(&node, flags).await?,
        Command::Exec(flags) => return streams::exec(&node, flags).await,
        Command::Attach(flags) => return streams::attach(&node, flags).await,
        Command::Stats(flags) => stats::containers(&node, flags).await?,
        Command::Statsp(flags) => stats::pods(&node, flags).await?,
        Command::Info { output } => info(&node, &paths, output)?,
        Command::Version => {
            let (name, version) = runtime::Runtime::version(&node);
            println!("Version:  0.1.0\nRuntimeName:  {name}\nRuntimeVersion:  v{version}\nRuntimeApiVersion:  v1");
        }
    }
    Ok(0)
}

fn info(node: &Embedded, paths: &Paths, output: show::Format) -> Result<()> {
    let network = std::path::Path::new("/sys/class/net").join(&paths.bridge).exists();
    let condition = |kind: &str, status: bool, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": ""});
    show::print(
        output,
        &json!({
            "status": {"conditions": [
                condition("RuntimeReady", true, ""),
                condition("NetworkReady", network, if network { "" } else { "NoBridge" }),
            ]},
            "config": {
                "rootDir": paths.runtime(), "stateDir": paths.run, "cgroupRoot": paths.cgroup_root, "bridge": paths.bridge,
                "registries": crate::agent::REGISTRIES, "imageBytes": node.store().used_bytes()?,
            },
        }),
    )
}
