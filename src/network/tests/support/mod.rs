//! Network namespaces that live as long as a thread, and what one does in them.

// not everyone uses all of it
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

/// A thread in a network namespace of its own, which lives as long as the thread.
pub struct Namespace {
    pub path: PathBuf,
    thread_id: i32,
    work: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Namespace {
    pub fn new() -> Namespace {
        let (work, jobs) = channel::<Box<dyn FnOnce() + Send>>();
        let (ready, id) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            jobs.into_iter().for_each(|job| job());
        });
        let thread_id = id.recv().unwrap();
        let path = PathBuf::from(format!("/proc/self/task/{thread_id}/ns/net"));
        Namespace { path, thread_id, work: Some(work), thread: Some(thread) }
    }

    /// Runs on the namespace's own thread.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, answer) = channel();
        let job = Box::new(move || drop(send.send(job())));
        self.work.as_ref().unwrap().send(job).unwrap();
        answer.recv().unwrap()
    }

    /// Runs on another thread in the namespace, as its own may be busy.
    pub fn beside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let path = self.path.clone();
        let thread = std::thread::spawn(move || {
            let ns = std::fs::File::open(path).unwrap();
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            job()
        });
        thread.join().unwrap()
    }

    /// Begins what takes the namespace's own thread for long.
    pub fn start(&self, job: impl FnOnce() + Send + 'static) {
        self.work.as_ref().unwrap().send(Box::new(job)).unwrap();
    }

    /// `ip ARGS`, and what it says.
    pub fn ip(&self, line: &str) -> String {
        self.run_program("ip", line)
    }

    pub fn run_program(&self, program: &str, line: &str) -> String {
        let (program, line) = (program.to_owned(), line.to_owned());
        self.beside(move || {
            let out = Command::new(&program).args(line.split(' ')).output().unwrap();
            let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            assert!(out.status.success(), "{program} {line}: {error}");
            text.into_owned()
        })
    }

    /// Puts `link`, which is here, into another namespace.
    pub fn give(&self, link: &str, to: &Namespace) {
        self.ip(&format!("link set {link} netns {}", to.thread_id));
    }

    /// Answers each connection on `port` with the caller's address, for as long as the process lives.
    pub fn serve(&self, port: u16) {
        self.beside(move || {
            let listener = TcpListener::bind(("::", port)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut s = stream.unwrap();
                    let from = s.peer_addr().unwrap().ip().to_canonical().to_string();
                    let _ = s.write_all(from.as_bytes());
                }
            });
        });
    }

    /// Answers each datagram on `port` with the port, for as long as the process lives.
    pub fn serve_datagrams(&self, port: u16) {
        self.beside(move || {
            let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 100];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(port.to_string().as_bytes(), from);
                }
            });
        });
    }

    /// What a connection from here to `to` is told, if it gets through.
    pub fn ask(&self, to: &str) -> Option<String> {
        let to = to.to_owned();
        self.beside(move || ask(&to))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.work.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a connection to `to` is told, if it gets through.
pub fn ask(to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let mut s = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
    s.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).ok()?;
    Some(text)
}

pub fn eventually<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(x) = f() {
            return x;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
