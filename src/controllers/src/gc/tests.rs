use super::*;
use crate::testing::{Bench, kind, settle};
use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use api::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use api::{Resource, Value};
use client::Client;
use std::sync::atomic::{AtomicUsize, Ordering};

fn bench() -> Bench {
    let bench = Bench::with(|c| {
        c.registry = kind::fixed(kind::registry([
            kind::of::<Deployment>(),
            kind::of::<ReplicaSet>(),
            kind::of::<Pod>(),
            kind::of::<ConfigMap>(),
        ]));
    });
    bench.start(run);
    // a deployment, its replica set, its pod
    let d = bench.fake.seed(Deployment::gvr(), named("d", json!([])));
    let r = bench.fake.seed(ReplicaSet::gvr(), named("r", json!([owner::<Deployment>(&d)])));
    bench.fake.seed(Pod::gvr(), named("p", json!([owner::<ReplicaSet>(&r)])));
    bench
}

fn named(name: &str, owners: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "ownerReferences": owners}})
}

fn owner<K: Resource>(o: &Object) -> Value {
    crate::pods::controller_ref::<K>(o)
}

fn left(bench: &Bench) -> Vec<String> {
    let all = [Deployment::gvr(), ReplicaSet::gvr(), Pod::gvr(), ConfigMap::gvr()];
    all.iter().flat_map(|r| bench.fake.objects(r)).map(|o| o.name().to_owned()).collect()
}

async fn delete<K: Resource>(bench: &Bench, name: &str, propagation: Propagation) {
    let options = DeleteOptions { propagation: Some(propagation), ..Default::default() };
    bench.fake.delete(&Target::one(K::gvr(), "n", name), &options).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn background_takes_all_that_is_owned() {
    let bench = bench();
    settle().await;
    assert_eq!(left(&bench), ["d", "r", "p"]);
    delete::<Deployment>(&bench, "d", Propagation::Background).await;
    settle().await;
    assert!(left(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_api_servers_have_owners_and_dependents() {
    let bench = bench();
    settle().await;
    let things = api::Gvr::new("x.io", "v1", "things");
    let owned =
        |kind: &str, version: &str, uid: &str| json!([{"apiVersion": version, "kind": kind, "name": "d", "uid": uid}]);
    // while nobody says that there are things, their dependents are left alone
    bench.fake.seed(ConfigMap::gvr(), named("lost", owned("Thing", "x.io/v1", "no-longer")));
    let uid = bench.fake.objects(&Deployment::gvr())[0].uid().to_owned();
    let thing = bench.fake.seed(things.clone(), named("d", owned("Deployment", "apps/v1", &uid)));
    bench.fake.seed(ConfigMap::gvr(), named("kept", owned("Thing", "x.io/v1", thing.uid())));
    settle().await;
    assert_eq!(left(&bench), ["d", "r", "p", "kept", "lost"]);
    let resource =
        |name: &str, verbs: Value| json!({"name": name, "kind": "Thing", "namespaced": true, "verbs": verbs});
    let resources =
        vec![resource("things/status", json!(["get"])), resource("things", json!(["get", "list", "watch", "delete"]))];
    let [group, version] = ["x.io", "v1"].map(str::to_owned);
    let served = |fresh: bool| {
        let (group, version, resources) = (group.clone(), version.clone(), Arc::new(resources.clone()));
        vec![Aggregated { group, version, fresh, resources }]
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    bench.fake.react(move |_, target| {
        count.fetch_add(usize::from(target.resource.resource == "things"), Ordering::Relaxed);
        None
    });
    // nor while it does not answer, and then it is not asked either
    bench.fake.aggregate(served(false));
    settle().await;
    assert_eq!((left(&bench).len(), asked.load(Ordering::Relaxed)), (5, 0));
    bench.fake.aggregate(served(true));
    settle().await;
    assert_eq!(left(&bench), ["d", "r", "p", "kept"]);
    delete::<Deployment>(&bench, "d", Propagation::Background).await;
    settle().await;
    assert!(left(&bench).is_empty() && bench.fake.objects(&things).is_empty(), "{:?}", left(&bench));
}

#[tokio::test(start_paused = true)]
async fn foreground_waits_for_the_last_dependent() {
    let bench = bench();
    bench.fake.edit(&Pod::gvr(), "n", "p", |p| p["metadata"]["finalizers"] = json!(["x/hold"]));
    settle().await;
    delete::<Deployment>(&bench, "d", Propagation::Foreground).await;
    settle().await;
    assert_eq!(left(&bench), ["d", "r", "p"]);
    bench.fake.remove(&Pod::gvr(), "n", "p");
    settle().await;
    assert!(left(&bench).is_empty(), "{:?}", left(&bench));
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_without_their_owner() {
    let bench = bench();
    settle().await;
    delete::<Deployment>(&bench, "d", Propagation::Orphan).await;
    settle().await;
    assert_eq!(left(&bench), ["r", "p"]);
    assert_eq!(bench.fake.tree(&ReplicaSet::gvr(), "n", "r")["metadata"]["ownerReferences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_object_lives_while_one_owner_does_and_unknown_kinds_are_left_alone() {
    let bench = bench();
    let a = bench.fake.seed(ConfigMap::gvr(), named("a", json!([])));
    let b = bench.fake.seed(ConfigMap::gvr(), named("b", json!([])));
    let both = json!([owner::<ConfigMap>(&a), owner::<ConfigMap>(&b)]);
    bench.fake.seed(ConfigMap::gvr(), named("c", both));
    let foreign = json!([{"apiVersion": "x.io/v1", "kind": "Thing", "name": "t", "uid": "u"}]);
    bench.fake.seed(ConfigMap::gvr(), named("e", foreign));
    let gone = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]);
    bench.fake.seed(ConfigMap::gvr(), named("f", gone));
    settle().await;
    assert_eq!(left(&bench)[3..], ["a", "b", "c", "e"]);
    delete::<ConfigMap>(&bench, "a", Propagation::Background).await;
    settle().await;
    assert_eq!(
        bench.fake.tree(&ConfigMap::gvr(), "n", "c")["metadata"]["ownerReferences"].as_array().unwrap().len(),
        1
    );
    delete::<ConfigMap>(&bench, "b", Propagation::Background).await;
    settle().await;
    assert_eq!(left(&bench)[3..], ["e"]);
}
