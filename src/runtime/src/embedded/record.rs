//! What is known of a sandbox and a container, on disk (`sandbox.json`, `container.json`, the shim's `state.json`) and
//! in memory. Records are written before what they describe is made and removed after it is gone, so that a start
//! after a crash finds everything there is to clean up.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::client::Shim;
use crate::shim::protocol::State;
use crate::{ContainerConfig, ContainerState, ContainerStatus, SandboxConfig, SandboxStatus};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    pub config: SandboxConfig,
    pub created_nanos: i64,
    pub ips: Vec<String>,
    pub stopped: bool,
}

pub struct Sandbox {
    pub id: String,
    /// Persistent: records, and each container's upper directory.
    pub directory: PathBuf,
    /// Below the run directory's private mount.
    pub run: PathBuf,
    pub socket: PathBuf,
    pub record: Mutex<SandboxRecord>,
    /// `None`: the shim is dead.
    pub shim: Mutex<Option<Arc<Shim>>>,
    pub shim_pid: AtomicI32,
    /// The first process of a shared process namespace; 0: none.
    pub init_pid: AtomicI32,
}

impl Sandbox {
    pub fn status(&self) -> SandboxStatus {
        let record = self.record.lock().clone();
        let alive = self.shim.lock().is_some();
        let pid = self.shim_pid.load(Ordering::Relaxed);
        let netns = (alive && !record.config.host_network).then(|| format!("/proc/{pid}/ns/net").into());
        SandboxStatus {
            id: self.id.clone(),
            ready: alive && !record.stopped,
            created_nanos: record.created_nanos,
            netns,
            ips: record.ips,
            config: record.config,
        }
    }

    pub fn save(&self) -> io::Result<()> {
        write_json(&self.directory.join("sandbox.json"), &*self.record.lock())
    }

    pub fn uid(&self) -> String {
        self.record.lock().config.uid.clone()
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    pub config: ContainerConfig,
    pub created_nanos: i64,
    /// The image's name, where it has one, and its id.
    pub image: String,
    pub image_id: String,
    /// Diff ids, the lowest first.
    pub layers: Vec<String>,
    pub stop_signal: i32,
    pub cgroup: String,
    pub user: crate::shim::protocol::User,
    pub binds: Vec<crate::shim::protocol::Bind>,
}

pub struct Container {
    pub id: String,
    pub sandbox: Arc<Sandbox>,
    pub directory: PathBuf,
    pub run: PathBuf,
    pub record: Mutex<ContainerRecord>,
    /// As the shim last told; the default: created, not started.
    pub state: watch::Sender<State>,
    /// One start at a time.
    pub starting: tokio::sync::Mutex<()>,
}

impl Container {
    pub fn running(&self) -> bool {
        let state = self.state.borrow();
        state.pid != 0 && !state.exited()
    }

    /// A pod without a log directory has no logs.
    pub fn log_path(&self) -> PathBuf {
        let record = self.record.lock();
        let directory = self.sandbox.record.lock().config.log_directory.clone();
        if directory.as_os_str().is_empty() {
            return PathBuf::from("/dev/null");
        }
        directory.join(&record.config.name).join(format!("{}.log", record.config.attempt))
    }

    pub fn status(&self) -> ContainerStatus {
        let record = self.record.lock().clone();
        let state = self.state.borrow().clone();
        let (phase, reason) = match &state {
            s if s.exited() => (ContainerState::Exited, reason(s)),
            s if s.pid != 0 => (ContainerState::Running, ""),
            _ => (ContainerState::Created, ""),
        };
        ContainerStatus {
            id: self.id.clone(),
            sandbox: self.sandbox.id.clone(),
            name: record.config.name,
            attempt: record.config.attempt,
            state: phase,
            image: record.image,
            image_id: record.image_id,
            created_nanos: record.created_nanos,
            started_nanos: state.started_nanos,
            finished_nanos: state.finished_nanos,
            exit_code: state.exit_code,
            reason: reason.to_owned(),
            message: state.error,
            pid: u32::try_from(state.pid).unwrap_or(0),
            labels: record.config.labels,
            annotations: record.config.annotations,
            resources: record.config.resources,
            log_path: self.log_path(),
        }
    }
}

/// The code of a container whose end nobody saw, as containerd reports it.
pub const LOST: i32 = 255;

fn reason(state: &State) -> &'static str {
    match state {
        s if !s.error.is_empty() && s.pid == 0 => "StartError",
        s if s.oom_killed && s.exit_code != 0 => "OOMKilled",
        s if s.exit_code == LOST && !s.error.is_empty() => "Unknown",
        s if s.exit_code == 0 => "Completed",
        _ => "Error",
    }
}

/// The diff ids that containers need, by the records of a runtime's `state_dir`: for [`crate::image::Store::remove`] by
/// a command beside the agent.
pub fn layers_in_use(state_dir: &Path) -> crate::Result<HashSet<String>> {
    let children = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path());
    let containers = children(&state_dir.join("sandboxes")).flat_map(|sandbox| children(&sandbox).collect::<Vec<_>>());
    let records = containers.map(|c| c.join("container.json")).filter(|file| file.exists());
    let mut layers = HashSet::new();
    for file in records {
        layers.extend(read_json::<ContainerRecord>(&file)?.layers);
    }
    Ok(layers)
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))
}

/// Whole or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let next = path.with_extension("new");
    fs::File::create(&next)?.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(next, path)
}

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let state = |pid, exit_code, oom_killed, error: &str| State {
            pid,
            exit_code,
            oom_killed,
            error: error.to_owned(),
            finished_nanos: 1,
            ..Default::default()
        };
        for (state, want) in [
            (state(1, 0, false, ""), "Completed"),
            (state(1, 2, false, ""), "Error"),
            (state(1, 137, true, ""), "OOMKilled"),
            (state(1, 0, true, ""), "Completed"),
            (state(0, 128, false, "exec: no"), "StartError"),
            (state(1, LOST, false, "lost"), "Unknown"),
            (state(1, LOST, false, ""), "Error"),
        ] {
            assert_eq!(reason(&state), want, "{state:?}");
        }
    }
}
