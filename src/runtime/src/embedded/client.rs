//! The agent's side of a shim's socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::shim::protocol::{Envelope, Event, Message, Reply, Request};
use crate::{Error, Result, sys};

/// Nothing that a shim is asked for takes so long, unless the machine is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// One connection: packets out, packets in.
pub struct Connection {
    socket: AsyncFd<OwnedFd>,
}

impl Connection {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: sys::register(sys::connect(path)?)? })
    }

    pub async fn send(&self, seq: u64, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let data = serde_json::to_vec(&Envelope { seq, request })?;
        self.socket.async_io(Interest::WRITABLE, |socket| sys::send(socket.as_fd(), &data, fds)).await
    }

    /// `None`: the shim has closed. May be cancelled.
    pub async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let read = |socket: &OwnedFd| {
            let mut buffer = vec![0; sys::PACKET_MAX];
            let (n, fds) = sys::receive(socket.as_fd(), &mut buffer)?;
            buffer.truncate(n);
            Ok((buffer, fds))
        };
        let (packet, fds) = self.socket.async_io(Interest::READABLE, read).await?;
        if packet.is_empty() {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&packet)?, fds)))
    }

    /// For a connection of its own: the request and its one answer.
    pub async fn ask(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>)> {
        self.send(0, request, fds).await?;
        loop {
            match self.receive().await? {
                Some((Message::Reply { result, .. }, fds)) => return Ok((result.map_err(Error::Create)?, fds)),
                Some((Message::Event(_), _)) => {}
                None => return Err(gone()),
            }
        }
    }
}

/// The control connection: requests from many, answers by number, events to one place.
pub struct Shim {
    connection: Arc<Connection>,
    next: AtomicU64,
    waiting: Arc<Mutex<Option<Waiting>>>,
}

type Waiting = HashMap<u64, oneshot::Sender<std::result::Result<Reply, String>>>;

impl Shim {
    /// Connects. `event` is called for each event, and with `None` once the shim is gone.
    pub fn connect(path: &Path, event: impl Fn(Option<Event>) + Send + 'static) -> io::Result<Self> {
        let connection = Arc::new(Connection::open(path)?);
        let waiting = Arc::new(Mutex::new(Some(Waiting::new())));
        let (reader, answers) = (connection.clone(), waiting.clone());
        tokio::spawn(async move {
            while let Ok(Some((message, _))) = reader.receive().await {
                match message {
                    Message::Event(happened) => event(Some(happened)),
                    Message::Reply { seq, result } => {
                        let asker = answers.lock().as_mut().and_then(|w| w.remove(&seq));
                        // the asker may have given up
                        asker.map(|asker| asker.send(result).ok());
                    }
                }
            }
            // those who wait learn it from their dropped senders
            answers.lock().take();
            event(None);
        });
        Ok(Self { connection, next: AtomicU64::new(1), waiting })
    }

    /// The shim's own refusals are [`Error::Create`].
    pub async fn request(&self, request: Request) -> Result<Reply> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match self.waiting.lock().as_mut() {
            Some(waiting) => drop(waiting.insert(seq, sender)),
            None => return Err(gone()),
        }
        self.connection.send(seq, request, &[]).await?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?.map_err(Error::Create),
            Err(_) => Err(Error::Other("the pod's shim does not answer".to_owned())),
        }
    }
}

fn gone() -> Error {
    Error::Other("the pod's shim is gone".to_owned())
}
