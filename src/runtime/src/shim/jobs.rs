//! Starts and execs: a runner is forked, and what it answers is acted on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::ForkResult;

use super::container::{Container, nonblocking, now};
use super::log::Log;
use super::protocol::{Exec, Reply, Start, State};
use super::runner::{self, Stdio};
use super::server::{Done, Running, Server, kill};
use crate::sys;

/// A runner at work, and who waits for it.
pub(super) struct Runner {
    pub answer: File,
    text: Vec<u8>,
    connection: u64,
    seq: u64,
    job: Job,
    console: Option<Console>,
}

enum Job {
    Start(String),
    Exec,
}

/// Where a terminal's master arrives.
struct Console {
    listener: OwnedFd,
    path: PathBuf,
}

impl Server {
    pub(super) fn start(&mut self, id: u64, seq: u64, start: Start) -> Done {
        if let Some(container) = self.containers.get(&start.container) {
            return Ok(Some((Reply::Started(container.state.clone()), Vec::new())));
        }
        let name = start.container.clone();
        let (stdio, outputs, stdin, console) = self.streams(&start).map_err(|e| e.to_string())?;
        let log = Log::open(&start.log, start.log_max_bytes, start.log_max_files)
            .map_err(|e| format!("log {}: {e}", start.log.display()))?;
        let request = start.clone();
        let answer = fork(move || runner::start(&request, stdio))?;
        let state = State { container: name.clone(), ..Default::default() };
        let container = Container { start, state, outputs, stdin, log, attached: Vec::new() };
        self.containers.insert(name.clone(), container);
        self.busy = true;
        self.runners.push(Runner { answer, text: Vec::new(), connection: id, seq, job: Job::Start(name), console });
        Ok(None)
    }

