//! Port-forward: over SPDY a pair of streams (`error`, `data`) for each connection, over WebSocket a pair of channels for
//! each port. Upstream's `portforward/{httpstream,websocket}.go`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::channels::Channels;
use super::spdy::{self, Incoming};
use super::websocket::Socket;
use super::{BoxOutlet, CHUNK, Inlet};

/// Whom to connect to.
#[derive(Clone)]
pub(crate) struct Pod {
    pub runtime: Arc<dyn Runtime>,
    pub sandbox: String,
    pub name: String,
}

impl Pod {
    /// One connection from its opening to its end.
    async fn forward(self, port: u16, mut inlet: Inlet, mut data: BoxOutlet, mut error: BoxOutlet) {
        match self.runtime.port_forward(&self.sandbox, port).await {
            Ok(stream) => {
                let (mut from, mut to) = stream.into_split();
                let inward = async {
                    while let Some(bytes) = inlet.recv().await {
                        if to.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown().await;
                };
                let outward = async {
                    let mut buffer = vec![0; CHUNK];
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        if data.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                            break;
                        }
                    }
                    data.close().await;
                };
                // once the pod has closed its side, the client's is of no use
                tokio::pin!(outward);
                tokio::select! {
                    () = &mut outward => {}
                    () = inward => outward.await,
                }
            }
            Err(e) => {
                let text = format!("error forwarding port {port} to pod {}, uid : {e}", self.name);
                let _ = error.send(Bytes::from(text)).await;
                data.close().await;
            }
        }
        error.close().await;
    }
}

/// Serves until the client closes.
pub(crate) async fn over_spdy(pod: Pod, io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static) {
    let (mut streams, connection) = spdy::serve(io);
    pairs(pod, &mut streams).await;
    connection.finish().await;
}

async fn pairs(pod: Pod, streams: &mut mpsc::Receiver<Incoming>) {
    let tasks = TaskTracker::new();
    let mut waiting: HashMap<String, Incoming> = HashMap::new();
    while let Some(s) = streams.recv().await {
        let header = |k: &str| s.headers.get(k).cloned().unwrap_or_default();
        let port = header("port");
        // old clients send no request id: then the two come one after the other
        let id = Some(header("requestid")).filter(|i| !i.is_empty()).unwrap_or_else(|| format!("port-{port}"));
        let Some(other) = waiting.remove(&id) else {
            waiting.insert(id, s);
            continue;
        };
        let is_data = |s: &Incoming| s.headers.get("streamtype").is_some_and(|t| t == "data");
        let (data, error) = if is_data(&s) { (s, other) } else { (other, s) };
        let Ok(port) = port.parse::<u16>() else { continue };
        tasks.spawn(pod.clone().forward(port, data.inlet, data.outlet, error.outlet));
    }
    tasks.close();
    tasks.wait().await;
}

/// The v4 WebSocket protocol: channel 2n is port n's data, 2n+1 its errors; each begins with the port's number.
pub(crate) async fn over_websocket(pod: Pod, socket: Socket, base64: bool, ports: Vec<u16>) {
    let readable: Vec<bool> = ports.iter().flat_map(|_| [true, false]).collect();
    let mut channels = Channels::new(socket, base64, &readable);
    let tasks = TaskTracker::new();
    for (n, port) in ports.into_iter().enumerate() {
        let Ok(number) = u8::try_from(n * 2) else { break };
        let Some(inlet) = channels.inlets[n * 2].take() else { continue };
        let (mut data, mut error) = (channels.outlet(number), channels.outlet(number + 1));
        for outlet in [&mut data, &mut error] {
            let _ = outlet.send(Bytes::copy_from_slice(&port.to_le_bytes())).await;
        }
        tasks.spawn(pod.clone().forward(port, inlet, data, error));
    }
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        () = channels.closed() => {}
    }
    channels.finish().await;
}
