//! Random transactions, restarts, compactions, watches and old snapshots: the store does what a list of events would.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use store::{Change, Error, Event, EventKind, Key, Options, Precondition, Store};

#[derive(Debug, Clone)]
enum Op {
    Put(usize, u8, Expect),
    Delete(usize, Expect),
    /// At once, whoever comes first.
    Together(Vec<(usize, u8)>),
    Restart,
    /// From a revision this many back, and the snapshot there.
    Look(usize, u64),
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Nothing,
    Absent,
    Current,
    Stale,
}

/// What happened: `(revision, key, new value, old value)`.
type Entry = (u64, Key, Option<String>, Option<String>);

const RESOURCES: [&str; 3] = [MAPS, "apps/deployments", LEASES];

fn keys() -> Vec<Key> {
    let names = [("a", "x"), ("a", "y"), ("b", "x"), ("", "x")];
    RESOURCES.iter().flat_map(|r| names.map(|(namespace, name)| Key::new(r, namespace, name))).collect()
}

fn op() -> impl Strategy<Value = Op> {
    let expect = prop_oneof![
        5 => Just(Expect::Nothing), 1 => Just(Expect::Absent), 3 => Just(Expect::Current), 1 => Just(Expect::Stale)
    ];
    let k = 0..keys().len();
    prop_oneof![
        8 => (k.clone(), 0..4u8, expect.clone()).prop_map(|(k, v, e)| Op::Put(k, v, e)),
        4 => (k.clone(), expect).prop_map(|(k, e)| Op::Delete(k, e)),
        2 => prop::collection::vec((k, any::<u8>()), 1..20).prop_map(Op::Together),
        1 => Just(Op::Restart),
        4 => (0..RESOURCES.len(), 0..30u64).prop_map(|(r, back)| Op::Look(r, back)),
    ]
}

/// Rings so short that watches need the file, and history that is kept or goes at once.
fn options() -> impl Strategy<Value = Options> {
    let ms = Duration::from_millis;
    let keep = prop_oneof![Just((ms(300_000), u64::MAX)), Just((ms(1), u64::MAX)), Just((ms(300_000), 2000u64))];
    (keep, prop_oneof![Just(4usize), Just(4096)], prop_oneof![Just(ms(0)), Just(ms(5000))]).prop_map(
        |((keep, keep_bytes), ring_events, late_flush_after)| Options {
            keep,
            keep_bytes,
            ring_events,
            late_flush_after,
            ..Options::default()
        },
    )
}

#[derive(Default)]
struct Model {
    log: Vec<Entry>,
    /// As of the last start: late events from before are still all there, since the stop was clean.
    revision: u64,
}

impl Model {
    fn state(&self, revision: u64) -> BTreeMap<Key, (u64, String)> {
        let mut state = BTreeMap::new();
        for (r, key, new, _) in self.log.iter().filter(|e| e.0 <= revision) {
            match new {
                Some(v) => drop(state.insert(key.clone(), (*r, v.clone()))),
                None => drop(state.remove(key)),
            }
        }
        state
    }

    fn apply(&mut self, key: &Key, new: Option<String>, revision: u64) {
        assert!(revision > self.revision, "revisions rise");
        let old = self.state(u64::MAX).remove(key).map(|(_, v)| v);
        self.log.push((revision, key.clone(), new, old));
        self.revision = revision;
    }
}

fn precondition(expect: Expect, current: Option<&(u64, String)>) -> Option<Precondition> {
    match expect {
        Expect::Nothing => None,
        Expect::Absent => Some(Precondition::Absent),
        Expect::Current => Some(current.map_or(Precondition::Absent, |(r, _)| Precondition::Revision(*r))),
        Expect::Stale => Some(Precondition::Revision(current.map_or(1, |(r, _)| r - 1))),
    }
}

async fn write(store: &Store, model: &mut Model, key: &Key, new: Option<String>, expect: Expect) {
    let state = model.state(u64::MAX);
    let current = state.get(key);
    let pre = precondition(expect, current);
    let change = match &new {
        Some(v) => Change::Put(draft(key, v)),
        None => Change::Delete,
    };
    let result = store.commit(key.clone(), pre, change).await;
    match (pre, current, &new) {
        (Some(Precondition::Absent), Some(_), _) => assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}"),
        (Some(Precondition::Revision(_)), None, _) | (_, None, None) => {
            assert!(matches!(result, Err(Error::NotFound)), "{result:?}");
        }
        (Some(Precondition::Revision(r)), Some((at, _)), _) if r != *at => match result {
            Err(Error::Conflict { current }) => assert_eq!(current.revision(), *at),
            other => panic!("no conflict: {other:?}"),
        },
        (_, Some((at, old)), Some(v)) if old == v => assert_eq!(result.unwrap().revision, *at, "a write of nothing"),
        _ => {
            let commit = result.unwrap();
            assert_eq!(commit.prev.as_ref().map(|p| value(p)), current.map(|c| c.1.clone()));
            assert_eq!(Some(value(&commit.object)), new.clone().or(current.map(|c| c.1.clone())));
            assert_eq!(commit.object.revision(), commit.revision);
            model.apply(key, new, commit.revision);
        }
    }
}

