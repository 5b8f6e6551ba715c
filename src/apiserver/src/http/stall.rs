//! A socket whose peer must read: what cannot be written for a while is not kept for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer may take nothing at all.
const STALL: Duration = Duration::from_secs(60);

/// Fails writes with `TimedOut` once the peer has read nothing for [`STALL`]. Costs nothing while it reads.
pub(super) struct Stall<S> {
    socket: S,
    timer: Option<Pin<Box<Sleep>>>,
    /// The peer may rest: a person reads a log or has stopped a terminal, and next to nothing is held for it.
    patient: Arc<AtomicBool>,
}

impl<S> Stall<S> {
    pub fn new(socket: S, patient: Arc<AtomicBool>) -> Stall<S> {
        Stall { socket, timer: None, patient }
    }

    fn after<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(STALL)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if !self.patient.load(Ordering::Relaxed) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")));
            }
            timer.as_mut().reset(Instant::now() + STALL);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.after(written, cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.after(written, cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.after(flushed, cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_let_go() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let patient = Arc::new(AtomicBool::new(false));
        let mut stall = Stall::new(ours, patient.clone());
        stall.write_all(&[0; 16]).await.unwrap();
        let begun = Instant::now();
        assert_eq!(stall.write(&[1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 60);

        patient.store(true, Ordering::Relaxed);
        let later = async {
            sleep(STALL * 5).await;
            theirs.read_exact(&mut [0; 16]).await.unwrap();
        };
        let (written, ()) = tokio::join!(stall.write_all(&[1]), later);
        written.unwrap();
    }
}