    /// A container's streams: the process's ends and ours.
    fn streams(&self, start: &Start) -> io::Result<Streams> {
        if start.tty {
            let console = Console::open(&start.run, "console")?;
            let stdio = Stdio { console: Some(console.path.clone()), ..Default::default() };
            return Ok((stdio, [None, None], None, Some(console)));
        }
        let mut stdio = Stdio::default();
        let mut stdin = None;
        if start.stdin {
            let (theirs, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            sys::set_nonblocking(ours.as_fd())?;
            (stdio.stdin, stdin) = (Some(theirs), Some(ours));
        }
        let (out, out_theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (err, err_theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        (stdio.stdout, stdio.stderr) = (Some(out_theirs), Some(err_theirs));
        Ok((stdio, [Some(nonblocking(out)?), Some(nonblocking(err)?)], stdin, None))
    }

    pub(super) fn exec(&mut self, id: u64, seq: u64, exec: &Exec, fds: Vec<OwnedFd>) -> Result<(), String> {
        self.next += 1;
        let label = format!("exec-{}", self.next);
        let container = self.find(&exec.container)?;
        if container.state.pid == 0 || container.state.exited() {
            return Err(format!("container {} is not running", exec.container));
        }
        let start = container.start.clone();
        let mut fds = fds.into_iter();
        let mut stdio = Stdio::default();
        let mut console = None;
        if exec.tty {
            let opened = Console::open(&start.run, &label).map_err(|e| e.to_string())?;
            stdio.console = Some(opened.path.clone());
            console = Some(opened);
        } else {
            for (wanted, end) in
                [(exec.stdin, &mut stdio.stdin), (exec.stdout, &mut stdio.stdout), (exec.stderr, &mut stdio.stderr)]
            {
                if wanted {
                    *end = Some(fds.next().ok_or("a stream's descriptor is missing")?);
                }
            }
        }
        let request = exec.clone();
        let answer = fork(move || runner::exec(&start, &request, stdio))?;
        self.busy = true;
        self.runners.push(Runner { answer, text: Vec::new(), connection: id, seq, job: Job::Exec, console });
        Ok(())
    }

    pub(super) fn hear(&mut self, index: usize) {
        let Some(runner) = self.runners.get_mut(index) else { return };
        let mut buffer = [0; 4096];
        match runner.answer.read(&mut buffer) {
            Ok(n) if n > 0 => runner.text.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // its end without an answer
            _ => runner.text.extend_from_slice(b"{\"Err\":\"the runner died\"}\n"),
        }
    }

    /// Acts on the runners that have answered.
    pub(super) fn finish_runners(&mut self) {
        while let Some(index) = self.runners.iter().position(|r| r.text.contains(&b'\n')) {
            let runner = self.runners.swap_remove(index);
            let line = runner.text.split(|b| *b == b'\n').next().unwrap_or_default();
            let result: Result<i32, String> =
                serde_json::from_slice(line).unwrap_or_else(|e| Err(format!("the runner's answer: {e}")));
            let master = match (&result, &runner.console) {
                (Ok(_), Some(console)) => console.master().map(Some).map_err(|e| format!("terminal: {e}")),
                _ => Ok(None),
            };
            match &runner.job {
                Job::Start(name) => self.started(&runner, name, result, master),
                Job::Exec => self.execed(&runner, result, master),
            }
        }
        if self.runners.is_empty() {
            self.strays = Vec::new();
        }
    }

    fn started(&mut self, runner: &Runner, name: &str, result: Result<i32, String>, master: Master) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let terminal = master.and_then(|master| {
            if let Some(master) = master {
                container.stdin = Some(master.try_clone().map_err(|e| e.to_string())?);
                container.outputs[0] = Some(nonblocking(master).map_err(|e| e.to_string())?);
            }
            Ok(())
        });
        match result.and_then(|pid| terminal.map(|()| pid)) {
            Ok(pid) => {
                container.state.pid = pid;
                container.state.started_nanos = now();
                let _ = container.save();
                let state = container.state.clone();
                self.orphaned(runner, &state);
                self.reply(runner.connection, runner.seq, Ok(Reply::Started(state)), &[]);
                if let Some(index) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    let (pid, code) = self.strays.swap_remove(index);
                    self.ended(pid, code);
                }
            }
            Err(error) => {
                container.state.error = error.clone();
                (container.state.finished_nanos, container.state.exit_code) = (now(), 128);
                let _ = container.save();
                if let Some(container) = self.containers.remove(name) {
                    self.cgroups.kill(&container.start.cgroup);
                    self.orphaned(runner, &container.state);
                }
                self.reply(runner.connection, runner.seq, Err(error), &[]);
            }
        }
    }

    /// The agent that asked has ended: its successor learns it.
    fn orphaned(&mut self, runner: &Runner, state: &State) {
        if !self.connections.contains_key(&runner.connection) {
            self.announce(state);
        }
    }

    fn execed(&mut self, runner: &Runner, result: Result<i32, String>, master: Master) {
        let result = result.and_then(|pid| master.map(|master| (pid, master)));
        match result {
            Ok((pid, master)) => {
                let fds: Vec<OwnedFd> = master.into_iter().collect();
                self.execs.push(Running { pid, connection: runner.connection });
                self.reply(runner.connection, runner.seq, Ok(Reply::Done), &fds);
                if let Some(index) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    let (pid, code) = self.strays.swap_remove(index);
                    self.ended(pid, code);
                } else if !self.connections.contains_key(&runner.connection) {
                    kill(pid, libc::SIGKILL);
                }
            }
            Err(error) => self.reply(runner.connection, runner.seq, Err(error), &[]),
        }
    }
}

type Streams = (Stdio, [Option<File>; 2], Option<OwnedFd>, Option<Console>);
type Master = Result<Option<OwnedFd>, String>;

/// Runs `work` in a forked child, whose result comes as one line of JSON.
fn fork(work: impl FnOnce() -> Result<i32, String>) -> Result<File, String> {
    let (answer, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| e.to_string())?;
    match sys::fork().map_err(|e| e.to_string())? {
        ForkResult::Parent { .. } => nonblocking(answer).map_err(|e| e.to_string()),
        ForkResult::Child => {
            let mut line = serde_json::to_vec(&work()).unwrap_or_default();
            line.push(b'\n');
            let _ = io::Write::write_all(&mut File::from(write), &line);
            sys::exit_now(0);
        }
    }
}

impl Console {
    fn open(run: &Path, name: &str) -> io::Result<Self> {
        let name = format!("{name}.sock");
        let path = run.join(&name);
        let _ = std::fs::remove_file(&path);
        // a socket's address has room for 107 bytes: go through the directory's descriptor
        let listener = sys::listen_stream(&sys::at(&sys::open_root(run)?, name.as_ref()))?;
        Ok(Self { listener, path })
    }

    /// The terminal, which libcontainer sent before it reported success.
    fn master(&self) -> io::Result<OwnedFd> {
        let connection = sys::accept(self.listener.as_fd())?;
        let (_, fds) = sys::receive(connection.as_fd(), &mut [0; 4096])?;
        fds.into_iter().next().ok_or_else(|| io::Error::other("no descriptor came"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
