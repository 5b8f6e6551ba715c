//! Numbered channels over a WebSocket. Upstream's `wsstream.Conn` and `remotecommand/websocket.go`.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::websocket::{Message, Socket, goodbye, message, payload};
use super::{BoxOutlet, Inlet, Outlet, broken};

/// In v5: `[255, channel]` closes a channel.
pub(crate) const CLOSE: u8 = 255;

pub(crate) struct Channels {
    /// By number; `None` where the client may not write.
    pub inlets: Vec<Option<Inlet>>,
    out: mpsc::Sender<Message>,
    base64: bool,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

struct Channel {
    number: u8,
    base64: bool,
    out: mpsc::Sender<Message>,
}

#[async_trait]
impl Outlet for Channel {
    async fn send(&mut self, data: Bytes) -> std::io::Result<()> {
        self.out.send(message(self.number, &data, self.base64)).await.map_err(|_| broken())
    }
    async fn close(&mut self) {}
}

impl Channels {
    /// `readable[n]`: whether the client may write to channel n.
    pub fn new(socket: Socket, base64: bool, readable: &[bool]) -> Channels {
        let (mut sink, mut stream) = socket.split();
        let (out, mut outgoing) = mpsc::channel::<Message>(16);
        let (mut senders, mut inlets) = (Vec::new(), Vec::new());
        for r in readable {
            let (sender, inlet) = mpsc::channel(16);
            senders.push(r.then_some(sender));
            inlets.push(r.then_some(inlet));
        }
        let writer = tokio::spawn(async move {
            while let Some(m) = outgoing.recv().await {
                if sink.send(m).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(goodbye()).await;
        });
        // reading also answers pings
        let reader = tokio::spawn(async move {
            while let Some(Ok(m)) = stream.next().await {
                if m.is_close() {
                    return;
                }
                let Some(bytes) = payload(m, base64) else { continue };
                let Some((&number, data)) = bytes.split_first() else { continue };
                if number == CLOSE {
                    if let Some(s) = data.first().and_then(|n| senders.get_mut(usize::from(*n))) {
                        *s = None;
                    }
                } else if let Some(Some(s)) = senders.get(usize::from(number)) {
                    // one that nobody reads any more does not stop the others
                    let _ = s.send(bytes.slice(1..)).await;
                }
            }
        });
        Channels { inlets, out, base64, writer, reader }
    }

    pub fn outlet(&self, number: u8) -> BoxOutlet {
        Box::new(Channel { number, base64: self.base64, out: self.out.clone() })
    }

    /// Waits until the client is gone.
    pub async fn closed(&mut self) {
        if !self.reader.is_finished() {
            let _ = (&mut self.reader).await;
        }
    }

    /// Sends what is left, closes, and waits for the client's close for a moment.
    pub async fn finish(mut self) {
        let (dead, _) = mpsc::channel(1);
        self.out = dead;
        let _ = (&mut self.writer).await;
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.closed()).await;
        self.reader.abort();
    }
}
