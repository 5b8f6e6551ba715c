use super::*;
use crate::testing::{node_tree, pod_tree};
use client::SystemClock;
use client::fake::FakeClient;
use std::time::Duration;
use tokio_util::sync::DropGuard;

fn start() -> (FakeClient, DropGuard) {
    let (fake, stop) = (FakeClient::new(), CancellationToken::new());
    tokio::spawn(run(fake.arc(), Arc::new(SystemClock), stop.clone()));
    (fake, stop.drop_guard())
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn node_of(fake: &FakeClient, pod: &str) -> String {
    fake.tree(&Pod::gvr(), "n", pod)["spec"]["nodeName"].as_str().unwrap_or("").to_owned()
}

fn scheduled(fake: &FakeClient, pod: &str) -> String {
    fake.tree(&Pod::gvr(), "n", pod)["status"]["conditions"][0]["message"].as_str().unwrap_or("").to_owned()
}

fn asks(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_and_one_without_room_waits_for_it() {
    let (fake, _stop) = start();
    fake.seed(Node::gvr(), node_tree("a", json!({})));
    fake.seed(Pod::gvr(), pod_tree("first", asks("3")));
    settle().await;
    assert_eq!(node_of(&fake, "first"), "a");
    fake.seed(Pod::gvr(), pod_tree("second", asks("3")));
    settle().await;
    let text = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!((node_of(&fake, "second"), scheduled(&fake, "second")), (String::new(), text.into()));
    fake.take_writes();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(fake.take_writes(), [], "nothing changes, nothing is tried");
    fake.remove(&Pod::gvr(), "n", "first");
    settle().await;
    assert_eq!(node_of(&fake, "second"), "a");
    let events = fake.objects(&api::Gvr::new("", "v1", "events"));
    let texts: Vec<String> = events.iter().map(|e| e.tree()["message"].as_str().unwrap().to_owned()).collect();
    assert!(texts.contains(&"Successfully assigned n/second to a".into()) && texts.contains(&text.into()), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_could_help_wakes_a_pod() {
    let (fake, _stop) = start();
    fake.seed(Pod::gvr(), pod_tree("early", json!({})));
    settle().await;
    assert_eq!(scheduled(&fake, "early"), "no nodes available to schedule pods");
    fake.seed(Node::gvr(), node_tree("a", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})));
    settle().await;
    assert!(scheduled(&fake, "early").starts_with("0/1 nodes are available: 1 node(s) had untolerated taint {k: }."));
    fake.edit(&Node::gvr(), "", "a", |n| n["spec"]["taints"] = json!([]));
    settle().await;
    assert_eq!(node_of(&fake, "early"), "a");
    fake.seed(Pod::gvr(), pod_tree("picky", json!({"spec": {"nodeSelector": {"disk": "ssd"}}})));
    fake.seed(Pod::gvr(), pod_tree("gated", json!({"spec": {"schedulingGates": [{"name": "g"}]}})));
    fake.seed(Pod::gvr(), pod_tree("foreign", json!({"spec": {"schedulerName": "other"}})));
    settle().await;
    assert_eq!(node_of(&fake, "picky") + &node_of(&fake, "gated") + &node_of(&fake, "foreign"), "");
    fake.edit(&Node::gvr(), "", "a", |n| n["metadata"]["labels"]["disk"] = json!("ssd"));
    fake.edit(&Pod::gvr(), "n", "gated", |p| p["spec"]["schedulingGates"] = json!([]));
    settle().await;
    assert_eq!((node_of(&fake, "picky"), node_of(&fake, "gated")), ("a".into(), "a".into()));
}

#[tokio::test(start_paused = true)]
async fn higher_priority_goes_first_and_a_failed_binding_is_tried_again() {
    let (fake, _stop) = start();
    let refused = Arc::new(Mutex::new(true));
    let refuse = refused.clone();
    fake.react(move |_, t| {
        let once = t.subresource == "binding" && t.name == "only" && std::mem::take(&mut *refuse.lock());
        once.then(|| api::Status::internal("no"))
    });
    for (name, priority) in [("low", 1), ("high", 10)] {
        fake.seed(
            Pod::gvr(),
            pod_tree(name, json!({"spec": {"priority": priority, "containers": asks("3")["spec"]["containers"]}})),
        );
    }
    settle().await;
    fake.seed(Node::gvr(), node_tree("a", json!({})));
    settle().await;
    assert_eq!((node_of(&fake, "high"), node_of(&fake, "low")), ("a".into(), String::new()));
    fake.seed(Pod::gvr(), pod_tree("only", json!({})));
    settle().await;
    assert_eq!(node_of(&fake, "only"), "");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node_of(&fake, "only"), "a");
}

#[tokio::test(start_paused = true)]
async fn the_important_displace_the_least_important() {
    let (fake, _stop) = start();
    fake.seed(Node::gvr(), node_tree("a", json!({})));
    let with = |priority: i32, cpu: &str| {
        let mut tree = asks(cpu);
        tree["spec"]["priority"] = json!(priority);
        tree
    };
    fake.seed(Pod::gvr(), pod_tree("small", with(1, "1")));
    fake.seed(Pod::gvr(), pod_tree("middle", with(5, "2")));
    settle().await;
    fake.seed(Pod::gvr(), pod_tree("big", with(10, "2")));
    settle().await;
    // bound pods go gracefully: the victim is marked, the place kept
    let of = |name: &str| fake.tree(&Pod::gvr(), "n", name);
    assert!(!of("small")["metadata"]["deletionTimestamp"].is_null());
    assert!(of("middle")["metadata"]["deletionTimestamp"].is_null());
    assert_eq!((node_of(&fake, "big"), &of("big")["status"]["nominatedNodeName"]), (String::new(), &json!("a")));
    assert_eq!(scheduled(&fake, "big"), "0/1 nodes are available: 1 Insufficient cpu.");
    fake.seed(Pod::gvr(), pod_tree("thief", with(2, "1")));
    fake.remove(&Pod::gvr(), "n", "small");
    settle().await;
    assert_eq!((node_of(&fake, "big"), node_of(&fake, "thief")), ("a".into(), String::new()));
    fake.seed(Pod::gvr(), pod_tree("shy", json!({"spec": {"priority": 100, "preemptionPolicy": "Never", "containers": asks("2")["spec"]["containers"]}})));
    settle().await;
    assert!(scheduled(&fake, "shy").ends_with("preemption: not eligible due to preemptionPolicy=Never."));
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_not_run_without_its_devices() {
    let (fake, _stop) = start();
    fake.seed(Node::gvr(), node_tree("a", json!({})));
    fake.seed(
        Pod::gvr(),
        pod_tree("p", json!({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}})),
    );
    settle().await;
    assert!(scheduled(&fake, "p").contains("resource claims are not allocated by this scheduler"));
}

#[tokio::test(start_paused = true)]
async fn claims_are_waited_for() {
    let (fake, _stop) = start();
    fake.seed(Node::gvr(), node_tree("a", json!({})));
    let claimed = |name: &str, claim: &str| {
        pod_tree(name, json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}}))
    };
    fake.seed(Pod::gvr(), claimed("p", "c"));
    settle().await;
    let help = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(
        scheduled(&fake, "p"),
        format!("0/1 nodes are available: persistentvolumeclaim \"c\" not found. {help}")
    );
    let claim = |spec: Value, phase: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "n"}, "spec": spec, "status": {"phase": phase}})
    };
    fake.seed(PersistentVolumeClaim::gvr(), claim(json!({}), "Pending"));
    settle().await;
    assert_eq!(
        scheduled(&fake, "p"),
        format!("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. {help}")
    );
    fake.seed(
        Gvr::new("storage.k8s.io", "v1", "storageclasses"),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "late"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    fake.edit(&PersistentVolumeClaim::gvr(), "n", "c", |c| c["spec"]["storageClassName"] = json!("late"));
    settle().await;
    let tree = fake.tree(&PersistentVolumeClaim::gvr(), "n", "c");
    assert_eq!(tree["metadata"]["annotations"]["volume.kubernetes.io/selected-node"], "a");
    fake.seed(
        Gvr::new("", "v1", "persistentvolumes"),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {}}),
    );
    fake.seed(PersistentVolumeClaim::gvr(), claim(json!({"volumeName": "pv"}), "Bound"));
    settle().await;
    assert_eq!(node_of(&fake, "p"), "a");
}
