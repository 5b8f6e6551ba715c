//! What a shim does once, before it serves: cgroup, namespaces, loopback, hostname, sysctls, `/dev/shm`, socket.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::protocol::ShimConfig;
use super::runner;
use super::server::Server;
use crate::cgroup::Cgroups;
use crate::sys;

/// The shim's configuration in the sandbox's directory.
pub const CONFIG: &str = "shim.json";

pub fn open(directory: &Path) -> io::Result<Server> {
    let config: ShimConfig = serde_json::from_slice(&fs::read(directory.join(CONFIG))?)?;
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    sys::ignore(&[Signal::SIGPIPE, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM])?;
    nix::sys::prctl::set_child_subreaper(true)?;
    // without CAP_SYS_RESOURCE it stays what it was
    let _ = fs::write("/proc/self/oom_score_adj", "-998");
    let cgroups = Cgroups::detect()?;
    // a hierarchy that refuses is one from which the agent's manager cannot kill us either
    let _ = cgroups.adopt(&config.cgroup, nix::unistd::getpid().as_raw());
    namespaces(&config)?;
    let shm = config.run.join("shm");
    if config.ipc {
        runner::mount_shm(&shm).map_err(|e| at("/dev/shm", e))?;
    }
    let init = if config.pid { Some(init()?) } else { None };
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let _ = fs::remove_file(&config.socket);
    let listener = sys::listen(&config.socket).map_err(|e| at(&config.socket.display().to_string(), e))?;
    Ok(Server::new(config, cgroups, signals, listener, init))
}

fn namespaces(config: &ShimConfig) -> io::Result<()> {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWNET, config.network);
    flags.set(CloneFlags::CLONE_NEWIPC, config.ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, !config.hostname.is_empty());
    if !flags.is_empty() {
        nix::sched::unshare(flags).map_err(|e| at("namespaces", e.into()))?;
    }
    if config.network {
        sys::loopback_up().map_err(|e| at("loopback", e))?;
    }
    if !config.hostname.is_empty() {
        nix::unistd::sethostname(&config.hostname)?;
    }
    for (name, value) in &config.sysctls {
        // `net.ipv4.conf.eth0/1.x`: a slash stands for a dot within a part
        let path: String = name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect();
        if path.split('/').any(|part| part == "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("sysctl {name}")));
        }
        fs::write(Path::new("/proc/sys").join(path), value).map_err(|e| at(&format!("sysctl {name}={value}"), e))?;
    }
    Ok(())
}

/// The first process of a shared process namespace: it reaps, and ends with the shim.
fn init() -> io::Result<Pid> {
    let own = fs::File::open("/proc/self/ns/pid")?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)?;
    match sys::fork()? {
        ForkResult::Parent { child } => {
            // later children belong to the shim's namespace again
            nix::sched::setns(own.as_fd(), CloneFlags::CLONE_NEWPID)?;
            Ok(child)
        }
        ForkResult::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let _ = nix::sys::prctl::set_name(c"pause");
            let _ = sys::detach_stdio();
            sys::close_all();
            let mut mask = SigSet::empty();
            mask.add(Signal::SIGCHLD);
            let _ = mask.thread_block();
            loop {
                while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    if status == WaitStatus::StillAlive {
                        break;
                    }
                }
                let _ = mask.wait();
            }
        }
    }
}

fn at(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
