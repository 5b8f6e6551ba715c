//! The gRPC health protocol: one `grpc.health.v1.Health/Check`, by hand, since it is two small messages.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::tcp;

const SERVING: u8 = 1;

pub(crate) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, call(host, port, service, timeout)).await {
        Ok(result) => result,
        Err(_) => Err(format!("timeout: health rpc did not complete within {}s", timeout.as_secs())),
    }
}

async fn call(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| format!("error: health rpc failed: {e}");
    let stream = tcp::connect(host, port, timeout).await?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| text(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(message(service)))
        .map_err(|e| text(&e))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| text(&e))?;
        let early = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), 4096).collect().await.map_err(|e| text(&e))?;
        let late = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
        match early.or(late) {
            Some(code) if code != "0" => {
                return Err(text(&format!("rpc error: code = {}", code.to_str().unwrap_or("?"))));
            }
            _ => {}
        }
        match status(&body.to_bytes()) {
            SERVING => Ok(()),
            other => Err(format!("service unhealthy (responded with {other})")),
        }
    }
    .await;
    driver.abort();
    answer
}

fn message(service: &str) -> Bytes {
    let mut payload = BytesMut::new();
    if !service.is_empty() {
        payload.put_u8(0x0a); // field 1, a string
        let mut length = service.len();
        while length >= 0x80 {
            payload.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        payload.put_u8(length as u8);
        payload.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(payload.len() as u32);
    frame.extend_from_slice(&payload);
    frame.freeze()
}

/// Field 1 of the first message; 0: unknown.
fn status(body: &[u8]) -> u8 {
    match body.get(5..) {
        Some([0x08, value, ..]) => *value,
        _ => 0,
    }
}
