//! The commands, from flags to what is printed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::flags::{AgentFlags, DataDir, ImageCommand, NodeCommand, ServerFlags, TokenFlags};
use crate::paths::Paths;

/// One line on stderr, with the causes. Why a machine could not join is told by the exit code, too.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("skiff: {error:#}");
    error.downcast_ref::<tunnel::Error>().map_or(ExitCode::FAILURE, |e| ExitCode::from(e.exit_code()))
}

fn need_root(what: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("{what} needs root");
    }
    Ok(())
}

pub fn server(flags: ServerFlags) -> Result<()> {
    if !flags.disable_agent {
        need_root("a node (without --disable-agent)")?;
    }
    long_running(crate::server::run(flags))
}

pub fn agent(flags: AgentFlags) -> Result<()> {
    if let Some(count) = flags.simulate {
        return long_running(crate::hollow::run(flags, count));
    }
    need_root("a node")?;
    long_running(crate::remote::run(flags))
}

fn long_running(work: impl Future<Output = Result<()>>) -> Result<()> {
    crate::logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get()).min(8))
        .max_blocking_threads(32)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
        .context("runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

pub fn token(flags: TokenFlags) -> Result<()> {
    current_thread()?.block_on(crate::token::run(flags))
}

pub fn node(command: NodeCommand) -> Result<()> {
    current_thread()?.block_on(crate::revoke::run(command))
}

pub fn secrets_encrypt(command: crate::encrypt::EncryptCommand) -> Result<()> {
    current_thread()?.block_on(crate::encrypt::run(command))
}

pub fn killall(flags: &DataDir) -> Result<()> {
    need_root("killall")?;
    let paths = Paths::of(&flags.data_dir);
    runtime::killall(&paths.runtime(), &paths.run, &paths.cgroup_root)?;
    crate::agent::unmount_below(&paths.agent())?;
    // the pods' address records go with their interfaces
    let _ = std::fs::remove_dir_all(paths.agent().join("network"));
    current_thread()?.block_on(network::teardown(&paths.bridge, &paths.table))?;
    Ok(())
}

fn current_thread() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")
}

pub fn image(command: ImageCommand) -> Result<()> {
    need_root("skiff image")?;
    match command {
        ImageCommand::Import { data, archives } => {
            let store = images(&data.data_dir)?;
            for archive in archives {
                for image in store.import(&archive)? {
                    println!("{}", image.tags.first().unwrap_or(&image.id));
                }
            }
        }
        ImageCommand::Ls { data } => {
            print!("{}", crate::crictl::image_table(&images(&data.data_dir)?.list()?, false, false));
        }
        ImageCommand::Rm { data, images: names } => {
            let store = images(&data.data_dir)?;
            let in_use = runtime::layers_in_use(&Paths::of(&data.data_dir).runtime())?;
            for name in names {
                if store.find(&name)?.is_none() {
                    bail!("image {name:?} is not here");
                }
                store.remove(&name, &in_use)?;
                println!("{name}");
            }
        }
        ImageCommand::Pull { data, images: names } => {
            let store = images(&data.data_dir)?;
            let registries = runtime::image::Registries::load(Path::new(crate::agent::REGISTRIES))?;
            let _ = rustls::crypto::ring::default_provider().install_default();
            for name in names {
                println!("{}", current_thread()?.block_on(store.pull(&name, None, &registries))?);
            }
        }
    }
    Ok(())
}

fn images(data_dir: &Path) -> Result<Arc<runtime::image::Store>> {
    let root = Paths::of(data_dir).runtime().join("images");
    Ok(Arc::new(runtime::image::Store::open(&root, false).with_context(|| root.display().to_string())?))
}
