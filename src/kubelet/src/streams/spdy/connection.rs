//! One connection: a task that reads frames and hands out streams, and one that writes.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{self, Frame};
use super::headers::{Decoder, Encoder, Headers};
use crate::streams::{BoxOutlet, CHUNK, Inlet, Outlet, broken};

/// A stream that the client has opened.
pub(crate) struct Incoming {
    pub headers: Headers,
    pub inlet: Inlet,
    pub outlet: BoxOutlet,
}

enum Out {
    Reply(u32),
    Frame(Frame),
}

struct Stream {
    id: u32,
    out: mpsc::Sender<Out>,
    closed: bool,
}

#[async_trait]
impl Outlet for Stream {
    async fn send(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(CHUNK));
            let frame = Frame::Data { stream: self.id, fin: false, data: part };
            self.out.send(Out::Frame(frame)).await.map_err(|_| broken())?;
        }
        Ok(())
    }
    async fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            let frame = Frame::Data { stream: self.id, fin: true, data: Bytes::new() };
            let _ = self.out.send(Out::Frame(frame)).await;
        }
    }
}

/// The connection's end: when it is dropped, so is the connection.
pub(crate) struct Connection {
    out: mpsc::Sender<Out>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    last: u32,
}

/// Streams come from the receiver, until the client is gone.
pub(crate) fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (mpsc::Receiver<Incoming>, Connection) {
    let (read, mut write) = tokio::io::split(io);
    let (streams, incoming) = mpsc::channel(16);
    let (out, mut outgoing) = mpsc::channel::<Out>(32);
    let writer = tokio::spawn(async move {
        let mut encoder = Encoder::new();
        let mut buffer = Vec::with_capacity(CHUNK + 64);
        while let Some(first) = outgoing.recv().await {
            let mut next = Some(first);
            // what has piled up goes out together
            while let Some(o) = next {
                match o {
                    Out::Frame(f) => frame::write(&f, &mut buffer),
                    Out::Reply(stream) => match encoder.encode(&Headers::new()) {
                        Ok(block) => frame::write(&Frame::SynReply { stream, block: block.into() }, &mut buffer),
                        Err(_) => return,
                    },
                }
                next = if buffer.len() < CHUNK { outgoing.try_recv().ok() } else { None };
            }
            if write.write_all(&buffer).await.is_err() || write.flush().await.is_err() {
                return;
            }
            buffer.clear();
        }
        let _ = write.shutdown().await;
    });
    let answers = out.clone();
    let reader = tokio::spawn(async move {
        if let Err(error) = follow(BufReader::new(read), answers, streams).await {
            tracing::debug!(%error, "a SPDY connection broke");
        }
    });
    (incoming, Connection { out, reader, writer, last: 0 })
}

async fn follow(
    mut io: impl AsyncRead + Unpin,
    out: mpsc::Sender<Out>,
    streams: mpsc::Sender<Incoming>,
) -> io::Result<()> {
    let mut decoder = Decoder::new();
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    while let Some(f) = frame::read(&mut io).await? {
        match f {
            Frame::SynStream { stream, fin, block } => {
                let headers = decoder.decode(&block)?;
                let (sender, inlet) = mpsc::channel(16);
                if !fin {
                    open.insert(stream, sender);
                }
                let outlet = Box::new(Stream { id: stream, out: out.clone(), closed: false });
                let _ = out.send(Out::Reply(stream)).await;
                if streams.send(Incoming { headers, inlet, outlet }).await.is_err() {
                    let refused = Frame::RstStream { stream, status: 3 };
                    let _ = out.send(Out::Frame(refused)).await;
                    open.remove(&stream);
                }
            }
            Frame::Data { stream, fin, data } => {
                if let Some(s) = open.get(&stream)
                    && !data.is_empty()
                {
                    let _ = s.send(data).await;
                }
                if fin {
                    open.remove(&stream);
                }
            }
            // the zlib stream is the connection's: every block must go through it
            Frame::Headers { stream, fin, block } => {
                decoder.decode(&block)?;
                if fin {
                    open.remove(&stream);
                }
            }
            Frame::SynReply { block, .. } => {
                decoder.decode(&block)?;
            }
            Frame::RstStream { stream, .. } => {
                open.remove(&stream);
            }
            Frame::Ping(id) => {
                // odd ids are the client's: answer; even ones would be answers to ours
                if id % 2 == 1 {
                    let _ = out.send(Out::Frame(Frame::Ping(id))).await;
                }
            }
            Frame::GoAway { .. } => return Ok(()),
            Frame::Other => {}
        }
    }
    Ok(())
}

impl Connection {
    /// Waits until the client is gone.
    pub async fn closed(&mut self) {
        if !self.reader.is_finished() {
            let _ = (&mut self.reader).await;
        }
    }

    /// Says goodbye, sends what is left, and gives the client a moment to close first.
    pub async fn finish(mut self) {
        let _ = self.out.send(Out::Frame(Frame::GoAway { last: self.last })).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.closed()).await;
        self.reader.abort();
        let (dead, _) = mpsc::channel(1);
        self.out = dead;
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.writer).await;
        self.writer.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
