//! Memory that is given back: after many objects have gone, the heap has pages that only a look at all of it finds.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// From much having been freed to the look, which is then one for a whole burst…
const PAUSE: Duration = Duration::from_secs(3);
/// …and from then to the last one, when the store's recent events are no longer so recent.
const LATER: Duration = Duration::from_secs(5);

/// Wakes when objects go, and only then. `store`: where this process has one.
pub async fn give_back(store: Option<Arc<Store>>, stop: CancellationToken) {
    let freed = Arc::new(Notify::new());
    let tell = freed.clone();
    api::when_freed(move || tell.notify_one());
    let work = async {
        loop {
            freed.notified().await;
            loop {
                tokio::time::sleep(PAUSE).await;
                release(store.clone()).await;
                if tokio::time::timeout(LATER, freed.notified()).await.is_err() {
                    break;
                }
            }
            release(store.clone()).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn release(store: Option<Arc<Store>>) {
    let work = move || {
        if let Some(store) = store {
            store.forget_old();
        }
        runtime::release_memory();
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "memory is not given back");
    }
}
