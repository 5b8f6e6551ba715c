//! Memory that is given back: after many objects have gone, the heap has pages that only a look at all of it finds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// From much having been freed to the look, which is then one for a whole burst.
const PAUSE: Duration = Duration::from_secs(3);

/// Wakes when objects go, and only then.
pub async fn give_back(stop: CancellationToken) {
    let freed = Arc::new(Notify::new());
    let tell = freed.clone();
    api::when_freed(move || tell.notify_one());
    let work = async {
        loop {
            freed.notified().await;
            tokio::time::sleep(PAUSE).await;
            if let Err(error) = tokio::task::spawn_blocking(runtime::release_memory).await {
                tracing::warn!(%error, "memory is not given back");
            }
        }
    };
    stop.run_until_cancelled(work).await;
}
