//! Writes in growing batches: upstream's `slowStartBatch`.

use std::future::Future;

use crate::Error;

/// Calls `act` up to `count` times: once, then 2 at a time, 4, 8, …; stops after the first batch with an error, so that
/// what cannot succeed is not tried a hundred times. Returns how many succeeded, and the first error.
pub async fn slow_start<F, Fut>(count: usize, act: F) -> (usize, Option<Error>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut done, mut size) = (0, 1);
    while done < count {
        let batch = size.min(count - done);
        let results = futures::future::join_all((0..batch).map(|_| act())).await;
        let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        done += good.len();
        if let Some(error) = bad.into_iter().find_map(Result::err) {
            return (done, Some(error));
        }
        size *= 2;
    }
    (done, None)
}
