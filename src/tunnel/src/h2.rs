//! HTTP/2 as both ends of a tunnel speak it.

use std::time::Duration;

use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// What may be on its way in one stream: 100 MB/s over a way of 20 ms.
const STREAM_WINDOW: u32 = 2 << 20;
/// In all streams: so much that streams which nobody reads do not take it from the others.
const WINDOW: u32 = 1 << 30;
/// A stream's turn, before the next has its own.
const FRAME: u32 = 64 << 10;
/// What is taken from a writer and not sent yet, a stream.
const SEND_BUFFER: usize = 1 << 20;
const STREAMS: u32 = 4096;
/// With nothing heard for `PING` the other end is asked; it is gone if `PONG` passes without an answer.
const PING: Duration = Duration::from_secs(9);
const PONG: Duration = Duration::from_secs(5);

/// The server's end.
pub fn opener() -> client::conn::http2::Builder<TokioExecutor> {
    let mut h2 = client::conn::http2::Builder::new(TokioExecutor::new());
    h2.timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .initial_max_send_streams(STREAMS as usize)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true);
    h2
}

/// The agent's end.
pub fn answerer() -> server::conn::http2::Builder<TokioExecutor> {
    let mut h2 = server::conn::http2::Builder::new(TokioExecutor::new());
    h2.timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    h2
}
