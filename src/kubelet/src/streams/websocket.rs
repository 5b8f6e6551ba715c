//! WebSocket on an upgraded connection: the handshake's answer, and an upgraded connection as a byte stream.

use base64::Engine;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

pub(crate) use tokio_tungstenite::tungstenite::Message;

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let all = headers.get_all(name);
    all.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade") && has_token(headers, header::UPGRADE, "websocket")
}

/// The subprotocols that the client offers, in its order.
pub(crate) fn offered(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    all.iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|t| t.trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect()
}

/// The first of `ours` (best first) that the client offers. A client that offers none gets `""`.
pub(crate) fn negotiate(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    let theirs = offered(headers);
    if theirs.is_empty() {
        return Some("");
    }
    ours.iter().copied().find(|p| theirs.iter().any(|t| t == p))
}

/// `101 Switching Protocols`; `None` without a key.
pub(crate) fn accept<B: Default>(headers: &HeaderMap, protocol: &str) -> Option<Response<B>> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if !protocol.is_empty() {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    }
    response.body(B::default()).ok()
}

pub(crate) async fn socket(upgraded: Upgraded) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await
}

/// The end that clients take for success; without the code they complain.
pub(crate) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// One message's payload, channel number included; `None` for what carries nothing.
pub(crate) fn payload(message: Message, base64: bool) -> Option<Bytes> {
    let bytes = match message {
        Message::Binary(b) => b,
        Message::Text(t) => Bytes::from(t),
        _ => return None,
    };
    if !base64 {
        return Some(bytes);
    }
    let (channel, rest) = bytes.split_first()?;
    let mut out = vec![channel.wrapping_sub(b'0')];
    base64::engine::general_purpose::STANDARD.decode_vec(rest, &mut out).ok()?;
    Some(out.into())
}

/// The message of a channel.
pub(crate) fn message(channel: u8, data: &[u8], base64: bool) -> Message {
    if base64 {
        let mut text = String::from((b'0' + channel) as char);
        base64::engine::general_purpose::STANDARD.encode_string(data, &mut text);
        return Message::text(text);
    }
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::binary(bytes)
}

/// The binary messages as one byte stream.
pub(crate) fn tunnel(socket: Socket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let (mut sink, mut stream) = socket.split();
        let (mut reader, mut writer) = tokio::io::split(ours);
        let inward = async {
            while let Some(Ok(m)) = stream.next().await {
                if m.is_close() {
                    break;
                }
                if let Some(bytes) = payload(m, false)
                    && writer.write_all(&bytes).await.is_err()
                {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        };
        let outward = async {
            let mut buffer = vec![0; super::CHUNK];
            while let Ok(n @ 1..) = reader.read(&mut buffer).await {
                if sink.send(Message::binary(buffer[..n].to_vec())).await.is_err() {
                    break;
                }
            }
            let _ = sink.send(goodbye()).await;
        };
        tokio::join!(inward, outward);
    });
    theirs
}
