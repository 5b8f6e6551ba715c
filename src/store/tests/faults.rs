//! Locks, damaged files, full disks, backends that fail, and what is flushed late.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use store::backend::{Backend, History, Loaded, Sqlite, Write};
use store::{Error, Key, Options, Precondition, Store};

async fn fill(dir: &Path, objects: usize) {
    let store = Store::open(dir, keep_all()).unwrap();
    let writes = (0..objects).map(|i| (store.clone(), key(MAPS, &format!("m{i}"))));
    let tasks: Vec<_> =
        writes.map(|(s, k)| tokio::spawn(async move { put(&s, &k, &"v".repeat(500)).await.map(drop) })).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_second_open_is_refused_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let Err(Error::Locked { holder, .. }) = Store::open(dir.path(), Options::default()) else { panic!("not refused") };
    assert_eq!(holder, format!("process {}", std::process::id()));
    put(&store, &key(MAPS, "x"), "1").await.unwrap();
    store.close().await.unwrap();
    let again = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(value(&again.get(&key(MAPS, "x")).unwrap()), "1");
    // a handle that is only dropped lets go too
    drop(again);
    Store::open(dir.path(), Options::default()).unwrap();
}

#[tokio::test]
async fn an_empty_directory_is_open_fast_and_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let (start, dir) = (Instant::now(), dir.path().join("server"));
    let store = Store::open(&dir, Options::default()).unwrap();
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    put(&store, &key("secrets", "s"), "hush").await.unwrap();
    for (file, mode) in [(".", 0o700), ("state.db", 0o600), ("state.db-wal", 0o600)] {
        assert_eq!(std::fs::metadata(dir.join(file)).unwrap().mode() & 0o777, mode, "{file}");
    }
}

#[tokio::test]
async fn damage_is_told_at_open() {
    type Harm = fn(&Path, u64);
    let harms: [(&str, Harm); 5] = [
        ("truncated to a part", |db, len| OpenOptions::new().write(true).open(db).unwrap().set_len(len / 2).unwrap()),
        ("truncated to nothing", |db, _| OpenOptions::new().write(true).open(db).unwrap().set_len(0).unwrap()),
        ("removed", |db, _| std::fs::remove_file(db).unwrap()),
        ("garbage in the header", |db, _| {
            OpenOptions::new().write(true).open(db).unwrap().write_all_at(&[0x5a; 200], 0).unwrap()
        }),
        ("garbage in the middle", |db, len| {
            let file = OpenOptions::new().write(true).open(db).unwrap();
            file.write_all_at(&vec![0x5a; 64 << 10], len / 2 / 4096 * 4096).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 500).await;
        let db = dir.path().join("state.db");
        harm(&db, std::fs::metadata(&db).unwrap().len());
        match Store::open(dir.path(), Options::default()) {
            Err(e @ Error::Damaged { .. }) => {
                let text = e.to_string();
                assert!(text.contains("state.db") && text.contains("backup"), "{name}: {text}");
            }
            Err(e) => panic!("{name}: {e}"),
            Ok(_) => panic!("{name}: opened"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Sqlite::open(dir.path(), &keep_all()).unwrap();
    backend.limit_pages(40).unwrap();
    let store = Store::with_backend(Box::new(backend), keep_all()).unwrap();
    let mut watcher = store.watch(MAPS, 0).unwrap();
    let mut written = Vec::new();
    let failed = loop {
        let key = key(MAPS, &format!("m{}", written.len()));
        match put(&store, &key, &"v".repeat(3000)).await {
            Ok(commit) => written.push((key, commit.revision)),
            Err(e) => break (key, e),
        }
    };
    assert!(matches!(failed.1, Error::Full(_)), "{}", failed.1);
    assert!(store.get(&failed.0).is_none() && !written.is_empty());
    let seen = drain(&mut watcher, store.revision()).await.unwrap();
    assert_eq!(seen.iter().map(|e| e.revision).collect::<Vec<_>>(), written.iter().map(|w| w.1).collect::<Vec<_>>());
    drop(watcher);
    drop(store);
    let store = Store::open(dir.path(), keep_all()).unwrap();
    assert_eq!(store.snapshot(MAPS).len(), written.len());
    put(&store, &failed.0, "1").await.unwrap();
}

/// Fails when told to.
struct Failing(Sqlite, Arc<AtomicBool>);

impl Backend for Failing {
    fn load(&mut self) -> Result<Loaded, Error> {
        self.0.load()
    }
    fn commit(&mut self, writes: &[Write]) -> Result<Vec<Arc<api::Object>>, Error> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Error::Storage("no".into()));
        }
        self.0.commit(writes)
    }
    fn due(&self) -> Option<Instant> {
        self.0.due()
    }
    fn work(&mut self) -> Result<(), Error> {
        self.0.work()
    }
    fn history(&self) -> Arc<dyn History> {
        self.0.history()
    }
    fn close(&mut self) -> Result<(), Error> {
        self.0.close()
    }
}

#[tokio::test]
async fn a_batch_that_fails_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let backend = Failing(Sqlite::open(dir.path(), &keep_all()).unwrap(), fails.clone());
    let store = Store::with_backend(Box::new(backend), keep_all()).unwrap();
    let (a, b) = (key(MAPS, "a"), key(LEASES, "b"));
    let first = put(&store, &a, "1").await.unwrap().revision;
    fails.store(true, Ordering::SeqCst);
    for k in [&a, &b] {
        assert!(matches!(put(&store, k, "2").await, Err(Error::Storage(_))));
    }
    assert_eq!((store.revision(), store.get(&b).is_none()), (first, true));
    // what needs no disk still works
    assert_eq!(put(&store, &a, "1").await.unwrap().revision, first);
    assert!(matches!(put_if(&store, &a, "2", Some(Precondition::Absent)).await, Err(Error::Exists { .. })));
    fails.store(false, Ordering::SeqCst);
    let second = put_if(&store, &a, "2", Some(Precondition::Revision(first))).await.unwrap();
    assert!(second.revision > first);
}

