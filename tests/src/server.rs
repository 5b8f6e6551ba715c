//! A skiff server as a process: start, stop, kill, and nothing left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use crate::{Api, image};

/// A test that takes longer hangs.
const HANGS: Duration = Duration::from_secs(150);

/// The binary under test: `SKIFF`, or the last release build.
pub fn skiff() -> &'static Path {
    static SKIFF: OnceLock<PathBuf> = OnceLock::new();
    SKIFF.get_or_init(|| {
        let path = std::env::var_os("SKIFF").map_or_else(
            || {
                let target = std::env::var_os("CARGO_TARGET_DIR")
                    .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
                target.join("release/skiff")
            },
            PathBuf::from,
        );
        assert!(path.exists(), "no binary to test: build it, and set SKIFF ({} is not there)", path.display());
        path
    })
}

/// A data directory, perhaps a network namespace, and the process that runs on them.
pub struct Server {
    dir: tempfile::TempDir,
    netns: Option<Netns>,
    args: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Only the control plane; the first free port.
    pub fn control_plane(args: &[&str]) -> Server {
        let mut all = vec!["--disable-agent", "--https-listen-port", "0", "--node-name", "n1"];
        all.extend(args);
        Server::new(None, &all)
    }

    /// A whole cluster of one node, `n1`, on a machine of its own: a network namespace.
    pub fn node(args: &[&str]) -> Server {
        let mut all = vec!["--node-name", "n1"];
        all.extend(args);
        let server = Server::new(Some(Netns::new()), &all);
        server.skiff(&[
            "image",
            "import",
            "--data-dir",
            &server.data(),
            image::archive().to_str().expect("a plain path"),
        ]);
        server
    }

    fn new(netns: Option<Netns>, args: &[&str]) -> Server {
        let dir = tempfile::Builder::new().prefix("skiff-box").tempdir_in("/var/tmp").expect("/var/tmp is writable");
        Server { dir, netns, args: args.iter().map(|a| (*a).to_owned()).collect(), child: Mutex::new(None) }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    pub fn data(&self) -> String {
        self.dir().join("data").display().to_string()
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().as_ref().map(Child::id)
    }

    /// `skiff server` with this server's arguments, not yet run.
    pub fn server_command(&self) -> Command {
        let mut command = self.command(skiff());
        command
            .args(["server", "--data-dir", &self.data(), "--write-kubeconfig"])
            .arg(self.kubeconfig())
            .args(&self.args);
        command
    }

    /// Starts the process and waits for its API.
    pub fn start(&self) {
        self.start_with(self.server_command());
    }

    pub fn start_with(&self, mut command: Command) {
        let _ = std::fs::remove_file(self.kubeconfig());
        let log =
            File::options().create(true).append(true).open(self.dir().join("log")).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut child = command.spawn().expect("skiff can be run");
        let end = Instant::now() + Duration::from_secs(30);
        // written when the API answers
        while !self.kubeconfig().exists() {
            let gone = child.try_wait().expect("our child");
            if gone.is_some() || Instant::now() > end {
                let _ = child.kill();
                panic!("the server did not start ({gone:?}):\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        *self.child.lock() = Some(child);
    }

    /// SIGTERM; how long it took, and the exit status.
    pub fn stop(&self) -> (Duration, ExitStatus) {
        self.end(Signal::SIGTERM)
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let (_, status) = self.end(Signal::SIGKILL);
        assert_eq!(status.signal(), Some(9), "the server had ended by itself:\n{}", self.log());
    }

    fn end(&self, signal: Signal) -> (Duration, ExitStatus) {
        let mut child = self.child.lock().take().expect("the server runs");
        let began = Instant::now();
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("our child");
        loop {
            if let Some(status) = child.try_wait().expect("our child") {
                return (began.elapsed(), status);
            }
            if began.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                panic!("the server does not end on {signal}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client with the admin's kubeconfig. Inside [`Server::run`] only: that is where the network is.
    pub async fn api(&self) -> Api {
        Api::from_kubeconfig(&self.kubeconfig()).await
    }

    /// Runs a test's future on a thread in this server's network; panics if it hangs.
    pub fn run<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        let body = || {
            if let Some(netns) = &self.netns {
                let file = File::open(netns.path()).expect("the namespace is there");
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
            }
            // threads that it makes inherit the namespace
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let result = runtime.block_on(async { tokio::time::timeout(HANGS, future).await });
            runtime.shutdown_background();
            result.unwrap_or_else(|_| panic!("the test hangs: {HANGS:?}"))
        };
        std::thread::scope(|s| s.spawn(body).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A program in this server's network, with its kubeconfig.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.netns {
            // not `ip netns exec`: that mounts a sysfs of its own, without the cgroups
            Some(netns) => {
                let mut c = Command::new("nsenter");
                c.arg(format!("--net={}", netns.path())).arg("--").arg(program);
                c
            }
            None => Command::new(program),
        };
        command.env("KUBECONFIG", self.kubeconfig()).env_remove("SKIFF_DATA_DIR");
        command
    }

    /// `skiff ARGS`, which must succeed; its output.
    pub fn skiff(&self, args: &[&str]) -> String {
        succeed(self.command(skiff()).args(args))
    }

    /// `kubectl ARGS`; `None` where there is none on this machine.
    pub fn kubectl(&self, args: &[&str]) -> Option<Output> {
        static THERE: OnceLock<bool> = OnceLock::new();
        let there = *THERE.get_or_init(|| Command::new("kubectl").args(["version", "--client"]).output().is_ok());
        let cache = self.dir().join("kubectl-cache");
        there.then(|| self.command("kubectl").arg("--cache-dir").arg(cache).args(args).output().expect("kubectl runs"))
    }

    pub fn killall(&self) {
        self.skiff(&["killall", "--data-dir", &self.data()]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.netns.is_some() {
            let _ = self.command(skiff()).args(["killall", "--data-dir", &self.data()]).output();
        }
    }
}

/// Runs to its end; its output, or a panic with what it said.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A network namespace with a way out, as a machine has: skiff asks the default route for the node's address.
struct Netns(String);

impl Netns {
    fn new() -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skiffbox{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let netns = Netns(name);
        for line in [
            "link set lo up",
            "link add up0 type veth peer name up1",
            "addr add 192.0.2.10/24 dev up0",
            "link set up0 up",
            "link set up1 up",
            "route add default via 192.0.2.1",
        ] {
            succeed(Command::new("ip").args(["-n", &netns.0]).args(line.split(' ')));
        }
        netns
    }
    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}
