//! One priority level: so many requests run at once, the others stand in queues that take turns. Upstream's `queueset`, where
//! every request is one seat wide.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// `limitResponse.queuing`; without queues a request that finds no seat is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queuing {
    pub queues: usize,
    /// How many queues a flow may be put into: the shortest takes the request.
    pub hand: usize,
    pub length: usize,
}

/// The way past a free seat is two atomic operations; the lock is for those that wait, and for who gives them his seat.
pub struct Level {
    pub name: String,
    /// `None`: exempt, as many as come.
    seats: Option<AtomicUsize>,
    running: AtomicUsize,
    /// Raised before the last look for a seat, and read after a seat is given back: one of the two sees the other.
    waiting: AtomicUsize,
    line: Mutex<Line>,
    pub dispatched: AtomicU64,
    pub rejected: AtomicU64,
}

struct Line {
    queuing: Option<Queuing>,
    queues: Vec<VecDeque<oneshot::Sender<Seat>>>,
    /// Whose turn it is.
    turn: usize,
    len: usize,
}

/// The right to run; given back when dropped.
pub struct Seat(Option<Arc<Level>>);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(level) = self.0.take() {
            level.running.fetch_sub(1, SeqCst);
            if level.waiting.load(SeqCst) > 0 {
                level.dispatch();
            }
        }
    }
}

/// There is no seat, and no room to wait for one.
#[derive(Debug)]
pub struct Refused;

