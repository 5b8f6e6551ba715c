use std::sync::Arc;

use api::{Draft, Value};
use serde_json::json;

use super::*;
use crate::User;
use crate::admission::testing::{Scratch, attributes, kind_of, run_as};
use crate::lookup::fake::Cluster;

fn shown(amounts: &Amounts) -> Vec<String> {
    amounts.iter().map(|(k, q)| format!("{k}={q}")).collect()
}
fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "1"}}}]}})
}
fn quota(hard: Value, more: Value) -> Value {
    let mut spec = json!({"hard": hard});
    for (k, v) in more.as_object().into_iter().flatten() {
        spec[k.as_str()] = v.clone();
    }
    json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": spec})
}

#[test]
fn each_kind_has_its_cost() {
    for (resource, tree, cost) in [
        ("pods", pod("p", "100m"), "count/pods=1 cpu=100m limits.cpu=1 pods=1 requests.cpu=100m"),
        ("pods", json!({"status": {"phase": "Succeeded"}}), "count/pods=1"),
        (
            "services",
            json!({"spec": {"type": "NodePort", "ports": [{}, {}]}}),
            "count/services=1 services=1 services.nodeports=2",
        ),
        ("secrets", json!({}), "count/secrets=1 secrets=1"),
        ("apps/deployments", json!({}), "count/deployments.apps=1"),
        (
            "persistentvolumeclaims",
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
            "count/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
             fast.storageclass.storage.k8s.io/requests.storage=1Gi persistentvolumeclaims=1 requests.storage=1Gi",
        ),
    ] {
        assert_eq!(shown(&usage(resource, &tree)).join(" "), cost, "{resource}");
        for name in usage(resource, &tree).keys() {
            assert_eq!(resource_of(name).as_deref(), Some(resource), "{name}");
        }
    }
    assert_eq!(resource_of("nonsense"), None);
}

#[test]
fn scopes_choose_pods() {
    let counts = |more: Value, pod: &Value| {
        let tree = quota(json!({"pods": "1"}), more);
        Quota::read(&Draft::encode(&tree).unwrap().at(1)).counts("pods", pod)
    };
    let bare = json!({"spec": {"containers": [{}], "priorityClassName": "high"}});
    let ends = json!({"spec": {"containers": [{}], "activeDeadlineSeconds": 5}});
    for (scope, pod, counted) in [
        ("BestEffort", &bare, true),
        ("NotBestEffort", &bare, false),
        ("NotBestEffort", &pod("p", "1"), true),
        ("Terminating", &ends, true),
        ("Terminating", &bare, false),
        ("NotTerminating", &bare, true),
    ] {
        assert_eq!(counts(json!({"scopes": [scope]}), pod), counted, "{scope} {pod}");
    }
    for (operator, values, counted) in
        [("In", json!(["high"]), true), ("NotIn", json!(["high"]), false), ("Exists", json!([]), true)]
    {
        let term = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        let selector = json!({"scopeSelector": {"matchExpressions": [term]}});
        assert_eq!(counts(selector, &bare), counted, "{operator}");
    }
}

async fn create(cluster: &Arc<Cluster>, tree: Value) -> Result<(), String> {
    let plugin = ResourceQuota::new(cluster.clone());
    let a = attributes("pods", "ns", &User::system("t"));
    run_as("pods", &plugin, &a, tree, None).await.map(drop).map_err(|e| e.message)
}

#[tokio::test]
async fn what_does_not_fit_is_refused_in_upstreams_words() {
    let cluster = Arc::new(Cluster::default());
    assert!(create(&cluster, pod("free", "9")).await.is_ok(), "no quota, no limit");
    cluster.put(QUOTAS, quota(json!({"pods": "2", "requests.cpu": "500m"}), json!({})));
    cluster.put("pods", pod("a", "300m"));
    assert!(create(&cluster, pod("b", "200m")).await.is_ok());
    assert_eq!(
        create(&cluster, pod("b", "300m")).await.unwrap_err(),
        r#"pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=300m, used: requests.cpu=300m, limited: requests.cpu=500m"#
    );
    let silent = json!({"metadata": {"name": "s"}, "spec": {"containers": [{"name": "x"}]}});
    assert_eq!(
        create(&cluster, silent).await.unwrap_err(),
        r#"pods "s" is forbidden: failed quota: q: must specify requests.cpu for: x"#
    );
    let used = Quota::read(&crate::Lookup::get(&*cluster, QUOTAS, "ns", "q").unwrap()).used(&*cluster);
    assert_eq!(shown(&used), ["pods=1", "requests.cpu=300m"]);
}

#[tokio::test]
async fn two_writes_at_once_do_not_both_take_the_last_place() {
    let cluster = Arc::new(Cluster::default());
    cluster.put(QUOTAS, quota(json!({"pods": "1"}), json!({})));
    let plugin = Arc::new(ResourceQuota::new(cluster.clone()));
    let a = attributes("pods", "ns", &User::system("t"));
    let write = async |name: &str| {
        let (mut tree, kind, mut scratch) = (pod(name, "1"), kind_of("pods"), Scratch::default());
        let mut write = scratch.write(&a, &kind, &mut tree, None);
        let admitted = crate::admission::Plugin::validate(&*plugin, &mut write).await.is_ok();
        tokio::task::yield_now().await;
        if admitted {
            cluster.put("pods", tree);
        }
        admitted
    };
    let (a, b) = tokio::join!(write("a"), write("b"));
    assert!(a ^ b, "{a} {b}");
}
