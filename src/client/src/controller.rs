//! The reconciler runner: upstream's worker loop, `processNextWorkItem`.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::WorkQueue;

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl ObjectKey {
    pub fn new(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }
    pub fn of(object: &api::Object) -> ObjectKey {
        ObjectKey::new(object.namespace(), object.name())
    }
}

impl Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What a reconcile asks for when all went well: nothing, or to be called again after a while.
pub type Requeue = Option<Duration>;

/// Workers on a queue. An error puts its key back with back-off; it is logged from the sixth in a row on (150 ms), since
/// conflicts with a stale cache are daily bread.
pub struct Controller<K> {
    pub name: &'static str,
    pub workers: usize,
    pub queue: WorkQueue<K>,
}

impl<K: Clone + Eq + Hash + Ord + Display + Send + Sync + 'static> Controller<K> {
    /// Runs until `stop`; keys being worked on then are finished first.
    pub async fn run<F, Fut, E>(self, stop: CancellationToken, reconcile: F)
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, E>> + Send + 'static,
        E: Display + Send,
    {
        let (name, reconcile) = (self.name, Arc::new(reconcile));
        let mut workers = JoinSet::new();
        for _ in 0..self.workers.max(1) {
            let (queue, stop, reconcile) = (self.queue.clone(), stop.clone(), reconcile.clone());
            workers.spawn(async move {
                while let Some(key) = stop.run_until_cancelled(queue.next()).await {
                    match reconcile(key.clone()).await {
                        Ok(again) => {
                            queue.succeeded(&key);
                            if let Some(delay) = again {
                                queue.add_after(key.clone(), delay);
                            }
                        }
                        Err(error) => {
                            if queue.failed(key.clone()) > 5 {
                                tracing::warn!(controller = name, %key, %error, "reconcile failed");
                            }
                        }
                    }
                    queue.done(&key);
                }
            });
        }
        while workers.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test(start_paused = true)]
    async fn an_error_is_tried_again_and_a_requeue_comes_back() {
        let queue: WorkQueue<ObjectKey> = WorkQueue::new();
        let stop = CancellationToken::new();
        let calls = Arc::new(Mutex::new(0));
        let (seen, end) = (calls.clone(), stop.clone());
        queue.add(ObjectKey::new("n", "a"));
        let controller = Controller { name: "test", workers: 2, queue };
        controller
            .run(stop, move |_| {
                let (seen, end) = (seen.clone(), end.clone());
                async move {
                    let mut n = seen.lock();
                    *n += 1;
                    match *n {
                        1 => Err("no"),
                        2 => Ok(Some(Duration::from_secs(60))),
                        _ => {
                            end.cancel();
                            Ok(None)
                        }
                    }
                }
            })
            .await;
        assert_eq!(*calls.lock(), 3);
    }
}