impl Level {
    /// `seats`: `None` for an exempt level.
    pub fn new(name: &str, seats: Option<usize>, queuing: Option<Queuing>) -> Level {
        Level {
            name: name.into(),
            seats: seats.map(AtomicUsize::new),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line { queuing, queues: Vec::new(), turn: 0, len: 0 }),
            dispatched: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    pub fn is_exempt(&self) -> bool {
        self.seats.is_none()
    }
    pub fn seats(&self) -> Option<usize> {
        self.seats.as_ref().map(|s| s.load(Relaxed))
    }
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Another size; who waits may move up.
    pub fn resize(self: &Arc<Self>, seats: usize, queuing: Option<Queuing>) {
        if let Some(own) = &self.seats {
            own.store(seats, SeqCst);
        }
        self.line.lock().queuing = queuing;
        self.dispatch();
    }

    fn take(&self) -> bool {
        let limit = self.seats.as_ref().map_or(usize::MAX, |s| s.load(SeqCst));
        self.running.fetch_update(SeqCst, SeqCst, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    fn seat(self: &Arc<Self>) -> Seat {
        self.dispatched.fetch_add(1, Relaxed);
        Seat(Some(self.clone()))
    }

    /// A seat for a request of `flow`, after at most `patience`.
    pub async fn enter(self: &Arc<Self>, flow: u64, patience: Duration) -> Result<Seat, Refused> {
        if (self.is_exempt() || self.waiting.load(SeqCst) == 0) && self.take() {
            return Ok(self.seat());
        }
        let turn = match self.queue(flow) {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok(self.seat()),
            Err(refused) => return Err(refused),
        };
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(seat)) => Ok(seat),
            _ => {
                self.rejected.fetch_add(1, Relaxed);
                Err(Refused)
            }
        }
    }

    /// A place in the line; `None`: a seat has become free, and is taken.
    fn queue(&self, flow: u64) -> Result<Option<oneshot::Receiver<Seat>>, Refused> {
        let mut line = self.line.lock();
        self.waiting.fetch_add(1, SeqCst);
        if line.len == 0 && self.take() {
            self.waiting.fetch_sub(1, SeqCst);
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        if line.push(flow, sender) {
            return Ok(Some(receiver));
        }
        // those who have given up still stand there
        let gone = line.prune();
        self.waiting.fetch_sub(gone + 1, SeqCst);
        self.rejected.fetch_add(1, Relaxed);
        Err(Refused)
    }

    fn dispatch(self: &Arc<Self>) {
        let mut line = self.line.lock();
        while line.len > 0 && self.take() {
            let Some(next) = line.pop() else { break };
            self.waiting.fetch_sub(1, SeqCst);
            match next.send(Seat(Some(self.clone()))) {
                Ok(()) => drop(self.dispatched.fetch_add(1, Relaxed)),
                // has given up: the seat goes to the next, without coming back here
                Err(mut seat) => {
                    seat.0 = None;
                    self.running.fetch_sub(1, SeqCst);
                }
            }
        }
    }
}

impl Line {
    fn push(&mut self, flow: u64, waiter: oneshot::Sender<Seat>) -> bool {
        let Some(Queuing { queues, hand, length }) = self.queuing.filter(|q| q.queues > 0) else { return false };
        if self.queues.len() < queues {
            self.queues.resize_with(queues, VecDeque::new);
        }
        let mut draw = flow;
        let hand = (0..hand.max(1)).map(|_| {
            draw = draw.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (draw >> 33) as usize % queues
        });
        let Some(shortest) = hand.min_by_key(|i| self.queues[*i].len()) else { return false };
        if self.queues[shortest].len() >= length {
            return false;
        }
        self.queues[shortest].push_back(waiter);
        self.len += 1;
        true
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Seat>> {
        let n = self.queues.len();
        let next = (0..n).map(|i| (self.turn + i) % n).find(|i| !self.queues[*i].is_empty())?;
        self.turn = (next + 1) % n;
        self.len -= 1;
        self.queues[next].pop_front()
    }

    /// How many have given up and are taken out.
    fn prune(&mut self) -> usize {
        let before = self.len;
        self.queues.iter_mut().for_each(|q| q.retain(|w| !w.is_closed()));
        self.len = self.queues.iter().map(VecDeque::len).sum();
        before - self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(15);

    fn level(seats: usize, queues: usize, length: usize) -> Arc<Level> {
        Arc::new(Level::new("l", Some(seats), Some(Queuing { queues, hand: 2, length })))
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_flow_waits_for_one_turn_only() {
        let level = level(1, 64, 50);
        let first = level.enter(1, LONG).await.unwrap();
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let come = |flow: u64| {
            let (level, done) = (level.clone(), done.clone());
            tokio::spawn(async move {
                let seat = level.enter(flow, LONG).await.unwrap();
                done.send(flow).unwrap();
                drop(seat);
            })
        };
        for _ in 0..40 {
            come(1);
        }
        tokio::task::yield_now().await;
        come(2);
        while level.waiting() < 41 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let mut came = Vec::new();
        while came.len() < 41 {
            came.push(order.recv().await.unwrap());
        }
        let place = came.iter().position(|f| *f == 2).unwrap();
        assert!(place <= 2, "the quiet one was number {place}");
        assert_eq!((level.running(), level.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn full_queues_and_long_waits_are_refused() {
        let level = level(1, 1, 2);
        let held = level.enter(1, LONG).await.unwrap();
        let waits = [level.enter(1, LONG), level.enter(2, LONG)].map(Box::pin);
        let (third, both) = tokio::join!(
            async {
                while level.waiting() < 2 {
                    tokio::task::yield_now().await;
                }
                level.enter(3, LONG).await
            },
            futures::future::join_all(waits)
        );
        assert!(third.is_err() && both.iter().all(Result::is_err), "no room, then no patience");
        drop(held);
        // who gave up does not stand in the way
        drop(level.enter(1, LONG).await.unwrap());
        assert_eq!((level.running(), level.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bigger_level_takes_more() {
        let level = level(1, 1, 10);
        let _held = level.enter(1, LONG).await.unwrap();
        let second = tokio::spawn({
            let level = level.clone();
            async move { level.enter(2, LONG).await.map(drop) }
        });
        while level.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        level.resize(2, None);
        second.await.unwrap().unwrap();
        let exempt = Arc::new(Level::new("exempt", None, None));
        let _many: Vec<_> = futures::future::join_all((0..1000).map(|i| exempt.enter(i, LONG))).await;
        assert_eq!(exempt.running(), 1000);
    }
}
