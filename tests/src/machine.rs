//! A machine: a data directory, perhaps a network and mounts of its own, and the skiff process that runs on it. Nothing of it
//! is left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use crate::image;
use crate::lan::Netns;

/// A test that takes longer hangs.
const HANGS: Duration = Duration::from_secs(280);

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

pub struct Machine {
    // in the order in which they go
    child: Mutex<Option<Child>>,
    mounts: Option<Mounts>,
    dir: tempfile::TempDir,
    netns: Option<Netns>,
}

impl Machine {
    pub fn new(netns: Option<Netns>) -> Machine {
        let dir = tempfile::Builder::new().prefix("skiff-box").tempdir_in("/var/tmp").expect("/var/tmp is writable");
        Machine { child: Mutex::new(None), mounts: None, dir, netns }
    }

    /// With a mount namespace of its own, as different machines have.
    pub fn apart(netns: Netns) -> Machine {
        let mut machine = Machine::new(Some(netns));
        machine.mounts = Some(Mounts::new(machine.dir().join("ns")));
        machine
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
    pub fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// Puts the test image where its pods find it.
    pub fn import_image(&self) {
        self.import(image::archive());
    }
    pub fn import(&self, archive: &Path) {
        self.skiff(&["image", "import", "--data-dir", &self.data(), archive.to_str().expect("a plain path")]);
    }

    /// Starts a process that logs to [`Machine::log`], and waits until it is `ready`.
    pub fn spawn(&self, mut command: Command, ready: impl Fn() -> bool) {
        let log =
            File::options().create(true).append(true).open(self.dir().join("log")).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut child = command.spawn().expect("skiff can be run");
        let end = Instant::now() + Duration::from_secs(30);
        while !ready() {
            let gone = child.try_wait().expect("our child");
            if gone.is_some() || Instant::now() > end {
                let _ = child.kill();
                panic!("skiff did not start ({gone:?}):\n{}", self.log());
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
        assert_eq!(status.signal(), Some(9), "skiff had ended by itself:\n{}", self.log());
    }

    fn end(&self, signal: Signal) -> (Duration, ExitStatus) {
        let mut child = self.child.lock().take().expect("skiff runs");
        let pid = Pid::from_raw(child.id().cast_signed());
        let began = Instant::now();
        kill(pid, signal).expect("our child");
        let (sender, ended) = mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let status = child.wait().expect("our child");
            let _ = sender.send((began.elapsed(), status));
        });
        let in_time = ended.recv_timeout(Duration::from_secs(20));
        if in_time.is_err() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        waiter.join().expect("it only waits");
        in_time.unwrap_or_else(|_| panic!("skiff does not end on {signal}:\n{}", self.log()))
    }

    /// Whether the process has ended by itself, and how.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().as_mut()?.try_wait().expect("our child")
    }

    /// Runs a test's future on a thread in this machine's network; panics if it hangs.
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

    /// A program on this machine, with its kubeconfig.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.netns {
            // not `ip netns exec`: that mounts a sysfs of its own, without the cgroups
            Some(netns) => {
                let mut c = Command::new("nsenter");
                c.arg(format!("--net={}", netns.path()));
                if let Some(mounts) = &self.mounts {
                    c.arg(format!("--mount={}", mounts.file().display()));
                }
                c.arg("--").arg(program);
                c
            }
            None => Command::new(program),
        };
        command.env("KUBECONFIG", self.kubeconfig()).env_remove("SKIFF_DATA_DIR");
        // the disk that the tests run on may be full
        command.env("SKIFF_KUBELET_ARG", "eviction-hard=,image-gc-high-threshold=100");
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

impl Drop for Machine {
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

/// A mount namespace that lives as long as the file that it is bound to: the next process of the machine finds the mounts of
/// the last.
struct Mounts(PathBuf);

impl Mounts {
    fn new(dir: PathBuf) -> Mounts {
        std::fs::create_dir(&dir).expect("a directory of ours");
        // the file of a mount namespace must not be carried into it
        succeed(Command::new("mount").arg("--bind").args([&dir, &dir]));
        let mounts = Mounts(dir);
        succeed(Command::new("mount").arg("--make-private").arg(&mounts.0));
        File::create(mounts.file()).expect("a file of ours");
        let bound = format!("--mount={}", mounts.file().display());
        succeed(Command::new("unshare").args([&bound, "--propagation", "private", "true"]));
        mounts
    }
    fn file(&self) -> PathBuf {
        self.0.join("mnt")
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.file()).output();
        let _ = Command::new("umount").arg(&self.0).output();
    }
}
