//! What libcontainer is told about a container: `config.json`, built from the pod's and the image's configuration as
//! containerd's CRI plugin builds it. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::shim::protocol::{Bind, User};
use crate::{ContainerConfig, SandboxConfig, image};

/// What the host contributes.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Capabilities that may be given at all: this process's bounding set.
    pub bounding: BTreeSet<&'static str>,
    /// cgroup version 2 alone.
    pub unified: bool,
    /// For privileged containers.
    pub devices: Vec<HostDevice>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HostDevice {
    pub path: PathBuf,
    /// `c` or `b`
    pub kind: char,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

pub struct Input<'i> {
    pub sandbox: &'i SandboxConfig,
    pub container: &'i ContainerConfig,
    pub image: &'i image::Config,
    pub host: &'i Host,
    /// The shim, whose namespaces are the pod's, and the first process of a shared process namespace.
    pub shim: i32,
    pub init: Option<i32>,
    /// The process whose process namespace an ephemeral container joins.
    pub target: Option<i32>,
    /// The container's and the sandbox's directories below the private mount.
    pub run: &'i Path,
    pub sandbox_run: &'i Path,
    pub cgroup: &'i str,
    pub cgroup_v1_mounts: Vec<(String, PathBuf)>,
    /// Whether the group allows the container's devices only.
    pub devices_held: bool,
    /// `container.devices`, looked up.
    pub devices: Vec<(HostDevice, String)>,
}

/// The specification and the host's mounts in it, in the order of their numbers.
pub fn spec(input: &Input) -> Result<(Value, Vec<Bind>), String> {
    let Input { sandbox, container, image, host, .. } = input;
    let security = &container.security;
    let privileged = security.privileged;
    let (mounts, binds) = mounts(input);
    let bidirectional = binds.iter().any(|b| b.propagation == "Bidirectional");
    let capabilities = json!(capabilities(input));
    let cwd = [&container.working_dir, &image.working_dir].into_iter().find(|d| !d.is_empty());
    let unmasked = privileged || security.proc_mount == "Unmasked";
    let mut readonly: Vec<&str> = if unmasked { Vec::new() } else { READONLY.to_vec() };
    if !privileged && !host.unified {
        // the tmpfs over the mounted hierarchies
        readonly.push("/sys/fs/cgroup");
    }
    let spec = json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": container.tty,
            "user": {"uid": 0, "gid": 0},
            "args": args(container, image)?,
            "env": env(sandbox, container, image),
            "cwd": cwd.map_or("/", String::as_str),
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": security.no_new_privileges,
        },
        "root": {"path": input.run.join("rootfs"), "readonly": security.read_only_root},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": input.cgroup,
            "resources": {"devices": device_rules(input)},
            "namespaces": namespaces(input),
            "devices": devices(input),
            "maskedPaths": if unmasked { &[] } else { MASKED },
            "readonlyPaths": readonly,
            "rootfsPropagation": if bidirectional { "shared" } else { "slave" },
        },
    });
    Ok((spec, binds))
}

/// Who runs it, for the shim to look up.
pub fn user(container: &ContainerConfig, image: &image::Config) -> User {
    let security = &container.security;
    let number = |n: i64| u32::try_from(n).ok();
    User {
        user: security.run_as_user.map_or_else(|| image.user.clone(), |uid| uid.to_string()),
        group: security.run_as_group.and_then(number),
        supplemental: security.supplemental_groups.iter().copied().filter_map(number).collect(),
    }
}

/// Kubernetes' rules for command and args over the image's entrypoint and cmd.
fn args(container: &ContainerConfig, image: &image::Config) -> Result<Vec<String>, String> {
    let mut args = container.command.clone();
    if args.is_empty() {
        args = image.entrypoint.clone();
        args.extend(if container.args.is_empty() { image.cmd.clone() } else { container.args.clone() });
    } else {
        args.extend(container.args.iter().cloned());
    }
    if args.first().is_none_or(String::is_empty) { Err("no command specified".to_owned()) } else { Ok(args) }
}

