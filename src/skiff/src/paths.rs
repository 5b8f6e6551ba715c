//! Where this skiff keeps things. The default data directory gives the well-known names; another one gives names of its own,
//! so that several skiffs live side by side on a machine.

use std::path::{Path, PathBuf};

const DEFAULT: &str = "/var/lib/skiff";

#[derive(Debug, Clone)]
pub struct Paths {
    pub data: PathBuf,
    /// Sockets and mounts of this boot. Short: a socket's path has 107 bytes.
    pub run: PathBuf,
    /// `/kubepods`
    pub cgroup_root: String,
    /// The bridge; at most 15 bytes.
    pub bridge: String,
    /// The nftables table.
    pub table: String,
}

impl Paths {
    pub fn of(data_dir: &Path) -> Paths {
        let data = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        if data == Path::new(DEFAULT) {
            return Paths {
                data,
                run: "/run/skiff".into(),
                cgroup_root: "/kubepods".into(),
                bridge: "skiff0".into(),
                table: "skiff".into(),
            };
        }
        // FNV-1a: the same in every release
        let id = data
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
        let id = format!("{id:08x}");
        Paths {
            data,
            run: format!("/run/skiff-{id}").into(),
            cgroup_root: format!("/kubepods-{id}"),
            bridge: format!("skiff{id}"),
            table: format!("skiff_{id}"),
        }
    }

    pub fn server(&self) -> PathBuf {
        self.data.join("server")
    }
    pub fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }
    /// Archives put here are imported at start.
    pub fn image_archives(&self) -> PathBuf {
        self.agent().join("images")
    }
    /// The embedded runtime's state: image store, containers.
    pub fn runtime(&self) -> PathBuf {
        self.agent().join("runtime")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_data_directory_shares_no_name() {
        let (a, b, c) =
            (Paths::of("/var/lib/skiff".as_ref()), Paths::of("/tmp/x".as_ref()), Paths::of("/tmp/y".as_ref()));
        assert_eq!(a.bridge, "skiff0");
        assert!(b.bridge.len() <= 15 && b.bridge != c.bridge && b.run != c.run && b.cgroup_root != c.cgroup_root);
    }
}
