//! Streams to and from containers over WebSockets: `v5.channel.k8s.io` and `v4.channel.k8s.io`.
//!
//! ```text
//!   message = channel byte, data     0 stdin   1 stdout   2 stderr   3 how it ended (a Status)   4 terminal size
//!   v5: 255, channel                 nothing more comes on this channel
//! ```

pub mod terminal;

use futures::{SinkExt, StreamExt};
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use api::Value;

use crate::error::{Error, Result};
use crate::objects::{list, text};
use crate::session::{Session, with_query};

const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What to run or attach to.
pub struct Remote<'a> {
    /// `/api/v1/namespaces/…/pods/x/exec`
    pub path: String,
    pub container: &'a str,
    /// Empty for attach.
    pub command: &'a [String],
    pub tty: bool,
    pub stderr: bool,
}

/// Runs until the other side ends. `output` gets stdout (1) and stderr (2) as they come. A command that fails is
/// [`Error::Exit`] with its code.
pub async fn run(
    s: &Session,
    remote: Remote<'_>,
    stdin: Option<Box<dyn AsyncRead + Unpin + Send>>,
    mut output: impl FnMut(u8, &[u8]) -> Result<()>,
) -> Result<()> {
    let flag = |b: bool| if b { "true" } else { "" };
    let mut query = vec![
        ("container", remote.container),
        ("stdin", flag(stdin.is_some())),
        ("stdout", "true"),
        ("stderr", flag(remote.stderr && !remote.tty)),
        ("tty", flag(remote.tty)),
    ];
    query.extend(remote.command.iter().map(|c| ("command", c.as_str())));
    let mut path = with_query(&remote.path, &query);
    // empty arguments count too
    for _ in remote.command.iter().filter(|c| c.is_empty()) {
        path.push_str("&command=");
    }
    let connection = s.connect(&path).await?;
    let closes = connection.supports_stream_close();
    let (mut sink, mut source) = connection.into_stream().split();
    let mut stdin = stdin;
    let mut buffer = vec![0; 16 << 10];
    let mut sizes = terminal::Sizes::new(remote.tty);
    let broken = |e: tokio_tungstenite::tungstenite::Error| {
        Error::Connection(format!("error: error reading from error stream: {e}"))
    };
    loop {
        tokio::select! {
            message = source.next() => match message {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(Message::Binary(data))) => match data.split_first() {
                    Some((&STATUS, status)) => {
                        let ended = ended(status);
                        let _ = sink.close().await;
                        return ended;
                    }
                    Some((&channel, data)) if !data.is_empty() => output(channel, data)?,
                    _ => {}
                },
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(broken(e)),
            },
            read = read(&mut stdin, &mut buffer), if stdin.is_some() => match read? {
                0 => {
                    stdin = None;
                    if closes {
                        sink.send(Message::Binary(Bytes::from_static(&[CLOSE, STDIN]))).await.map_err(broken)?;
                    }
                }
                n => sink.send(frame(STDIN, &buffer[..n])).await.map_err(broken)?,
            },
            (width, height) = sizes.next(), if remote.tty => {
                let size = serde_json::json!({"Width": width, "Height": height});
                sink.send(frame(RESIZE, size.to_string().as_bytes())).await.map_err(broken)?;
            }
        }
    }
}

async fn read(stdin: &mut Option<Box<dyn AsyncRead + Unpin + Send>>, buffer: &mut [u8]) -> Result<usize> {
    match stdin {
        Some(stdin) => Ok(stdin.read(buffer).await?),
        None => Ok(0),
    }
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    Message::Binary(message.into())
}

/// The `Status` at the end of a command.
fn ended(status: &[u8]) -> Result<()> {
    let status: Value = serde_json::from_slice(status).unwrap_or(Value::Null);
    if status["status"] == "Success" {
        return Ok(());
    }
    if status["reason"] == "NonZeroExitCode" {
        let code = list(&status, "/details/causes").iter().find(|c| c["reason"] == "ExitCode");
        let code = code.and_then(|c| text(c, "/message").parse::<i32>().ok()).unwrap_or(1);
        eprintln!("command terminated with exit code {code}");
        return Err(Error::Exit(u8::try_from(code).unwrap_or(1)));
    }
    Err(Error::other(text(&status, "/message").to_owned()))
}

/// Copies one TCP connection to a port of a pod and back.
pub async fn forward(s: &Session, path: &str, local: tokio::net::TcpStream) -> Result<()> {
    use tokio::io::AsyncWriteExt;
    let connection = s.connect(path).await?;
    let closes = connection.supports_stream_close();
    let (mut sink, mut source) = connection.into_stream().split();
    let (mut from, mut to) = local.into_split();
    let mut buffer = vec![0; 16 << 10];
    // the first message on each channel is the port
    let mut greeted = [false; 2];
    let mut open = true;
    let broken = |e: tokio_tungstenite::tungstenite::Error| Error::Connection(e.to_string());
    loop {
        tokio::select! {
            message = source.next() => match message {
                None | Some(Ok(Message::Close(_))) => break,
                Some(Ok(Message::Binary(data))) => {
                    let Some((&channel, data)) = data.split_first() else { continue };
                    match greeted.get_mut(usize::from(channel)) {
                        Some(greeted) if !*greeted => *greeted = true,
                        Some(_) if channel == 0 => to.write_all(data).await?,
                        Some(_) if !data.is_empty() => {
                            return Err(Error::other(format!("an error occurred forwarding: {}", String::from_utf8_lossy(data))));
                        }
                        // the pod's side has said all
                        None if channel == CLOSE && data == [0] => break,
                        _ => {}
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(broken(e)),
            },
            n = from.read(&mut buffer), if open => match n? {
                0 if closes => {
                    open = false;
                    sink.send(Message::Binary(Bytes::from_static(&[CLOSE, 0]))).await.map_err(broken)?;
                }
                0 => break,
                n => sink.send(frame(0, &buffer[..n])).await.map_err(broken)?,
            },
        }
    }
    let _ = to.shutdown().await;
    let _ = sink.close().await;
    Ok(())
}

impl Session {
    /// A WebSocket to `path`.
    async fn connect(&self, path: &str) -> Result<kube::client::Connection> {
        let request = Request::get(path).body(Vec::new()).map_err(|e| Error::other(e.to_string()))?;
        self.client().connect(request).await.map_err(|e| self.failed(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        assert!(ended(br#"{"status":"Success"}"#).is_ok());
        let failed = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#;
        assert!(matches!(ended(failed), Err(Error::Exit(42))));
        assert_eq!(
            ended(br#"{"status":"Failure","message":"no such container"}"#).unwrap_err().to_string(),
            "error: no such container"
        );
    }
}
