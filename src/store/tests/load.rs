//! Under load: the file stays small, watchers by the hundred see everything, late comers read the past from the file.

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use store::{Change, Error, Options, Store};

const LIVE: usize = 200;

async fn churn(store: &Store, writes: usize, callers: usize) {
    let tasks = (0..callers).map(|c| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..writes / callers {
                let key = key(MAPS, &format!("m{}", (c + i * callers) % LIVE));
                put(&store, &key, &format!("{i}-{}", "x".repeat(100))).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn size(dir: &Path, file: &str) -> u64 {
    std::fs::metadata(dir.join(file)).map_or(0, |m| m.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_does_not_grow_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keep_bytes: 1 << 20, ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    for _ in 0..4 {
        churn(&store, 50_000, 200).await;
        let (db, wal) = (size(dir.path(), "state.db"), size(dir.path(), "state.db-wal"));
        assert!(db < 8 << 20, "the file has {db} bytes");
        assert!(wal < 24 << 20, "the WAL has {wal} bytes");
    }
    assert_eq!(store.snapshot(MAPS).len(), LIVE);
    assert!(matches!(store.watch(MAPS, 1), Err(Error::Compacted { .. })));
    store.close().await.unwrap();
    assert_eq!(size(dir.path(), "state.db-wal"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keep: Duration::from_millis(1), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let keys: Vec<_> = (0..300).map(|i| key(MAPS, &format!("m{i}"))).collect();
    let big = "x".repeat(64 << 10);
    for key in &keys {
        put(&store, key, &big).await.unwrap();
    }
    let full = size(dir.path(), "state.db") + size(dir.path(), "state.db-wal");
    for key in &keys {
        store.commit(key.clone(), None, Change::Delete).await.unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let path = dir.path().join("state.db");
    let conn = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    while conn.query_row("PRAGMA page_count", [], |r| r.get::<_, u32>(0)).unwrap() as u64 * 4096 > full / 2 {
        assert!(std::time::Instant::now() < deadline, "the file is not given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_watchers_see_every_event() {
    let dir = tempfile::tempdir().unwrap();
    // a ring that the slower ones fall out of
    let store = Store::open(dir.path(), Options { ring_events: 256, ..keep_all() }).unwrap();
    let watchers = (0..500).map(|_| {
        let mut watcher = store.watch(MAPS, 0).unwrap();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 1000 {
                seen.extend(watcher.next().await.unwrap().into_iter().map(|e| e.revision));
            }
            seen
        })
    });
    let watchers: Vec<_> = watchers.collect();
    churn(&store, 1000, 50).await;
    for watcher in watchers {
        let seen = watcher.await.unwrap();
        assert!(seen.is_sorted() && seen.len() == 1000 && seen[999] == store.revision());
    }
}

#[tokio::test]
async fn a_watch_goes_on_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), keep_all()).unwrap();
    churn(&store, 1000, 10).await;
    let from = store.revision() - 600;
    store.close().await.unwrap();
    let store = Store::open(dir.path(), keep_all()).unwrap();
    let mut watcher = store.watch(MAPS, from).unwrap();
    put(&store, &key(MAPS, "new"), "1").await.unwrap();
    let events = drain(&mut watcher, store.revision()).await.unwrap();
    assert_eq!(events.len(), 601);
    assert!(events.is_sorted_by_key(|e| e.revision) && events[..600].iter().all(|e| e.prev.is_some()));
    // nothing is left to see, and other resources move the bookmark on
    let revision = put(&store, &key("secrets", "s"), "1").await.unwrap().revision;
    assert_eq!(watcher.progress(), revision);
    assert!(watcher.try_next().is_empty());
}
