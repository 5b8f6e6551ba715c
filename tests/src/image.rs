//! The one image of these tests, `box:1`: a static busybox.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Commands that tests use; busybox's own list would do too, but for the time.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "ls", "sleep", "nc", "wget", "nslookup", "httpd", "hostname", "id", "kill", "mkdir", "ps",
    "rm", "stat", "test", "touch", "true", "false", "env", "mount", "head", "grep", "ip", "mv", "wc", "readlink", "tr",
    "sed", "trap", "sort", "uniq",
];

/// A docker-archive of it, made at the first call.
pub fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = ARCHIVE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("box.tar");
        write(&path).expect("the image can be written");
        (dir, path)
    });
    path
}

fn write(path: &Path) -> std::io::Result<()> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "tmp/", "www/", "proc/", "sys/", "dev/"] {
        layer.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), dir, std::io::empty())?;
    }
    file(&mut layer, "bin/busybox", 0o755, &busybox)?;
    file(&mut layer, "etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")?;
    for applet in APPLETS {
        layer.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "busybox")?;
    }
    let layer = layer.into_inner()?;
    let digest = hex(&layer);
    let config = json!({"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin", "IMAGE_SAYS=hello"], "Cmd": ["sh", "-c", "echo from the image; exec sleep 100000"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests"}]});
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", hex(&config));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = json!([{"Config": config_name, "RepoTags": ["box:1"], "Layers": [layer_name]}]).to_string();
    let mut archive = tar::Builder::new(std::fs::File::create(path)?);
    file(&mut archive, &layer_name, 0o644, &layer)?;
    file(&mut archive, &config_name, 0o644, &config)?;
    file(&mut archive, "manifest.json", 0o644, manifest.as_bytes())?;
    archive.into_inner()?.flush()
}

fn file<W: std::io::Write>(tar: &mut tar::Builder<W>, name: &str, mode: u32, data: &[u8]) -> std::io::Result<()> {
    tar.append_data(&mut header(tar::EntryType::Regular, mode, data.len() as u64), name, data)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}
