//! Finding again what ran before: at the agent's start, and when a shim tells what happened or is gone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::{Container, ContainerRecord, LOST, Sandbox, SandboxRecord, now, read_json, write_json};
use super::{Embedded, Inner};
use crate::Result;
use crate::shim::protocol::{Event, State};

impl Embedded {
    pub(super) async fn adopt(&self) -> Result<()> {
        let inner = &self.0;
        let entries = match fs::read_dir(inner.config.state_dir.join("sandboxes")) {
            // `killall` was here
            Err(error) if inner.beside && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let record: SandboxRecord = match read_json(&entry.path().join("sandbox.json")) {
                Ok(record) => record,
                // in the making, or on its way out
                Err(_) if inner.beside => continue,
                Err(error) => {
                    // its making was cut off before anything ran
                    tracing::warn!(sandbox = id, %error, "removing what cannot be read");
                    super::pod::remove_tree(&entry.path())?;
                    continue;
                }
            };
            let sandbox = inner.new_sandbox(&id, record);
            inner.sandboxes.lock().insert(id.clone(), sandbox.clone());
            match inner.load_containers(&sandbox) {
                // removed meanwhile
                Err(_) if inner.beside => continue,
                loaded => loaded?,
            }
            match inner.connect(&sandbox).await {
                Ok(states) => {
                    for state in states {
                        inner.learn(&sandbox, state);
                    }
                    let containers = inner.containers_of(&id).len();
                    let record = sandbox.record.lock();
                    let (namespace, pod) = (&record.config.namespace, &record.config.name);
                    tracing::info!(sandbox = id, namespace, pod, containers, "adopted");
                }
                Err(error) => {
                    tracing::info!(sandbox = id, %error, "the pod's shim is gone");
                    inner.lost(&sandbox);
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    fn load_containers(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        for entry in fs::read_dir(&sandbox.directory)?.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            let Some(id) = entry.file_name().to_str().map(str::to_owned) else { continue };
            match read_json::<ContainerRecord>(&entry.path().join("container.json")) {
                Ok(record) => {
                    let state = saved_state(&entry.path());
                    let container = Self::new_container(&id, sandbox, record, state);
                    self.containers.lock().insert(id, container);
                }
                Err(_) if self.beside => {}
                Err(error) => {
                    tracing::warn!(container = id, %error, "removing what cannot be read");
                    super::pod::remove_tree(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// From a sandbox's shim; `None`: its connection has ended.
    pub(super) fn happened(self: &Arc<Self>, sandbox: &Arc<Sandbox>, event: Option<Event>) {
        match event {
            Some(Event::Container(state)) => self.learn(sandbox, state),
            Some(Event::Exited { .. }) => {}
            // taken away first: it was told to go
            None if sandbox.shim.lock().is_some() => {
                let (inner, sandbox) = (self.clone(), sandbox.clone());
                tokio::spawn(async move { inner.reconnect(&sandbox).await });
            }
            None => {}
        }
    }

    /// A shim drops a connection whose agent is too slow to listen: only one that answers no more is dead.
    async fn reconnect(self: Arc<Self>, sandbox: &Arc<Sandbox>) {
        match self.connect(sandbox).await {
            Ok(states) => states.into_iter().for_each(|state| self.learn(sandbox, state)),
            Err(error) if sandbox.shim.lock().is_some() => {
                tracing::error!(sandbox = sandbox.id, %error, "the pod's shim died");
                self.lost(sandbox);
            }
            Err(_) => {}
        }
    }

    fn learn(&self, sandbox: &Sandbox, state: State) {
        let container = self.containers.lock().get(&state.container).cloned();
        if let Some(container) = container.filter(|c| c.sandbox.id == sandbox.id) {
            container.state.send_if_modified(|old| std::mem::replace(old, state.clone()) != state);
        }
        self.tell(sandbox);
    }

    /// Without its shim a pod is over: what is left of it is killed, and what nobody saw end is marked so.
    fn lost(&self, sandbox: &Arc<Sandbox>) {
        *sandbox.shim.lock() = None;
        sandbox.shim_pid.store(0, Ordering::Relaxed);
        for container in self.containers_of(&sandbox.id) {
            if !self.beside {
                self.cgroups.kill(&container.record.lock().cgroup.clone());
            }
            self.mark_lost(&container);
        }
        self.tell(sandbox);
    }

    fn mark_lost(&self, container: &Container) {
        let mut state = saved_state(&container.directory);
        if state.pid != 0 && !state.exited() {
            state.finished_nanos = now();
            state.exit_code = LOST;
            state.error = "its end was not seen: the pod's shim died or the machine restarted".to_owned();
            // beside the agent, it is the agent's to write
            let saved = if self.beside { Ok(()) } else { write_json(&container.directory.join("state.json"), &state) };
            if let Err(error) = saved {
                tracing::warn!(container = container.id, %error, "its state is not saved");
            }
        }
        container.state.send_replace(state);
    }
}

/// As the shim saved it; none: never started.
fn saved_state(directory: &Path) -> State {
    read_json(&directory.join("state.json")).unwrap_or_default()
}
