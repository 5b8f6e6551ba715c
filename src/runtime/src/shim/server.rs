//! The shim's loop: one `poll` over the socket, the connections, the children and the containers' streams.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::container::{Attached, Container, Sink, nonblocking, now};
use super::jobs::Runner;
use super::protocol::{Envelope, Event, Message, Reply, Request, ShimConfig, State};
use super::runner;
use crate::cgroup::Cgroups;
use crate::sys;

pub struct Server {
    config: ShimConfig,
    pub(super) cgroups: Cgroups,
    signals: SignalFd,
    listener: OwnedFd,
    init: Option<Pid>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) runners: Vec<Runner>,
    pub(super) execs: Vec<Running>,
    /// Children that ended before their runner could say whose they are.
    pub(super) strays: Vec<(i32, i32)>,
    pub(super) next: u64,
    /// Work was done since the last time that there was none.
    pub(super) busy: bool,
    done: bool,
}

pub(super) struct Connection {
    socket: OwnedFd,
    control: bool,
}

/// An exec'd process and the connection it belongs to.
pub(super) struct Running {
    pub pid: i32,
    pub connection: u64,
}

/// So long after the last work, what was needed for it is given back: milliseconds.
const QUIET: u16 = 1000;

enum Ready {
    Listener,
    Signals,
    Connection(u64),
    Runner(usize),
    Output(String, usize),
    Sink(String, u64, usize),
}

impl Server {
    pub fn new(config: ShimConfig, cgroups: Cgroups, signals: SignalFd, listener: OwnedFd, init: Option<Pid>) -> Self {
        Self {
            config,
            cgroups,
            signals,
            listener,
            init,
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            runners: Vec::new(),
            execs: Vec::new(),
            strays: Vec::new(),
            next: 0,
            busy: true,
            done: false,
        }
    }

    /// Serves until it is told to shut down.
    pub fn run(&mut self) {
        let mut buffer = Vec::new();
        self.finish_runners();
        while !self.done {
            for ready in self.wait() {
                self.busy |= !matches!(ready, Ready::Output(..) | Ready::Sink(..));
                match ready {
                    Ready::Signals => self.reap(),
                    Ready::Listener => self.accept(),
                    Ready::Connection(id) => self.receive(id, &mut buffer),
                    Ready::Runner(index) => self.hear(index),
                    Ready::Output(container, stream) => {
                        if let Some(found) = self.containers.get_mut(&container) {
                            found.pump(stream, false);
                        }
                        self.settle(&container);
                    }
                    Ready::Sink(container, connection, stream) => {
                        if let Some(found) = self.containers.get_mut(&container) {
                            found
                                .attached
                                .iter_mut()
                                .filter(|a| a.connection == connection)
                                .for_each(|a| a.flush(stream));
                        }
                        self.settle(&container);
                    }
                }
            }
            self.finish_runners();
        }
        runner::unmount(&self.config.run.join("shm"));
        let _ = std::fs::remove_file(&self.config.socket);
    }

    /// Sleeps until something happens, and says what.
    fn wait(&mut self) -> Vec<Ready> {
        let mut watched: Vec<(PollFd, Ready)> = Vec::new();
        let mut watch = |fd, flags, name| watched.push((PollFd::new(fd, flags), name));
        watch(self.signals.as_fd(), PollFlags::POLLIN, Ready::Signals);
        watch(self.listener.as_fd(), PollFlags::POLLIN, Ready::Listener);
        for (id, connection) in &self.connections {
            watch(connection.socket.as_fd(), PollFlags::POLLIN, Ready::Connection(*id));
        }
        for (index, runner) in self.runners.iter().enumerate() {
            watch(runner.answer.as_fd(), PollFlags::POLLIN, Ready::Runner(index));
        }
        for (id, container) in &self.containers {
            for stream in 0..2 {
                if let Some(output) = container.outputs[stream].as_ref().filter(|_| container.wants(stream)) {
                    watch(output.as_fd(), PollFlags::POLLIN, Ready::Output(id.clone(), stream));
                }
                for attached in &container.attached {
                    if let Some(sink) = &attached.sinks[stream] {
                        // without data to write, only the end of its reader matters: POLLERR, which always counts
                        let flags = if sink.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
                        watch(sink.pipe.as_fd(), flags, Ready::Sink(id.clone(), attached.connection, stream));
                    }
                }
            }
        }
        let (mut fds, names): (Vec<PollFd>, Vec<Ready>) = watched.into_iter().unzip();
        let limit = if self.busy && self.runners.is_empty() { PollTimeout::from(QUIET) } else { PollTimeout::NONE };
        match nix::poll::poll(&mut fds, limit) {
            Ok(0) => {
                drop((fds, names));
                self.busy = false;
                // only a matter of size
                let _ = sys::drop_text();
                return Vec::new();
            }
            Ok(_) => {}
            // EINTR: nothing is ready, look again
            Err(_) => return Vec::new(),
        }
        let happened = |fd: &PollFd| fd.revents().is_some_and(|r| !r.is_empty());
        fds.iter().zip(names).filter(|(fd, _)| happened(fd)).map(|(_, name)| name).collect()
    }

