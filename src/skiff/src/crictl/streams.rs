//! Logs, and the streams into running containers.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ctl::terminal;
use kubelet::log::{LogReader, Options, Watched};
use runtime::{ContainerState, ContainerStatus, Embedded, ExecConfig, Runtime, Session, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::flags::{Attach, Exec, Logs};
use super::select::one;

pub async fn logs(node: &Embedded, flags: Logs) -> Result<()> {
    let container = find(node, &flags.container).await?;
    let mut path = container.log_path.clone();
    if flags.previous {
        let Some(attempt) = container.attempt.checked_sub(1) else {
            bail!("the container \"{}\" has not been restarted", flags.container);
        };
        path.set_file_name(format!("{attempt}.log"));
    }
    let options = Options {
        follow: flags.follow,
        tail_lines: u64::try_from(flags.tail).ok(),
        since: flags.since.as_deref().map(|s| since(s, jiff::Timestamp::now())).transpose()?,
        timestamps: flags.timestamps,
        limit_bytes: flags.limit_bytes,
        stream: None,
    };
    // both are set before the first read, so that nothing falls between
    let mut events = node.events();
    let mut watched = match path.parent() {
        Some(directory) if flags.follow && !flags.previous => Watched::directory(directory).ok(),
        _ => None,
    };
    let mut reader = LogReader::open(&path, options).with_context(|| path.display().to_string())?;
    let mut out = std::io::stdout();
    loop {
        let running = find(node, &container.id).await.is_ok_and(|c| c.state == ContainerState::Running);
        while let Some(bytes) = reader.chunk()? {
            out.write_all(&bytes).and_then(|()| out.flush())?;
        }
        let Some(watched) = watched.as_mut().filter(|_| running && !reader.is_full()) else { return Ok(()) };
        tokio::select! {
            changed = watched.changed() => changed?,
            // one that is behind looks again, as after any other
            _ = events.recv() => {}
        }
    }
}

/// A time, or how long ago.
fn since(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: jiff::SignedDuration = text.parse().map_err(|_| anyhow!("failed to parse timestamp value \"{text}\""))?;
    Ok(now.checked_sub(ago)?)
}

async fn find(node: &Embedded, id: &str) -> Result<ContainerStatus> {
    Ok(one(&node.containers(None).await?, id)?.clone())
}

/// One that takes part in streams must run.
async fn running(node: &Embedded, id: &str) -> Result<ContainerStatus> {
    let container = find(node, id).await?;
    if container.state != ContainerState::Running {
        bail!("rpc error: code = Unknown desc = container \"{id}\" is not running");
    }
    Ok(container)
}

pub async fn exec(node: &Embedded, flags: Exec) -> Result<u8> {
    let container = running(node, &flags.container).await.context("execing command in container")?;
    let config = ExecConfig {
        command: flags.command,
        stdin: flags.interactive,
        stdout: true,
        stderr: !flags.tty,
        tty: flags.tty,
    };
    let session = node.exec(&container.id, config).await.context("execing command in container")?;
    let joined = join(session, flags.interactive, flags.tty);
    match flags.timeout {
        0 => joined.await,
        seconds => tokio::time::timeout(Duration::from_secs(seconds), joined)
            .await
            .context("execing command in container: it took longer than the timeout")?,
    }
}

pub async fn attach(node: &Embedded, flags: Attach) -> Result<u8> {
    let container = running(node, &flags.container).await.context("attaching container")?;
    let config =
        ExecConfig { command: Vec::new(), stdin: flags.interactive, stdout: true, stderr: true, tty: flags.tty };
    let session = node.attach(&container.id, config).await.context("attaching container")?;
    join(session, flags.interactive, flags.tty).await
}

/// Joins our streams to a session's until its process ends; the exit code.
async fn join(session: Session, stdin: bool, tty: bool) -> Result<u8> {
    let Session { stdin: to, stdout, stderr, resize, exit } = session;
    let raw = if tty && stdin { terminal::Raw::enter() } else { None };
    let sizes = async {
        let Some(resize) = resize.filter(|_| tty) else { return };
        let mut sizes = terminal::Sizes::new(true);
        loop {
            let (width, height) = sizes.next().await;
            if resize.send(TerminalSize { width, height }).await.is_err() {
                return;
            }
        }
    };
    let input = async {
        if let (Some(mut to), true) = (to, stdin)
            && let Ok(mut from) = terminal::stdin()
        {
            // what has ended takes no more
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
    };
    let output = async {
        let (out, err) = (copy(stdout, std::io::stdout()), copy(stderr, std::io::stderr()));
        let (out, err) = tokio::join!(out, err);
        out.and(err)
    };
    let ended = async { tokio::try_join!(output, async { exit.await.context("the pod's shim is gone") }) };
    let beside = async {
        tokio::join!(sizes, input);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = ended => ended,
        () = beside => unreachable!("it never ends"),
    };
    drop(raw);
    let ((), code) = ended?;
    Ok(u8::try_from(code?).unwrap_or(1))
}

async fn copy(from: Option<runtime::Reader>, mut to: impl std::io::Write) -> Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..n]).and_then(|()| to.flush())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_a_time_or_so_long_ago() {
        let now: jiff::Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        for (given, want) in [("42m", "2026-01-01T09:18:00Z"), ("2025-12-31T00:00:00Z", "2025-12-31T00:00:00Z")] {
            assert_eq!(since(given, now).unwrap().to_string(), want);
        }
        assert!(since("soon", now).is_err());
    }
}
