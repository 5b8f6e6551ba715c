//! Control groups, version 1, 2 and both at once (hybrid: the controllers are where the host mounted them).
//!
//! A group is named by one path (`/kubepods/burstable/pod<uid>/<container>`), which is the same in every hierarchy.
//! [`values`] is pure: it says which value goes into which file.

pub mod devices;
mod stats;
mod values;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Resources;
pub use stats::Usage;

/// One mounted hierarchy. Controllers of version 2 are those that its root offers.
#[derive(Debug, Clone, PartialEq)]
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
    controllers: Vec<String>,
}

/// The host's hierarchies.
#[derive(Debug, Clone, PartialEq)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// As this process sees them mounted.
    pub fn detect() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn parse(mountinfo: &str) -> io::Result<Self> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            let mount = PathBuf::from(mount);
            if !mount.starts_with("/sys/fs/cgroup") {
                continue;
            }
            let hierarchy = match kind {
                Some("cgroup2") => {
                    let offered = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
                    let controllers = offered.split_whitespace().map(str::to_owned).collect();
                    Hierarchy { mount, v2: true, controllers }
                }
                Some("cgroup") => {
                    const FLAGS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "release_agent"];
                    let controllers = options.split(',').filter(|o| !FLAGS.contains(o)).map(str::to_owned).collect();
                    Hierarchy { mount, v2: false, controllers }
                }
                _ => continue,
            };
            if !hierarchies.iter().any(|h| h.mount == hierarchy.mount) {
                hierarchies.push(hierarchy);
            }
        }
        if hierarchies.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy is mounted below /sys/fs/cgroup"));
        }
        Ok(Self { hierarchies })
    }

    /// Version 2 alone: `/sys/fs/cgroup` itself is it.
    pub fn unified(&self) -> bool {
        self.hierarchies.iter().all(|h| h.v2)
    }

    /// `(mount point's name, its directory)` of each version 1 hierarchy, for a container's `/sys/fs/cgroup`.
    pub fn v1_mounts(&self, path: &str) -> Vec<(String, PathBuf)> {
        let named = |h: &Hierarchy| Some((h.mount.file_name()?.to_str()?.to_owned(), h.directory(path)));
        self.controlling().filter(|h| !h.v2).filter_map(named).collect()
    }

    /// The hierarchies that groups are made in: an empty version 2 beside version 1 is left to systemd.
    fn controlling(&self) -> impl Iterator<Item = &Hierarchy> {
        self.hierarchies.iter().filter(|h| self.unified() || (!h.v2 && !h.named()))
    }

    /// Makes the group with its parents and sets its limits. What the host does not offer is left out.
    pub fn create(&self, path: &str, resources: &Resources, container: bool) -> io::Result<()> {
        for hierarchy in self.controlling() {
            hierarchy.make(path)?;
        }
        self.set(path, resources, container)
    }

    /// Sets the limits of an existing group.
    pub fn set(&self, path: &str, resources: &Resources, container: bool) -> io::Result<()> {
        for hierarchy in self.controlling() {
            for value in values::values(hierarchy.v2, resources, container) {
                if !hierarchy.controllers.iter().any(|c| c == value.controller) {
                    continue;
                }
                let file = hierarchy.directory(path).join(&value.file);
                match write(&file, &value.text) {
                    Err(error) if value.optional => tracing::debug!(file = %file.display(), %error, "not supported"),
                    Err(error) => {
                        let text = format!("{} to {}: {error}", value.text, file.display());
                        return Err(io::Error::new(error.kind(), text));
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Lets the group's processes use these devices only. Version 2; in version 1 libcontainer sees to it.
    pub fn allow_devices(&self, path: &str, rules: &[devices::Rule]) -> io::Result<()> {
        let Some(hierarchy) = self.hierarchies.iter().find(|h| h.v2).filter(|_| self.unified()) else { return Ok(()) };
        let group = fs::File::open(hierarchy.directory(path))?;
        crate::sys::attach_device_program(group.as_fd(), &devices::program(rules))
    }

    /// Moves a process into the group in every hierarchy, also those that only track (systemd's). For shims, which
    /// must survive the end of the service that started them.
    pub fn adopt(&self, path: &str, pid: i32) -> io::Result<()> {
        let mut result = Ok(());
        for hierarchy in &self.hierarchies {
            let moved = hierarchy
                .make(path)
                .and_then(|()| write(&hierarchy.directory(path).join("cgroup.procs"), &pid.to_string()));
            result = result.and(moved);
        }
        result
    }

    /// All processes in the group and below.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        fn walk(directory: &Path, pids: &mut Vec<i32>) {
            if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
                pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0));
            }
            for child in children(directory) {
                walk(&child, pids);
            }
        }
        let mut pids = Vec::new();
        // every process is in every hierarchy; one is enough
        if let Some(hierarchy) = self.controlling().find(|h| h.v2 || h.controllers.iter().any(|c| c == "pids")) {
            walk(&hierarchy.directory(path), &mut pids);
        } else {
            self.controlling().for_each(|h| walk(&h.directory(path), &mut pids));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// SIGKILL to all in it. Returns how many there were.
    pub fn kill(&self, path: &str) -> usize {
        let pids = self.processes(path);
        let v2 = self.hierarchies.iter().find(|h| h.v2).filter(|_| self.unified());
        if v2.is_none_or(|h| write(&h.directory(path).join("cgroup.kill"), "1").is_err()) {
            for pid in &pids {
                // it may be gone already
                let _ = nix::sys::signal::kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
        pids.len()
    }

    /// Kills all in it and removes it and what is below it, in every hierarchy. Blocks until the kernel lets go, at
    /// most for `patience`.
    pub fn remove(&self, path: &str, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let alive = self.kill(path);
            let mut busy = None;
            for hierarchy in &self.hierarchies {
                if let Err(error) = remove_tree(&hierarchy.directory(path)) {
                    busy = Some(error);
                }
            }
            match busy {
                None => return Ok(()),
                Some(error) if Instant::now() >= deadline => {
                    return Err(io::Error::new(error.kind(), format!("{path} with {alive} processes: {error}")));
                }
                // a killed process leaves its group a moment later; version 1 has no event for it
                Some(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// How often the kernel has killed a process of the group for want of memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let Some(hierarchy) = self.with("memory") else { return 0 };
        let file = if hierarchy.v2 { "memory.events" } else { "memory.oom_control" };
        stats::field(&read(&hierarchy.directory(path).join(file)), "oom_kill").unwrap_or(0)
    }

    pub fn usage(&self, path: &str) -> Usage {
        let file = |controller: &str, name: &str| {
            self.with(controller).map(|h| read(&h.directory(path).join(name))).unwrap_or_default()
        };
        if self.with("memory").is_some_and(|h| h.v2) {
            // cpu.stat is there without its controller too
            let cpu = self.hierarchies.iter().find(|h| h.v2);
            let cpu = cpu.map(|h| read(&h.directory(path).join("cpu.stat"))).unwrap_or_default();
            stats::v2(
                &cpu,
                &file("memory", "memory.current"),
                &file("memory", "memory.stat"),
                &file("pids", "pids.current"),
            )
        } else {
            stats::v1(
                &file("cpuacct", "cpuacct.usage"),
                &file("memory", "memory.usage_in_bytes"),
                &file("memory", "memory.stat"),
                &file("pids", "pids.current"),
            )
        }
    }

    fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.controlling().find(|h| h.controllers.iter().any(|c| c == controller))
    }
}

impl Hierarchy {
    fn directory(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }

    /// `name=systemd`: a hierarchy without a controller.
    fn named(&self) -> bool {
        self.controllers.iter().all(|c| c.starts_with("name="))
    }

    fn make(&self, path: &str) -> io::Result<()> {
        let mut current = self.mount.clone();
        for part in path.trim_start_matches('/').split('/') {
            if self.v2 {
                for controller in &self.controllers {
                    // one that cannot be had for a subtree (cpuset with real-time processes, …) is done without
                    let _ = write(&current.join("cgroup.subtree_control"), &format!("+{controller}"));
                }
            }
            let child = current.join(part);
            match fs::create_dir(&child) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", child.display()))),
            }
            if !self.v2 && self.controllers.iter().any(|c| c == "cpuset") {
                // a new cpuset of version 1 is empty and takes no process until it is filled
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if read(&child.join(file)).trim().is_empty() {
                        let _ = write(&child.join(file), read(&current.join(file)).trim());
                    }
                }
            }
            current = child;
        }
        Ok(())
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
34 30 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_uses_version_1() {
        let cgroups = Cgroups::parse(HYBRID).unwrap();
        assert!(!cgroups.unified());
        let used: Vec<_> = cgroups.controlling().map(|h| h.mount.display().to_string()).collect();
        assert_eq!(used, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]);
        assert_eq!(cgroups.with("cpuacct").unwrap().mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        let mounts = cgroups.v1_mounts("/kubepods/podx/c");
        assert_eq!(mounts[0].0, "cpu,cpuacct");
        assert_eq!(mounts[0].1, Path::new("/sys/fs/cgroup/cpu,cpuacct/kubepods/podx/c"));
        assert_eq!(mounts.len(), 2, "not systemd's, where no group of ours is");
    }

    #[test]
    fn a_unified_host_uses_version_2() {
        let cgroups = Cgroups::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n").unwrap();
        assert!(cgroups.unified());
        assert_eq!(cgroups.controlling().count(), 1);
        assert!(Cgroups::parse("").is_err());
    }

    #[test]
    fn groups_of_a_fake_unified_host() {
        let root = tempfile::tempdir().unwrap();
        let names = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
        let hierarchy = Hierarchy { mount: root.path().to_owned(), v2: true, controllers: names };
        let cgroups = Cgroups { hierarchies: vec![hierarchy] };
        let group = root.path().join("kubepods/podx/c");
        fs::create_dir_all(&group).unwrap();
        for file in ["cpu.max", "cpu.weight", "memory.max", "memory.oom.group", "pids.max"] {
            fs::write(group.join(file), "").unwrap();
        }
        fs::write(group.join("memory.events"), "low 0\noom 2\noom_kill 1\n").unwrap();
        let resources = Resources { memory_limit_bytes: Some(1 << 20), cpu_shares: 1024, ..Default::default() };
        cgroups.create("/kubepods/podx/c", &resources, true).unwrap();
        assert_eq!(read(&group.join("memory.max")), "1048576");
        assert_eq!(read(&group.join("cpu.weight")), "39");
        assert_eq!(cgroups.oom_kills("/kubepods/podx/c"), 1);
    }

    /// The real thing, as far as this machine has it: a hybrid host mounts version 2 without controllers.
    #[test]
    fn version_2_kills_and_removes() {
        let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let Some(mount) = mounted.into_iter().find(|m| m.join("cgroup.controllers").exists()) else { return };
        let cgroups = Cgroups { hierarchies: vec![Hierarchy { mount, v2: true, controllers: Vec::new() }] };
        let path = format!("/skifftest-{}/pod/c", std::process::id());
        cgroups.create(&path, &Resources::default(), true).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        cgroups.adopt(&path, pid).unwrap();
        assert!(cgroups.unified());

        cgroups.allow_devices(&path, &devices::defaults()).unwrap();
        let script = "read go; for d in null zero full urandom tty kmsg mem fuse; do (: < /dev/$d) 2>&1; done";
        let mut reader = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        cgroups.adopt(&path, i32::try_from(reader.id()).unwrap()).unwrap();
        std::io::Write::write_all(&mut reader.stdin.take().unwrap(), b"go\n").unwrap();
        let said = String::from_utf8(reader.wait_with_output().unwrap().stdout).unwrap();
        let denied: Vec<_> = said.lines().filter(|l| l.contains("not permitted")).collect();
        for (device, allowed) in [("null", true), ("zero", true), ("urandom", true), ("kmsg", false), ("fuse", false)] {
            let path = format!("/dev/{device}");
            if Path::new(&path).exists() {
                assert_eq!(!denied.iter().any(|l| l.contains(&path)), allowed, "{device}: {said}");
            }
        }
        let top = format!("/skifftest-{}", std::process::id());
        cgroups.kill(&top);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        cgroups.remove(&top, Duration::from_secs(5)).unwrap();
        assert!(!cgroups.hierarchies[0].directory(&top).exists());
    }
}
