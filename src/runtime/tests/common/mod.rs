//! A runtime of its own in a temporary directory, with an image made from the static busybox.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::{Config, ContainerConfig, ContainerState, ContainerStatus, Embedded, Runtime, SandboxConfig};
use sha2::{Digest, Sha256};

pub const IMAGE: &str = "test/busybox:1";
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Removes all it made when it goes.
pub struct Host {
    pub directory: tempfile::TempDir,
    pub cgroup_root: String,
}

impl Host {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("skiff-rt").tempdir_in("/var/tmp").unwrap();
        Self { directory, cgroup_root: format!("/skifftest-{}-{n}", std::process::id()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(self.path("state"), self.path("run"), env!("CARGO_BIN_EXE_skiff-test-shim"));
        config.cgroup_root = self.cgroup_root.clone();
        config.registries = self.path("registries.yaml");
        config
    }

    pub async fn open(&self) -> Embedded {
        Embedded::open(self.config()).await.unwrap()
    }

    /// Opened, with the image.
    pub async fn runtime(&self) -> Embedded {
        let embedded = self.open().await;
        let archive = self.path("busybox.tar");
        std::fs::write(&archive, image(IMAGE)).unwrap();
        embedded.store().import(&archive).unwrap();
        embedded
    }

    pub fn sandbox(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            hostname: name.to_owned(),
            log_directory: self.path("logs").join(name),
            qos: "burstable".to_owned(),
            ..Default::default()
        }
    }

    /// Mounts, cgroups and processes that are still this host's.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let here = self.directory.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = format!("{here}/run/m ");
        left.extend(mounts.lines().filter(|l| l.contains(here) && !l.contains(&own)).map(str::to_owned));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let root = hierarchy.path().join(self.cgroup_root.trim_start_matches('/'));
            for qos in ["burstable", "besteffort", "."] {
                for pod in std::fs::read_dir(root.join(qos)).into_iter().flatten().flatten() {
                    if pod.file_name().to_string_lossy().starts_with("pod") {
                        left.push(pod.path().display().to_string());
                    }
                }
            }
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(here) {
                left.push(line);
            }
        }
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = runtime::killall(&self.path("state"), &self.path("run"), &self.cgroup_root) {
            eprintln!("killall: {error}");
        }
    }
}

pub fn container(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..Default::default()
    }
}

pub async fn run(runtime: &Embedded, sandbox: &str, config: ContainerConfig) -> String {
    let id = runtime.create_container(sandbox, config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    id
}

pub async fn status(runtime: &Embedded, id: &str) -> ContainerStatus {
    runtime.containers(None).await.unwrap().into_iter().find(|c| c.id == id).unwrap()
}

/// Waits for the runtime's word that it ended.
pub async fn exited(runtime: &Embedded, id: &str) -> ContainerStatus {
    let mut events = runtime.events();
    let wait = async {
        loop {
            let now = status(runtime, id).await;
            if now.state == ContainerState::Exited {
                return now;
            }
            events.recv().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the container ends in time")
}

/// What the container has logged, without times.
pub fn log(status: &ContainerStatus) -> String {
    let text = std::fs::read_to_string(&status.log_path).unwrap_or_default();
    text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned() + "\n").collect()
}

/// Looks until it holds; the condition is outside of the runtime, so there is nothing to wait on.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn image(tag: &str) -> Vec<u8> {
    image_of(tag, 1)
}

/// A docker archive with `/bin/busybox`, its applets' names and a few users; its other layers have one file each, `/n`
/// for the nth.
pub fn image_of(tag: &str, layers: usize) -> Vec<u8> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        let installed = Command::new("apt-get").args(["install", "-y", "-q", "busybox-static"]).status().unwrap();
        assert!(installed.success(), "busybox-static is needed");
    }
    let mut tar = tar::Builder::new(Vec::new());
    let directory = |tar: &mut tar::Builder<Vec<u8>>, name: &str, mode| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, name, &[][..]).unwrap();
    };
    for name in ["bin/", "etc/", "proc/", "sys/", "dev/", "home/"] {
        directory(&mut tar, name, 0o755);
    }
    directory(&mut tar, "tmp/", 0o1777);
    let mut file = |name: &str, mode, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data).unwrap();
    };
    file("bin/busybox", 0o755, &std::fs::read(busybox).unwrap());
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:Web:/home/web:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\nweb:x:1000:\nextra:x:77:web\n");
    for applet in [
        "sh", "cat", "echo", "sleep", "id", "ls", "env", "kill", "true", "false", "head", "dd", "stty", "tty", "mount",
        "hostname", "nc", "ps", "touch", "test", "stat", "tail", "grep", "yes", "trap", "pwd", "wc", "ip", "mkdir",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let mut members = vec![("layer.tar".to_owned(), tar.into_inner().unwrap())];
    for n in 1..layers {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        tar.append_data(&mut header, format!("files/{n}"), &[][..]).unwrap();
        members.push((format!("layer-{n}.tar"), tar.into_inner().unwrap()));
    }
    let hex = |data: &[u8]| Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let diff_ids: Vec<String> = members.iter().map(|(_, data)| format!("sha256:{}", hex(data))).collect();
    let names: Vec<String> = members.iter().map(|(name, _)| name.clone()).collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]);
    members.push(("config.json".to_owned(), config.to_string().into_bytes()));
    members.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    let mut archive = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, &data[..]).unwrap();
    }
    archive.into_inner().unwrap()
}
