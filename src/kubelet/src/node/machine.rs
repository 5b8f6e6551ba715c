//! What the kernel says about this machine. Upstream's cadvisor `MachineInfo`.

use std::path::Path;

use nix::sys::statvfs::statvfs;

#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    /// `amd64`, `arm64`
    pub architecture: String,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// One line of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(name: &str) -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<i64>().ok()).unwrap_or(0) * 1024
}

impl Machine {
    pub fn read() -> Machine {
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).map(|v| v.trim_matches('"').to_owned());
        let machine_id = Some(read("/etc/machine-id")).filter(|i| !i.is_empty());
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let machine_id = machine_id.unwrap_or_else(|| boot_id.replace('-', ""));
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
            memory_bytes: meminfo("MemTotal"),
            system_uuid: Some(read("/sys/class/dmi/id/product_uuid"))
                .filter(|u| !u.is_empty())
                .unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id,
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or_else(|| "Linux".into()),
            architecture: architecture().into(),
        }
    }
}

/// As Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// A file system's size, what is free for everyone, and its inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub capacity_bytes: u64,
    /// Also what only root may take.
    pub free_bytes: u64,
    pub available_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

impl FileSystem {
    /// What everyone may fill: the capacity without root's reserve.
    pub fn usable_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.free_bytes) + self.available_bytes
    }
}

pub(crate) fn file_system(path: &Path) -> FileSystem {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let Ok(s) = statvfs(existing) else { return FileSystem::default() };
    let unit = s.fragment_size();
    FileSystem {
        capacity_bytes: s.blocks() * unit,
        free_bytes: s.blocks_free() * unit,
        available_bytes: s.blocks_available() * unit,
        inodes: s.files(),
        inodes_free: s.files_free(),
    }
}
