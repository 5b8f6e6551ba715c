//! The process that makes a container's process: forked from the shim for each start and exec, it does what is heavy or
//! one-way (a mount namespace of its own, libcontainer, `oom_score_adj`) and ends. What it leaves behind, the
//! container's first process, is the shim's child.
//!
//! The root overlay and the container's mounts are made in the runner's mount namespace, so the host's never has them:
//! they go with the container's last process, whatever happens.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount};
use nix::sched::CloneFlags;
use serde_json::Value;

use super::protocol::{Exec, Start};
use super::workload::Workload;
use super::{recorder, user};
use crate::sys;

/// The process's ends of its streams; with a terminal none, but the socket that its master goes to.
#[derive(Default)]
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub console: Option<std::path::PathBuf>,
}

/// libcontainer's id of every container: each has a root directory of its own.
const ID: &str = "oci";

/// Makes and starts a container. Runs in the forked runner; returns its pid.
pub fn start(request: &Start, stdio: Stdio) -> Result<i32, String> {
    explained(&request.run, || start_container(request, stdio))
}

/// Starts one more process in a running container. Runs in the forked runner; returns its pid.
pub fn exec(start: &Start, request: &Exec, stdio: Stdio) -> Result<i32, String> {
    explained(&start.run, || exec_process(start, request, stdio))
}

/// Adds the cause that libcontainer has logged to what it says.
fn explained(run: &Path, work: impl FnOnce() -> Result<i32, String>) -> Result<i32, String> {
    let recording = recorder::begin(run).map_err(text("the recording"))?;
    work().map_err(|error| match recording.first() {
        Some(cause) if !error.contains(&cause) && !error.contains("exec: ") => format!("{error}: {cause}"),
        _ => error,
    })
}

fn start_container(request: &Start, stdio: Stdio) -> Result<i32, String> {
    prepare()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(text("a mount namespace"))?;
    let root = request.run.join("rootfs");
    overlay(request, &root)?;
    for (index, bind) in request.binds.iter().enumerate() {
        let target = request.run.join("v").join(index.to_string());
        stage(bind, &target).map_err(|e| format!("mount {}: {e}", bind.source.display()))?;
    }
    let config = request.bundle.join("config.json");
    let mut spec = read_json(&config)?;
    identify(&mut spec, &root, request)?;
    fs::write(&config, spec.to_string()).map_err(text("config.json"))?;
    adjust_oom_score(request.oom_score_adj);
    // a start that failed, or a boot that kept the run directory, may have left it
    let _ = fs::remove_dir_all(request.run.join(ID));
    let mut container = builder(&request.run, stdio)?
        .as_init(&request.bundle)
        .with_systemd(false)
        .as_sibling(true)
        .with_detach(true)
        .build()
        .map_err(chain)?;
    container.start().map_err(chain)?;
    container.pid().map(|pid| pid.as_raw()).ok_or_else(|| "the container has no process".to_owned())
}

fn exec_process(start: &Start, request: &Exec, stdio: Stdio) -> Result<i32, String> {
    prepare()?;
    let spec = read_json(&start.bundle.join("config.json"))?;
    let mut process = spec.get("process").cloned().ok_or("config.json has no process")?;
    process["args"] = request.command.clone().into();
    process["terminal"] = request.tty.into();
    if let Some(env) = process["env"].as_array_mut().filter(|_| request.tty)
        && !env.iter().any(|e| e.as_str().is_some_and(|e| e.starts_with("TERM=")))
    {
        env.push("TERM=xterm".into());
    }
    let file = start.run.join(format!("exec-{}.json", std::process::id()));
    fs::write(&file, process.to_string()).map_err(text("the process's description"))?;
    adjust_oom_score(start.oom_score_adj);
    let result =
        builder(&start.run, stdio)?.as_tenant().with_process(Some(&file)).as_sibling(true).with_detach(true).build();
    let _ = fs::remove_file(&file);
    result.map(|pid| pid.as_raw()).map_err(chain)
}

fn prepare() -> Result<(), String> {
    sys::reset_signals().map_err(text("signals"))?;
    // libcontainer only ever adds groups
    nix::unistd::setgroups(&[]).map_err(text("setgroups"))
}

