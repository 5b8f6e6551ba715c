//! The body of an answer: one buffer, many that are joined into large writes, or a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};

/// How much of many small buffers goes into one write.
const CHUNK: usize = 64 * 1024;
/// What the last part of a chunk may bring more, for it not to be copied to a larger place: with it a chunk is still below the
/// 128 KB from which glibc maps and unmaps each by itself.
const SLACK: usize = 16 * 1024;

type BoxStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// Many buffers, in order; copied once, on their way out.
pub struct Parts {
    parts: std::vec::IntoIter<Bytes>,
    left: usize,
}

pub enum Body {
    Empty,
    Full(Bytes),
    Parts(Parts),
    /// Each item is written as soon as it is there.
    Stream(BoxStream),
}

impl Body {
    pub fn empty() -> Body {
        Body::Empty
    }
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body::Full(bytes.into())
    }
    pub fn parts(parts: Vec<Bytes>) -> Body {
        let left = parts.iter().map(Bytes::len).sum();
        Body::Parts(Parts { parts: parts.into_iter(), left })
    }
    pub fn stream(stream: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }
    /// Bytes in all, where known.
    pub fn len(&self) -> Option<usize> {
        match self {
            Body::Empty => Some(0),
            Body::Full(b) => Some(b.len()),
            Body::Parts(p) => Some(p.left),
            Body::Stream(_) => None,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
    /// All of it, where it is there already.
    pub(crate) fn known(self) -> (Option<Bytes>, Body) {
        match self {
            Body::Full(bytes) => (Some(bytes.clone()), Body::Full(bytes)),
            Body::Parts(parts) => {
                let mut whole = BytesMut::with_capacity(parts.left);
                parts.parts.for_each(|p| whole.extend_from_slice(&p));
                let whole = whole.freeze();
                (Some(whole.clone()), Body::Full(whole))
            }
            other => (None, other),
        }
    }
}

impl Parts {
    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(self.left.min(CHUNK + SLACK));
        while chunk.len() < CHUNK {
            let Some(part) = self.parts.next() else { break };
            if chunk.is_empty() && part.len() >= CHUNK {
                self.left -= part.len();
                return Some(part);
            }
            chunk.extend_from_slice(&part);
        }
        self.left -= chunk.len();
        Some(chunk.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = match &mut *self {
            Body::Empty => None,
            Body::Full(_) => match std::mem::replace(&mut *self, Body::Empty) {
                Body::Full(bytes) if !bytes.is_empty() => Some(bytes),
                _ => None,
            },
            Body::Parts(parts) => parts.next(),
            Body::Stream(stream) => {
                return stream.as_mut().poll_next(cx).map(|item| item.map(|chunk| chunk.map(Frame::data)));
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, |n| SizeHint::with_exact(n as u64))
    }
}