    fn accept(&mut self) {
        while let Ok(socket) = sys::accept(self.listener.as_fd()) {
            self.next += 1;
            self.connections.insert(self.next, Connection { socket, control: false });
        }
    }

    fn receive(&mut self, id: u64, buffer: &mut Vec<u8>) {
        let Some(connection) = self.connections.get(&id) else { return };
        buffer.resize(sys::PACKET_MAX, 0);
        let received = sys::receive(connection.socket.as_fd(), buffer);
        match received {
            Ok((n, fds)) if n > 0 => match serde_json::from_slice::<Envelope>(&buffer[..n]) {
                Ok(envelope) => self.handle(id, envelope, fds),
                Err(_) => self.close(id),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.close(id),
        }
        // large packets are rare; an idle shim keeps no buffer
        *buffer = Vec::new();
    }

    fn handle(&mut self, id: u64, Envelope { seq, request }: Envelope, fds: Vec<OwnedFd>) {
        let done = match request {
            Request::Hello => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.control = true;
                }
                let containers = self.containers.values().map(|c| c.state.clone()).collect();
                let init = self.init.map(Pid::as_raw);
                Ok(Some((Reply::Hello { pid: nix::unistd::getpid().as_raw(), init, containers }, Vec::new())))
            }
            Request::Start(start) => self.start(id, seq, *start),
            Request::Exec(exec) => self.exec(id, seq, &exec, fds).map(|()| None),
            Request::Attach { container, stdin, stdout, stderr } => {
                self.attach(id, &container, [stdout, stderr], stdin, fds).map(Some)
            }
            Request::Signal { container, signal, all } => self.signal(&container, signal, all),
            Request::ReopenLog { container } => self.find(&container).and_then(|c| {
                c.log.reopen().map_err(|e| e.to_string())?;
                DONE
            }),
            Request::Remove { container } => {
                if self.containers.get(&container).is_some_and(|c| !c.state.exited()) {
                    Err("the container is running".to_owned())
                } else {
                    self.containers.remove(&container);
                    DONE
                }
            }
            Request::Connect { port, v6 } => {
                connect(port, v6).map(|fd| Some((Reply::Done, vec![fd]))).map_err(|e| e.to_string())
            }
            Request::Shutdown => {
                for container in self.containers.values() {
                    self.cgroups.kill(&container.start.cgroup);
                }
                self.done = true;
                DONE
            }
        };
        match done {
            Ok(Some((reply, fds))) => self.reply(id, seq, Ok(reply), &fds),
            Ok(None) => {}
            Err(text) => self.reply(id, seq, Err(text), &[]),
        }
    }

    pub(super) fn reply(&mut self, id: u64, seq: u64, result: Result<Reply, String>, fds: &[OwnedFd]) {
        self.send(id, &Message::Reply { seq, result }, fds);
    }

    /// A peer that does not take its messages loses its connection, and learns all when it comes again.
    fn send(&mut self, id: u64, message: &Message, fds: &[OwnedFd]) {
        let Some(connection) = self.connections.get(&id) else { return };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = serde_json::to_vec(message)
            .map_err(io::Error::from)
            .and_then(|data| sys::send(connection.socket.as_fd(), &data, &fds));
        if sent.is_err() {
            self.close(id);
        }
    }

    fn close(&mut self, id: u64) {
        self.connections.remove(&id);
        for container in self.containers.values_mut() {
            container.attached.retain(|a| a.connection != id);
        }
        for exec in self.execs.iter().filter(|e| e.connection == id) {
            kill(exec.pid, libc::SIGKILL);
        }
    }

    pub(super) fn find(&mut self, container: &str) -> Result<&mut Container, String> {
        self.containers.get_mut(container).ok_or_else(|| format!("container {container} is not running"))
    }

    fn attach(
        &mut self,
        id: u64,
        container: &str,
        wanted: [bool; 2],
        stdin: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), String> {
        let container = self.find(container)?;
        if container.state.exited() {
            return Err("the container has ended".to_owned());
        }
        let mut fds = fds.into_iter();
        let mut sinks = [None, None];
        for (sink, wanted) in sinks.iter_mut().zip(wanted) {
            if wanted {
                let fd = fds.next().ok_or("a stream's descriptor is missing")?;
                let pipe = nonblocking(fd).map_err(|e| e.to_string())?;
                *sink = Some(Sink { pipe, pending: Vec::new() });
            }
        }
        let mut back = Vec::new();
        if stdin || container.start.tty {
            let once = container.start.stdin_once && !container.start.tty;
            // given away when it is for one session only: its end is then the container's end of input
            let input = match (&container.stdin, once) {
                (Some(_), true) => container.stdin.take(),
                (Some(input), false) => Some(input.try_clone().map_err(|e| e.to_string())?),
                (None, _) => None,
            };
            back.extend(input);
        }
        container.attached.push(Attached { connection: id, sinks });
        Ok((Reply::Done, back))
    }

    fn signal(&mut self, container: &str, signal: i32, all: bool) -> Done {
        let Some(found) = self.containers.get(container) else { return DONE };
        if all && signal == libc::SIGKILL {
            self.cgroups.kill(&found.start.cgroup);
        }
        if !found.state.exited() && found.state.pid > 0 {
            kill(found.state.pid, signal);
        }
        DONE
    }

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.ended(pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// A child has ended: a container, an exec, or one that only passed through (runners, orphans).
    pub(super) fn ended(&mut self, pid: i32, code: i32) {
        if let Some(index) = self.execs.iter().position(|e| e.pid == pid) {
            let exec = self.execs.swap_remove(index);
            self.send(exec.connection, &Message::Event(Event::Exited { code }), &[]);
            return;
        }
        let Some(container) = self.containers.values_mut().find(|c| c.state.pid == pid && !c.state.exited()) else {
            if !self.runners.is_empty() {
                self.strays.push((pid, code));
            }
            return;
        };
        // without a process namespace of its own, what it left behind still runs
        self.cgroups.kill(&container.start.cgroup);
        container.state.oom_killed = self.cgroups.oom_kills(&container.start.cgroup) > 0;
        container.pump(0, true);
        container.pump(1, true);
        container.stdin = None;
        container.state.exit_code = code;
        container.state.finished_nanos = now();
        // a full disk does not keep the agent from learning it now
        let _ = container.save();
        let state = container.state.clone();
        self.announce(&state);
        self.settle(&state.container);
    }

    /// Tells every agent.
    pub(super) fn announce(&mut self, state: &State) {
        let control: Vec<u64> = self.connections.iter().filter(|(_, c)| c.control).map(|(id, _)| *id).collect();
        for id in control {
            self.send(id, &Message::Event(Event::Container(state.clone())), &[]);
        }
    }

    /// Lets go of those attached to an ended container once they have all its output.
    fn settle(&mut self, container: &str) {
        let Some(container) = self.containers.get_mut(container).filter(|c| c.state.exited()) else { return };
        let code = container.state.exit_code;
        let (gone, stay) = std::mem::take(&mut container.attached).into_iter().partition(Attached::idle);
        container.attached = stay;
        let gone: Vec<Attached> = gone;
        for attached in gone {
            self.send(attached.connection, &Message::Event(Event::Exited { code }), &[]);
        }
    }
}

pub(super) type Done = Result<Option<(Reply, Vec<OwnedFd>)>, String>;
const DONE: Done = Ok(Some((Reply::Done, Vec::new())));

pub(super) fn kill(pid: i32, signal: i32) {
    // it may be a zombie that is about to be reaped
    let _ = sys::kill(pid, signal);
}

/// A connection inside the network namespace that the shim lives in, begun but not awaited.
fn connect(port: u16, v6: bool) -> io::Result<OwnedFd> {
    use nix::sys::socket::{connect, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, flags, None)?;
    let connected = if v6 {
        let address = std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0);
        connect(fd.as_raw_fd(), &SockaddrIn6::from(address))
    } else {
        connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))
    };
    match connected {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}
