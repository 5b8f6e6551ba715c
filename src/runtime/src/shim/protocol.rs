//! What agent and shim say to each other: one JSON value per packet on a seqpacket socket, descriptors beside it.
//!
//! A connection is either *control* (it began with [`Request::Hello`]: any number of requests, answers by `seq`, events
//! pushed) or belongs to one exec, attach or port-forward: the request, one answer, then at most one [`Event::Exited`].
//! Closing an exec's connection kills its process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `sandbox.json`'s part that the shim reads at its start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShimConfig {
    /// Where to listen.
    pub socket: PathBuf,
    /// The sandbox's directory below the run directory's private mount.
    pub run: PathBuf,
    /// `""`: keep the host's.
    pub hostname: String,
    pub network: bool,
    pub ipc: bool,
    /// One process namespace for all containers, with a tiny init.
    pub pid: bool,
    pub sysctls: BTreeMap<String, String>,
    /// The cgroup that shims live in, away from the agent's.
    pub cgroup: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    pub seq: u64,
    pub request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Hello,
    Start(Box<Start>),
    Signal {
        container: String,
        signal: i32,
        all: bool,
    },
    ReopenLog {
        container: String,
    },
    Remove {
        container: String,
    },
    /// With the process's ends of its streams: stdin, stdout, stderr as far as they are wanted; none with a terminal.
    Exec(Box<Exec>),
    /// With write ends for the wanted outputs.
    Attach {
        container: String,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// Answered with a connecting socket.
    Connect {
        port: u16,
        v6: bool,
    },
    Shutdown,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    pub container: String,
    /// Has `config.json`, `upper`, `work`; gets `state.json`.
    pub bundle: PathBuf,
    /// The container's directory below the run directory's private mount: `rootfs`, mounts in the making, console.
    pub run: PathBuf,
    /// Where `layers` are, and their names, the uppermost first.
    pub layer_dir: PathBuf,
    pub layers: Vec<String>,
    pub binds: Vec<Bind>,
    pub user: User,
    pub cgroup: String,
    pub oom_score_adj: Option<i32>,
    pub log: PathBuf,
    /// 0: never rotated by the shim.
    pub log_max_bytes: u64,
    pub log_max_files: usize,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
}

/// A mount from the host, prepared with its propagation at `<run>/v/<index>`, which is the source in `config.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    /// `None`, `HostToContainer`, `Bidirectional`
    pub propagation: String,
}

/// Who runs it, to be looked up in the container's own `/etc/passwd`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// `""`, `name`, `uid`, `name:group`, `uid:gid`
    pub user: String,
    pub group: Option<u32>,
    pub supplemental: Vec<u32>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Exec {
    pub container: String,
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    Reply { seq: u64, result: Result<Reply, String> },
    Event(Event),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Hello { pid: i32, init: Option<i32>, containers: Vec<State> },
    Started(State),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A container's process has ended.
    Container(State),
    /// This connection's exec or attached container has ended.
    Exited { code: i32 },
}

/// A started container as the shim knows it; `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub container: String,
    pub pid: i32,
    /// Unix times; 0: not yet.
    pub started_nanos: i64,
    pub finished_nanos: i64,
    /// 128 + signal where a signal ended it.
    pub exit_code: i32,
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: String,
}

impl State {
    pub fn exited(&self) -> bool {
        self.finished_nanos != 0
    }
}