/// A copy of the directory is what a crash would leave: nothing is closed.
fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn late_writes_are_answered_at_once_and_never_take_a_revision_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { late_flush_after: Duration::from_secs(3600), ..keep_all() };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let (map, lease) = (key(MAPS, "a"), key(LEASES, "a"));
    put(&store, &map, "1").await.unwrap();
    let mut watcher = store.watch(LEASES, 0).unwrap();
    let mut last = 0;
    for i in 0..20 {
        last = put(&store, &lease, &i.to_string()).await.unwrap().revision;
    }
    assert_eq!(drain(&mut watcher, last).await.unwrap().len(), 20);

    let crashed = crash(dir.path());
    let after = Store::open(crashed.path(), options.clone()).unwrap();
    assert!(after.get(&lease).is_none() && after.get(&map).is_some());
    assert!(after.revision() >= last);
    assert!(put(&after, &lease, "new").await.unwrap().revision > last);
    // who has seen what is lost must list anew; others go on
    assert!(matches!(after.watch(LEASES, last), Err(Error::Compacted { .. })));
    assert!(matches!(after.snapshot_at(LEASES, last).await, Err(Error::Compacted { .. })));
    after.watch(MAPS, last).unwrap();

    // the next ordinary batch takes them along
    put(&store, &map, "2").await.unwrap();
    let after = Store::open(crash(dir.path()).path(), options.clone()).unwrap();
    assert_eq!(value(&after.get(&lease).unwrap()), "19");

    // and a close does
    put(&store, &lease, "last").await.unwrap();
    let revision = store.revision();
    store.close().await.unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!((value(&store.get(&lease).unwrap()).as_str(), store.revision()), ("last", revision));
    store.watch(LEASES, last).unwrap();
}

#[tokio::test]
async fn late_writes_reach_the_disk_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { late_flush_after: Duration::from_millis(1), ..keep_all() };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let lease: Key = key(LEASES, "a");
    put(&store, &lease, "1").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let after = Store::open(crash(dir.path()).path(), options.clone()).unwrap();
        if after.get(&lease).is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "never flushed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_store_closes_under_its_watchers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), keep_all()).unwrap();
    let mut watcher = store.watch(MAPS, 0).unwrap();
    put(&store, &key(MAPS, "a"), "1").await.unwrap();
    store.close().await.unwrap();
    assert_eq!(watcher.next().await.unwrap().len(), 1);
    assert!(matches!(watcher.next().await, Err(Error::Closed)));
    assert!(matches!(store.close().await, Err(Error::Closed)));
}
