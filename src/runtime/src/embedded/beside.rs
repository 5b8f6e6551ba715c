//! A second view of an agent's pods, for a command on the same machine: `skiff crictl`. It reads the same records and speaks
//! with the same shims. What the agent does with them by itself (cleaning up, marking what was lost) it leaves to the agent,
//! which learns from the shims what a command has done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::pod::remove_tree;
use super::record::{Container, read_json};
use super::{Config, Embedded, Inner, blocking};
use crate::shim::protocol::Request;
use crate::{ContainerConfig, Error, Result, Runtime};

impl Embedded {
    /// Opens what an agent with this configuration has, whether it runs or not; `None`: there was none. Needs root and a tokio
    /// runtime. Sandboxes and containers are not to be made with it; see also the methods here for stopping and removing.
    pub async fn beside(config: Config) -> Result<Option<Self>> {
        if !config.state_dir.join("images").is_dir() {
            return Ok(None);
        }
        Self::with(config, true).await.map(Some)
    }

    /// What a container was made from.
    pub fn container_config(&self, id: &str) -> Result<ContainerConfig> {
        Ok(self.0.container(id)?.record.lock().config.clone())
    }

    /// The OCI runtime specification that it runs by.
    pub fn container_spec(&self, id: &str) -> Result<Value> {
        Ok(read_json(&self.0.container(id)?.directory.join("config.json"))?)
    }

    /// The process that holds a sandbox's namespaces; 0: it has ended.
    pub fn sandbox_pid(&self, id: &str) -> Result<i32> {
        let sandbox = self.0.sandbox(id)?;
        let alive = sandbox.shim.lock().is_some();
        Ok(if alive { sandbox.shim_pid.load(std::sync::atomic::Ordering::Relaxed) } else { 0 })
    }

    /// Removes one that has ended. The agent removes what it still knows of it in its own time.
    pub async fn forget_container(&self, id: &str) -> Result<()> {
        let container = self.0.container(id)?;
        if container.running() {
            return Err(Error::Other(format!("container {id} is running")));
        }
        self.0.forget(container).await
    }

    /// Ends a sandbox and all in it, as if its shim had died: the agent then makes a new one if it wants its pod to run.
    pub async fn end_sandbox(&self, id: &str) -> Result<()> {
        self.stop_sandbox(id).await?;
        let shim = self.0.sandbox(id)?.shim.lock().take();
        match shim {
            Some(shim) => shim.request(Request::Shutdown).await.map(drop),
            None => Ok(()),
        }
    }

    /// Removes one that has ended, with its containers.
    pub async fn forget_sandbox(&self, id: &str) -> Result<()> {
        let sandbox = self.0.sandbox(id)?;
        if sandbox.status().ready {
            return Err(Error::Other(format!("sandbox {id} is running")));
        }
        for container in self.0.containers_of(id) {
            self.0.forget(container).await?;
        }
        // its pod's group may be another sandbox's by now
        self.0.sandboxes.lock().remove(id);
        blocking(move || {
            super::clean::unmount_below(&sandbox.run)?;
            remove_tree(&sandbox.run)?;
            remove_tree(&sandbox.directory)
        })
        .await
    }
}

impl Inner {
    async fn forget(&self, container: Arc<Container>) -> Result<()> {
        if let Ok(shim) = self.shim(&container.sandbox) {
            shim.request(Request::Remove { container: container.id.clone() }).await?;
        }
        self.containers.lock().remove(&container.id);
        let cgroups = self.cgroups.clone();
        blocking(move || {
            cgroups.remove(&container.record.lock().cgroup.clone(), Duration::from_secs(10))?;
            remove_tree(&container.run)?;
            remove_tree(&container.directory)
        })
        .await
    }
}

/// As [`std::fs::canonicalize`]; what is not there has no other name.
pub(super) fn real(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
