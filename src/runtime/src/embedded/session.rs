//! Streams into containers: exec, attach, port-forward. Pipes and terminals are shared with the shim as descriptors; no
//! byte of them passes through its socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::fcntl::OFlag;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::client::Connection;
use super::record::{Container, Sandbox};
use crate::shim::protocol::{Event, Exec, Message, Request};
use crate::{Error, ExecConfig, Reader, Result, Session, TerminalSize, Writer, sys};

pub async fn exec(container: &Container, config: ExecConfig) -> Result<Session> {
    let connection = Connection::open(&container.sandbox.socket)?;
    let mut streams = Streams::default();
    if !config.tty {
        if config.stdin {
            streams.input()?;
        }
        for (wanted, output) in [(config.stdout, 0), (config.stderr, 1)] {
            if wanted {
                streams.output(output)?;
            }
        }
    }
    let request = Request::Exec(Box::new(Exec {
        container: container.id.clone(),
        command: config.command,
        stdin: config.stdin,
        stdout: config.stdout,
        stderr: config.stderr,
        tty: config.tty,
    }));
    let fds = streams.ask(&connection, request).await?;
    let mut session =
        Session { stdin: streams.stdin, stdout: None, stderr: None, resize: None, exit: watch(connection, true) };
    if config.tty {
        let master = fds.into_iter().next().ok_or_else(|| Error::Create("no terminal came".to_owned()))?;
        if config.stdout {
            let reader = pipe::Receiver::from_owned_fd_unchecked(nonblocking(master.try_clone()?)?)?;
            session.stdout = Some(Box::new(Terminal(reader)));
        }
        if config.stdin {
            session.stdin = Some(writer(master.try_clone()?)?);
        }
        session.resize = Some(resizer(master));
    } else {
        [session.stdout, session.stderr] = streams.outputs;
    }
    Ok(session)
}

pub async fn attach(container: &Container, config: ExecConfig) -> Result<Session> {
    let tty = container.record.lock().config.tty;
    let connection = Connection::open(&container.sandbox.socket)?;
    let mut streams = Streams::default();
    // a terminal has one output
    let wanted = [config.stdout, config.stderr && !tty];
    for output in [0, 1] {
        if wanted[output] {
            streams.output(output)?;
        }
    }
    let request =
        Request::Attach { container: container.id.clone(), stdin: config.stdin, stdout: wanted[0], stderr: wanted[1] };
    let input = streams.ask(&connection, request).await?.into_iter().next();
    let mut session = Session { stdin: None, stdout: None, stderr: None, resize: None, exit: watch(connection, false) };
    [session.stdout, session.stderr] = streams.outputs;
    if let Some(input) = input {
        if config.stdin {
            session.stdin = Some(writer(input.try_clone()?)?);
        }
        if tty {
            session.resize = Some(resizer(input));
        }
    }
    Ok(session)
}

/// To `port` on 127.0.0.1, or else ::1, in the sandbox's network namespace.
pub async fn port_forward(sandbox: &Sandbox, port: u16) -> Result<tokio::net::TcpStream> {
    let mut refused = None;
    for v6 in [false, true] {
        let connection = Connection::open(&sandbox.socket)?;
        let connected = async {
            let (_, fds) = connection.ask(Request::Connect { port, v6 }, &[]).await?;
            let fd = fds.into_iter().next().ok_or_else(|| Error::Other("no connection came".to_owned()))?;
            let stream = tokio::net::TcpStream::from_std(std::net::TcpStream::from(fd))?;
            stream.writable().await?;
            match stream.take_error()? {
                Some(error) => Err(Error::Io(error)),
                None => Ok(stream),
            }
        };
        match connected.await {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::NotFound(format!("port {port}"))))
}

#[derive(Default)]
struct Streams {
    stdin: Option<Writer>,
    outputs: [Option<Reader>; 2],
    /// The other ends, in the protocol's order.
    theirs: Vec<OwnedFd>,
}

impl Streams {
    fn input(&mut self) -> Result<()> {
        let (theirs, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        self.stdin = Some(writer(ours)?);
        self.theirs.push(theirs);
        Ok(())
    }

    fn output(&mut self, index: usize) -> Result<()> {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        self.outputs[index] = Some(Box::new(pipe::Receiver::from_owned_fd(ours)?));
        self.theirs.push(theirs);
        Ok(())
    }

    /// Asks, and lets go of the other ends: from then on the process alone has them.
    async fn ask(&mut self, connection: &Connection, request: Request) -> Result<Vec<OwnedFd>> {
        let theirs = std::mem::take(&mut self.theirs);
        let borrowed: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        Ok(connection.ask(request, &borrowed).await?.1)
    }
}

/// Waits for the end. Closing the connection, which ends an exec, happens when nobody waits for the code any more.
fn watch(connection: Connection, exec: bool) -> oneshot::Receiver<Result<i32>> {
    let (mut sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let ended = async {
            loop {
                match connection.receive().await {
                    Ok(Some((Message::Event(Event::Exited { code }), _))) => return Ok(code),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(Error::Other("the pod's shim is gone".to_owned())),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        tokio::select! {
            result = ended => drop(sender.send(result)),
            () = sender.closed() => tracing::debug!(exec, "detached"),
        }
    });
    receiver
}

fn resizer(terminal: OwnedFd) -> mpsc::Sender<TerminalSize> {
    let (sender, mut sizes) = mpsc::channel::<TerminalSize>(4);
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            // the terminal may be gone
            let _ = sys::resize(terminal.as_fd(), size.width, size.height);
        }
    });
    sender
}

fn writer(fd: OwnedFd) -> Result<Writer> {
    Ok(Box::new(pipe::Sender::from_owned_fd_unchecked(nonblocking(fd)?)?))
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    sys::set_nonblocking(fd.as_fd())?;
    Ok(fd)
}

/// A terminal's master says EIO where a pipe says that it has ended.
struct Terminal(pipe::Receiver);

impl AsyncRead for Terminal {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buffer) {
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(libc::EIO) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}
