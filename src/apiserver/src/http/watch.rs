//! A watch as the body of an answer: what comes at one wake-up goes out in one write.

use std::convert::Infallible;
use std::time::Duration;

use api::Status;
use bytes::{Bytes, BytesMut};
use rand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Body;
use super::output::Frames;
use crate::engine::{Changes, WatchChange};

/// A bookmark for a client that is connected and wants them.
const BOOKMARK: Duration = Duration::from_secs(60);
/// `MinRequestTimeout`: a watch that does not say lasts this long, up to twice.
const SHORTEST: u64 = 1800;

pub(crate) struct Options {
    pub bookmarks: bool,
    pub timeout_seconds: Option<u64>,
    pub stop: CancellationToken,
}

struct Running {
    changes: Changes,
    frames: Frames,
    options: Options,
    end: Instant,
    ticks: tokio::time::Interval,
    over: bool,
}

/// A stream of frames until the client goes, the time is over, the history is lost or the server stops.
pub(crate) fn body(changes: Result<Changes, Status>, frames: Frames, options: Options) -> Body {
    let changes = match changes {
        Ok(changes) => changes,
        Err(status) => return Body::Full(error(&frames, &status)),
    };
    let seconds = options.timeout_seconds.unwrap_or_else(|| SHORTEST + rand::rng().random_range(0..SHORTEST));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut ticks = interval_at(Instant::now() + BOOKMARK, BOOKMARK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let running = Running { changes, frames, options, end, ticks, over: false };
    let stream = futures::stream::unfold(running, |mut running| async move {
        let bytes = running.next().await?;
        Some((Ok::<_, Infallible>(bytes), running))
    });
    Body::stream(futures::StreamExt::map(stream, |r| r.map_err(|never| match never {})))
}

fn error(frames: &Frames, status: &Status) -> Bytes {
    let mut out = BytesMut::new();
    frames.error(&mut out, status);
    out.freeze()
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut out = BytesMut::new();
        tokio::select! {
            biased;
            () = self.options.stop.cancelled() => return None,
            changes = self.changes.next() => match changes {
                Ok(changes) if changes.is_empty() => return None,
                Ok(changes) => {
                    // about as much as the objects take, so that the buffer seldom grows
                    out.reserve(changes.len() * 1024);
                    for change in &changes {
                        self.frame(&mut out, change);
                    }
                }
                Err(status) => {
                    self.over = true;
                    self.frames.error(&mut out, &status);
                }
            },
            () = sleep_until(self.end) => {
                self.over = true;
                self.bookmark(&mut out);
                if out.is_empty() {
                    return None;
                }
            }
            _ = self.ticks.tick(), if self.options.bookmarks => self.bookmark(&mut out),
        }
        Some(out.freeze())
    }

    fn bookmark(&mut self, out: &mut BytesMut) {
        if let Some(change) = self.options.bookmarks.then(|| self.changes.bookmark()).flatten() {
            self.frame(out, &change);
        }
    }

    fn frame(&mut self, out: &mut BytesMut, change: &WatchChange) {
        match change {
            WatchChange::Added(o) => self.frames.event(out, "ADDED", o),
            WatchChange::Modified(o) => self.frames.event(out, "MODIFIED", o),
            WatchChange::Deleted(o) => self.frames.event(out, "DELETED", o),
            WatchChange::Bookmark { revision, initial_end } => self.frames.bookmark(out, *revision, *initial_end),
        }
    }
}
