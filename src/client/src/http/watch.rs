//! A watch: one JSON object a line, until the server or the connection ends it.

use std::sync::Arc;

use api::{Object, Status, Value};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{decode, scan, unreachable};
use crate::{Watch, WatchEvent};

/// How long one watch lasts: five to ten minutes, as client-go's.
pub fn seconds() -> u64 {
    300 + rand::random_range(0..300)
}

struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// So far there is no end of line in `buffer`.
    searched: usize,
    over: bool,
}

/// Ends without an error where the server has ended it in order.
pub fn events(body: Incoming) -> Watch {
    let lines = Lines { body, buffer: BytesMut::new(), searched: 0, over: false };
    let events = futures::stream::unfold(lines, |mut lines| async move {
        if lines.over {
            return None;
        }
        let event = match lines.next().await {
            Ok(Some(line)) => event(&line),
            Ok(None) => return None,
            Err(status) => Err(status),
        };
        lines.over = event.is_err();
        Some((event, lines))
    });
    events.boxed()
}

impl Lines {
    async fn next(&mut self) -> Result<Option<BytesMut>, Status> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(unreachable(error)),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => return Err(unreachable("a watch ended within an event")),
            }
            if self.buffer.is_empty() {
                // nothing is held between events
                self.buffer = BytesMut::new();
            }
        }
    }
}

fn event(line: &[u8]) -> Result<WatchEvent, Status> {
    let (mut kind, mut object) = (&b""[..], &b""[..]);
    for (key, value) in scan::members(line) {
        match key {
            b"type" => kind = value,
            b"object" => object = value,
            _ => {}
        }
    }
    let decoded = |json| -> Result<Arc<Object>, Status> { decode::object(json, None) };
    match kind {
        b"\"ADDED\"" => Ok(WatchEvent::Added(decoded(object)?)),
        b"\"MODIFIED\"" => Ok(WatchEvent::Modified(decoded(object)?)),
        b"\"DELETED\"" => Ok(WatchEvent::Deleted(decoded(object)?)),
        b"\"BOOKMARK\"" => Ok(WatchEvent::Bookmark(decode::revision(object)?)),
        b"\"ERROR\"" => Err(match serde_json::from_slice::<Value>(object) {
            Ok(tree) => Status::from_value(&tree),
            Err(error) => Status::internal(error),
        }),
        _ => Err(Status::internal("the API server sent a line that is no event of a watch")),
    }
}