/// The image's, then the pod's over it.
fn env(sandbox: &SandboxConfig, container: &ContainerConfig, image: &image::Config) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match env.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value.to_owned(),
        None => env.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if container.tty {
        set("TERM", "xterm");
    }
    if !sandbox.hostname.is_empty() {
        set("HOSTNAME", &sandbox.hostname);
    }
    for line in &image.env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        set(name, value);
    }
    for (name, value) in &container.env {
        set(name, value);
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn namespaces(input: &Input) -> Vec<Value> {
    let Input { sandbox, container, host, shim, .. } = input;
    let of = |kind: &str, pid: i32, file: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")});
    let mut namespaces = vec![json!({"type": "mount"})];
    match (sandbox.host_pid, input.target.or(input.init)) {
        (true, _) => {}
        (false, Some(pid)) => namespaces.push(of("pid", pid, "pid")),
        (false, None) => namespaces.push(json!({"type": "pid"})),
    }
    if !sandbox.host_network {
        namespaces.push(of("network", *shim, "net"));
        namespaces.push(of("uts", *shim, "uts"));
    }
    if !sandbox.host_ipc {
        namespaces.push(of("ipc", *shim, "ipc"));
    }
    if host.unified && !container.security.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    namespaces
}

fn mounts(input: &Input) -> (Vec<Value>, Vec<Bind>) {
    let Input { sandbox, container, host, .. } = input;
    let privileged = container.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let mut defaults = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    if host.unified {
        defaults.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]));
    } else {
        defaults.push(mount("/sys/fs/cgroup", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755"]));
        for (name, directory) in &input.cgroup_v1_mounts {
            let options = ["rbind", "nosuid", "noexec", "nodev", access];
            defaults.push(mount(&format!("/sys/fs/cgroup/{name}"), "bind", &directory.to_string_lossy(), &options));
        }
    }
    let shm = if sandbox.host_ipc { PathBuf::from("/dev/shm") } else { input.sandbox_run.join("shm") };
    defaults.push(mount("/dev/shm", "bind", &shm.to_string_lossy(), &["rbind", "rw", "nosuid", "noexec", "nodev"]));
    // a pod's own mount takes a default's place
    let own = |value: &Value| {
        let destination = value["destination"].as_str().unwrap_or_default();
        container.mounts.iter().any(|m| m.container_path == Path::new(destination))
    };
    defaults.retain(|m| !own(m));

    let mut asked: Vec<&crate::Mount> = container.mounts.iter().collect();
    // parents before what is mounted in them
    asked.sort_by_key(|m| m.container_path.components().count());
    let mut binds = Vec::new();
    for asked in asked {
        let source = input.run.join("v").join(binds.len().to_string());
        let options = ["rbind", if asked.read_only { "ro" } else { "rw" }];
        defaults.push(mount(&asked.container_path.to_string_lossy(), "bind", &source.to_string_lossy(), &options));
        binds.push(Bind { source: asked.host_path.clone(), propagation: asked.propagation.clone() });
    }
    (defaults, binds)
}

fn capabilities(input: &Input) -> Vec<&'static str> {
    let Input { container, host, .. } = input;
    let security = &container.security;
    let mut set: BTreeSet<&'static str> =
        if security.privileged { host.bounding.clone() } else { DEFAULT_CAPABILITIES.into_iter().collect() };
    let known = |name: &str| {
        let name = name.to_ascii_uppercase();
        let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
        CAPABILITIES.iter().copied().find(|c| *c == name)
    };
    let all = |list: &[String]| list.iter().any(|n| n.eq_ignore_ascii_case("ALL"));
    if all(&security.drop_capabilities) {
        set.clear();
    }
    if all(&security.add_capabilities) {
        set.extend(CAPABILITIES);
    }
    set.extend(security.add_capabilities.iter().filter_map(|n| known(n)));
    for name in security.drop_capabilities.iter().filter_map(|n| known(n)) {
        set.remove(name);
    }
    if !security.privileged && !input.devices_held {
        // nothing would hold a made device node back
        set.remove("CAP_MKNOD");
    }
    set.into_iter().filter(|c| host.bounding.contains(c)).collect()
}

fn devices(input: &Input) -> Vec<Value> {
    let privileged = input.container.security.privileged;
    let all = input.host.devices.iter().filter(|_| privileged);
    let one = |d: &HostDevice| {
        json!({"path": d.path, "type": d.kind.to_string(), "major": d.major, "minor": d.minor,
               "fileMode": d.mode, "uid": d.uid, "gid": d.gid})
    };
    let listed = input.devices.iter().map(|(d, _)| d);
    listed.chain(all.filter(|d| !input.devices.iter().any(|(l, _)| l.path == d.path))).map(one).collect()
}

/// For cgroup version 1; libcontainer adds the standard devices.
fn device_rules(input: &Input) -> Vec<Value> {
    if input.container.security.privileged {
        return vec![json!({"allow": true, "access": "rwm"})];
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for (device, access) in &input.devices {
        rules.push(json!({"allow": true, "type": device.kind.to_string(), "major": device.major,
                          "minor": device.minor, "access": access}));
    }
    rules
}

/// By the kernel's numbers.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities in a mask of `/proc/<pid>/status`.
pub fn from_mask(mask: u64) -> BTreeSet<&'static str> {
    CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests;