fn event(resource: &str, e: &Event) -> Entry {
    let key = Key::new(resource, e.object.namespace(), e.object.name());
    let new = (e.kind == EventKind::Put).then(|| value(&e.object));
    if e.kind == EventKind::Delete {
        assert_eq!(Some(value(&e.object)), e.prev.as_ref().map(|p| value(p)));
    }
    assert_eq!(e.object.revision(), e.revision);
    (e.revision, key, new, e.prev.as_ref().map(|p| value(p)))
}

fn objects<'a>(
    resource: &str,
    all: impl Iterator<Item = &'a std::sync::Arc<api::Object>>,
) -> Vec<(Key, (u64, String))> {
    all.map(|o| (Key::new(resource, o.namespace(), o.name()), (o.revision(), value(o)))).collect()
}

async fn look(store: &Store, model: &Model, resource: &str, from: u64, may_be_gone: bool) {
    match store.watch(resource, from) {
        Err(Error::Compacted { .. }) => assert!(may_be_gone),
        Err(e) => panic!("{e}"),
        Ok(mut watcher) => match drain(&mut watcher, store.revision()).await {
            Err(Error::Compacted { .. }) => assert!(may_be_gone),
            Err(e) => panic!("{e}"),
            Ok(events) => {
                let got: Vec<_> = events.iter().map(|e| event(resource, e)).collect();
                let want = model.log.iter().filter(|e| e.0 > from && &*e.1.resource == resource).cloned();
                assert_eq!(got, want.collect::<Vec<_>>());
            }
        },
    }
    let want = model.state(from).into_iter().filter(|(k, _)| &*k.resource == resource).collect::<Vec<_>>();
    match store.snapshot_at(resource, from).await {
        Err(Error::Compacted { .. }) => assert!(may_be_gone),
        Err(e) => panic!("{e}"),
        Ok(snapshot) => {
            assert_eq!(objects(resource, snapshot.iter()), want);
            let b: Vec<_> = want.iter().filter(|(k, _)| &*k.namespace == "a").cloned().collect();
            assert_eq!(objects(resource, snapshot.range(Some("a"), None)), b);
            assert_eq!(objects(resource, snapshot.range(Some("a"), Some(("", "x")))), b);
            if let Some((first, _)) = want.first() {
                let rest = snapshot.range(None, Some((&*first.namespace, &*first.name)));
                assert_eq!(objects(resource, rest), want[1..]);
            }
        }
    }
}

async fn run(ops: Vec<Op>, options: Options) {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys();
    let mut store = Store::open(dir.path(), options.clone()).unwrap();
    let mut model = Model::default();
    let may_be_gone = options.keep < Duration::from_secs(1) || options.keep_bytes < u64::MAX;
    for op in ops {
        match op {
            Op::Put(k, v, expect) => write(&store, &mut model, &keys[k], Some(v.to_string()), expect).await,
            Op::Delete(k, expect) => write(&store, &mut model, &keys[k], None, expect).await,
            Op::Together(puts) => {
                let tasks = puts.into_iter().map(|(k, v)| {
                    let (store, key, v) = (store.clone(), keys[k].clone(), v.to_string());
                    tokio::spawn(async move { (put(&store, &key, &v).await.unwrap().revision, key, v) })
                });
                let mut done = Vec::new();
                for task in tasks.collect::<Vec<_>>() {
                    done.push(task.await.unwrap());
                }
                done.sort();
                done.dedup_by_key(|d| d.0);
                for (revision, key, v) in done.into_iter().filter(|d| d.0 > model.revision).collect::<Vec<_>>() {
                    model.apply(&key, Some(v), revision);
                }
            }
            Op::Restart => {
                store.close().await.unwrap();
                assert!(matches!(put(&store, &keys[0], "late").await, Err(Error::Closed)));
                store = Store::open(dir.path(), options.clone()).unwrap();
            }
            Op::Look(r, back) => {
                look(&store, &model, RESOURCES[r], model.revision.saturating_sub(back), may_be_gone).await;
            }
        }
        assert_eq!(store.revision(), model.revision);
        for resource in RESOURCES {
            let want = model.state(u64::MAX).into_iter().filter(|(k, _)| &*k.resource == resource).collect::<Vec<_>>();
            assert_eq!(objects(resource, store.snapshot(resource).iter()), want);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_a_list_of_events_would(ops in prop::collection::vec(op(), 1..120), options in options()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(ops, options));
    }
}
