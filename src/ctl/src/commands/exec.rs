//! `exec` and `attach`.

use std::io::Write;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::objects::{duration, list, text};
use crate::pods;
use crate::session::Session;
use crate::stream::{self, Remote, STDOUT, terminal};
use api::Value;

#[derive(clap::Args)]
pub struct Flags {
    /// POD or TYPE/NAME
    target: Option<String>,
    /// The command, behind --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    io: Io,
}

/// How to connect.
#[derive(clap::Args, Clone, Default)]
pub struct Io {
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Pass stdin
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Stdin is a terminal
    #[arg(short, long)]
    tty: bool,
    /// Only the command's own output
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait for a pod
    #[arg(long, default_value = "1m0s")]
    pod_running_timeout: String,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let Some(target) = &flags.target else {
        return Err(Error::other("pod, type/name or --filename must be specified"));
    };
    if flags.command.is_empty() {
        return Err(Error::other("you must specify at least one command for the container"));
    }
    let pod = pod(s, target, &flags.io).await?;
    let container = container(&pod, &flags.io)?;
    connect(s, &pod, "exec", &container, &flags.command, &flags.io).await.map(drop)
}

async fn pod(s: &Session, target: &str, io: &Io) -> Result<Value> {
    let timeout = duration(&io.pod_running_timeout)?.unwrap_or(Duration::from_secs(60));
    let pod = pods::one(s, target, timeout).await?;
    match text(&pod, "/status/phase") {
        phase @ ("Succeeded" | "Failed") => {
            Err(Error::other(format!("cannot exec into a container in a completed pod; current phase is {phase}")))
        }
        _ => Ok(pod),
    }
}

fn container(pod: &Value, io: &Io) -> Result<String> {
    match &io.container {
        Some(name) if pods::containers(pod).contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => Err(Error::other(format!("container {name} not found in pod {}", text(pod, "/metadata/name")))),
        None => pods::default_container(pod, io.quiet),
    }
}

/// Joins the user's terminal or pipes to a container until that ends; how many bytes it printed.
pub async fn connect(
    s: &Session,
    pod: &Value,
    how: &str,
    container: &str,
    command: &[String],
    io: &Io,
) -> Result<usize> {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let mut tty = io.tty;
    if tty && io.stdin && !terminal::stdin_is_terminal() {
        if !io.quiet {
            eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        tty = how == "attach";
    }
    let raw = if tty && io.stdin { terminal::Raw::enter() } else { None };
    let stdin = if io.stdin { Some(terminal::stdin()?) } else { None };
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/{how}");
    let remote = Remote { path, container, command, tty, stderr: true };
    let mut seen = 0;
    let ended = stream::run(s, remote, stdin, |channel, data| {
        seen += data.len();
        print(channel, data)
    })
    .await;
    drop(raw);
    ended.map(|()| seen)
}

/// Shows a command's output as it comes.
fn print(channel: u8, data: &[u8]) -> Result<()> {
    let written = if channel == STDOUT {
        let mut out = std::io::stdout().lock();
        out.write_all(data).and_then(|()| out.flush())
    } else {
        std::io::stderr().write_all(data)
    };
    written.map_err(|_| Error::Exit(0))
}

#[derive(clap::Args)]
pub struct AttachFlags {
    /// POD or TYPE/NAME
    target: String,
    #[command(flatten)]
    io: Io,
}

pub async fn attach(s: &Session, flags: AttachFlags) -> Result<()> {
    let pod = pod(s, &flags.target, &flags.io).await?;
    let container = container(&pod, &flags.io)?;
    attach_to(s, &pod, &container, flags.io.stdin, flags.io.tty, flags.io.quiet).await.map(drop)
}

/// Attaches to a container; its own specification says whether it has a terminal.
pub async fn attach_to(
    s: &Session,
    pod: &Value,
    container: &str,
    stdin: bool,
    tty: bool,
    quiet: bool,
) -> Result<usize> {
    let mut all = ["/spec/containers", "/spec/ephemeralContainers"].iter().flat_map(|p| list(pod, p));
    let spec = all.find(|c| text(c, "/name") == container);
    let has_tty = spec.is_some_and(|c| c["tty"] == true);
    if tty && !has_tty && !quiet {
        eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
    }
    if stdin && has_tty && terminal::stdin_is_terminal() && !quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    // a container with a terminal has no stderr of its own
    let io = Io { stdin, tty: has_tty, quiet, ..Io::default() };
    connect(s, pod, "attach", container, &[], &io).await
}
