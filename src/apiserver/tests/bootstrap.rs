//! What a server makes of itself when it starts, twice.

mod support;

use apiserver::{Address, manifests::MANIFESTS};
use serde_json::json;
use support::Cluster;

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let c = Cluster::start().await;
    let address = Address {
        service_ip: "10.43.0.1".parse().unwrap(),
        server_ip: "192.0.2.1".parse().unwrap(),
        server_port: 6443,
        cluster_dns: Some("10.43.0.10".parse().unwrap()),
    };
    let start = || async {
        c.server.apply_manifests(&MANIFESTS).await.unwrap();
        c.server.publish(&address).await.unwrap();
        c.server.engine().store().revision()
    };
    let first = start().await;
    assert_eq!(start().await, first);
    for path in [
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/kube-node-lease",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
        "/api/v1/namespaces/kube-system/services/kube-dns",
    ] {
        assert_eq!(c.get(path).await.code, 200, "{path}");
    }
    let service = c.get("/api/v1/namespaces/default/services/kubernetes").await.json();
    assert_eq!(
        (&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["targetPort"]),
        (&json!("10.43.0.1"), &json!(6443))
    );
}

#[tokio::test]
async fn a_newer_text_updates_what_an_older_one_made() {
    let c = Cluster::start().await;
    let text = |v: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: default}}\ndata: {{k: {v}}}\n---\n")
    };
    c.server.apply_manifests(&[&text("one")]).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps/a";
    c.json("PATCH", path, json!({"data": {"k": "mine"}})).await;
    c.server.apply_manifests(&[&text("one")]).await.unwrap();
    assert_eq!(c.get(path).await.json()["data"]["k"], "mine");
    c.server.apply_manifests(&[&text("two")]).await.unwrap();
    assert_eq!(c.get(path).await.json()["data"]["k"], "two");
}
