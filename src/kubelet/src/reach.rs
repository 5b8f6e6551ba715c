//! Whether the API server answers, as the last call that needed it has seen. Pods go on without it: what must be told waits
//! here until it is back, instead of trying again and again.

use api::Status;
use tokio::sync::watch;

pub(crate) struct Reach(watch::Sender<bool>);

impl Default for Reach {
    fn default() -> Reach {
        Reach(watch::channel(true).0)
    }
}

impl Reach {
    /// Learns from a call that only the server can answer, and hands its result on. The turns are logged, once each.
    pub fn learn<T>(&self, result: Result<T, Status>) -> Result<T, Status> {
        let there = !result.as_ref().is_err_and(client::is_unreachable);
        let turned = self.0.send_if_modified(|was| std::mem::replace(was, there) != there);
        match (turned, &result) {
            (true, Err(error)) if !there => {
                tracing::warn!(%error, "the API server is out of reach; pods go on as they are known");
            }
            (true, _) => tracing::info!("the API server is back"),
            _ => {}
        }
        result
    }

    pub fn is_away(&self) -> bool {
        !*self.0.borrow()
    }

    /// Waits until it answers; at once if it does.
    pub async fn back(&self) {
        // the sender lives as long as `self`
        let _ = self.0.subscribe().wait_for(|there| *there).await;
    }

    /// Waits until it does not.
    pub async fn gone(&self) {
        let _ = self.0.subscribe().wait_for(|there| !*there).await;
    }
}