fn builder(root: &Path, stdio: Stdio) -> Result<ContainerBuilder, String> {
    let mut builder = ContainerBuilder::new(ID.to_owned(), SyscallType::default())
        .with_root_path(root)
        .map_err(chain)?
        .with_executor(Workload)
        .with_console_socket(stdio.console);
    builder.stdin = stdio.stdin;
    builder.stdout = stdio.stdout;
    builder.stderr = stdio.stderr;
    Ok(builder)
}

fn overlay(request: &Start, root: &Path) -> Result<(), String> {
    // relative to the layers' directory, so that many fit into the one page that mount options have
    std::env::set_current_dir(&request.layer_dir).map_err(text("the layers' directory"))?;
    let (upper, work) = (request.bundle.join("upper"), request.bundle.join("work"));
    if request.layers.is_empty() {
        // an image of nothing: overlayfs would insist on a lower directory
        return mount(Some(&upper), root, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(text("mount the root"));
    }
    let lower = request.layers.join(":");
    let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| format!("mount the root overlay of {} layers: {e}", request.layers.len()))?;
    std::env::set_current_dir("/").map_err(text("chdir"))
}

/// Binds a host path where libcontainer takes it from, with its propagation, which libcontainer leaves as it is.
fn stage(bind: &super::protocol::Bind, target: &Path) -> io::Result<()> {
    let directory = match fs::metadata(&bind.source) {
        Ok(meta) => meta.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(&bind.source)?;
            true
        }
        Err(error) => return Err(error),
    };
    match directory {
        true => fs::create_dir_all(target)?,
        false => drop(fs::OpenOptions::new().create(true).append(true).open(target)?),
    }
    mount(Some(&bind.source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    let kind = match bind.propagation.as_str() {
        "Bidirectional" => MsFlags::MS_SHARED,
        "HostToContainer" => MsFlags::MS_SLAVE,
        _ => MsFlags::MS_PRIVATE,
    };
    mount(None::<&str>, target, None::<&str>, kind | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

/// Fills in the user as the container's own files name it, and makes the working directory.
fn identify(spec: &mut Value, root: &Path, request: &Start) -> Result<(), String> {
    let root = sys::open_root(root).map_err(text("the container's root"))?;
    let read = |path: &str| -> String {
        let mut text = String::new();
        // an image without them is common; a huge or strange one is not read to its end
        if let Ok(file) = sys::open_in(root.as_fd(), Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            let _ = fs::File::from(file).take(4 << 20).read_to_string(&mut text);
        }
        text
    };
    let identity = user::resolve(&request.user, &read("etc/passwd"), &read("etc/group"))?;
    let process = &mut spec["process"];
    process["user"]["uid"] = identity.uid.into();
    process["user"]["gid"] = identity.gid.into();
    process["user"]["additionalGids"] = identity.groups.into();
    if let Some(env) = process["env"].as_array_mut()
        && !env.iter().any(|e| e.as_str().is_some_and(|e| e.starts_with("HOME=")))
    {
        let home = if identity.home.is_empty() { "/" } else { &identity.home };
        env.push(format!("HOME={home}").into());
    }
    if let Some(cwd) = process["cwd"].as_str() {
        sys::mkdir_in(root.as_fd(), Path::new(cwd)).map_err(|e| format!("working directory {cwd}: {e}"))?;
    }
    Ok(())
}

/// Raising is always allowed; lowering needs CAP_SYS_RESOURCE, and without it the score stays as it is (the agent has
/// warned).
fn adjust_oom_score(score: Option<i32>) {
    let _ = fs::write("/proc/self/oom_score_adj", score.unwrap_or(0).to_string());
}

/// Mounts a sandbox's `/dev/shm`.
pub fn mount_shm(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("shm"), path, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))?)
}

pub fn unmount(path: &Path) {
    // not mounted is as good
    let _ = nix::mount::umount2(path, MntFlags::MNT_DETACH);
}

fn read_json(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn text<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

/// An error with its causes, each said once.
fn chain(error: libcontainer::error::LibcontainerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
