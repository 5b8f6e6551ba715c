//! What every cluster has: roles, priority classes, the `kubernetes` Service with this server behind it, cluster DNS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use api::{Gvr, Registry, Status, Value};
use client::{Client, Target, WriteOptions};
use serde_json::json;

pub struct Cluster {
    /// Where pods reach this server.
    pub advertise: SocketAddr,
    pub service_ip: IpAddr,
    pub cluster_dns: Option<IpAddr>,
}

/// Makes what is missing and corrects what moved. Changes nothing on a server that has been here before.
pub async fn run(registry: &Registry, client: &Arc<dyn Client>, cluster: &Cluster) -> Result<()> {
    for text in apiserver::manifests::MANIFESTS {
        let documents = api::decode::yaml_documents(text.as_bytes()).map_err(|e| anyhow!("a shipped manifest: {e}"))?;
        for document in documents.into_iter().filter(|d| !d.tree.is_null()) {
            manifest(registry, client, document.tree).await?;
        }
    }
    service(client, "default", "kubernetes", cluster.service_ip, &[("https", "TCP", 443, cluster.advertise.port())]).await?;
    let family = if cluster.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let ip = cluster.advertise.ip().to_string();
    let port = json!([{"name": "https", "port": cluster.advertise.port(), "protocol": "TCP"}]);
    ensure(
        client,
        Target::one(Gvr::new("", "v1", "endpoints"), "default", "kubernetes"),
        json!({"apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": ip}], "ports": port}]}),
        &["subsets"],
    )
    .await?;
    ensure(
        client,
        Target::one(Gvr::new("discovery.k8s.io", "v1", "endpointslices"), "default", "kubernetes"),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": family, "ports": port,
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}]}),
        &["ports", "endpoints"],
    )
    .await?;
    if let Some(dns) = cluster.cluster_dns {
        // answered by every agent itself; the Service is for those who look for it
        service(client, "kube-system", "kube-dns", dns, &[("dns", "UDP", 53, 53), ("dns-tcp", "TCP", 53, 53)]).await?;
    }
    Ok(())
}

/// What the release ships is reconciled member by member, as upstream does with its bootstrap roles.
async fn manifest(registry: &Registry, client: &Arc<dyn Client>, tree: Value) -> Result<()> {
    let text = |p: &str| tree.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = text("/apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let kind = registry.kind(group, version, &text("/kind")).with_context(|| format!("no kind {}", text("/kind")))?;
    let target = Target::one(kind.gvr(), &text("/metadata/namespace"), &text("/metadata/name"));
    let members: Vec<String> = tree.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
    let follow: Vec<&str> =
        members.iter().map(String::as_str).filter(|m| !["apiVersion", "kind", "metadata"].contains(m)).collect();
    ensure(client, target, tree, &follow).await
}

async fn service(
    client: &Arc<dyn Client>,
    namespace: &str,
    name: &str,
    ip: IpAddr,
    ports: &[(&str, &str, u16, u16)],
) -> Result<()> {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port, target)| json!({"name": name, "protocol": protocol, "port": port, "targetPort": target}))
        .collect();
    let tree = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace,
            "labels": if name == "kubernetes" { json!({"component": "apiserver", "provider": "kubernetes"}) }
                else { json!({"k8s-app": name, "kubernetes.io/cluster-service": "true"}) }},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "sessionAffinity": "None", "ports": ports}});
    ensure(client, Target::one(Gvr::new("", "v1", "services"), namespace, name), tree, &[]).await
}

/// Creates the object, or sets those of its members that `follow` names where they differ.
async fn ensure(client: &Arc<dyn Client>, target: Target, tree: Value, follow: &[&str]) -> Result<()> {
    let collection = Target { name: String::new(), ..target.clone() };
    let what = || format!("{} {}", target.resource, target.name);
    let options = WriteOptions::default();
    match client.get(&target).await {
        Ok(have) => {
            let mut now = have.tree();
            let fits = follow.iter().all(|m| contains(&now[*m], &tree[*m]));
            if fits {
                return Ok(());
            }
            for m in follow {
                now[*m] = tree[*m].clone();
            }
            client.update(&target, now, &options).await.with_context(what)?;
        }
        Err(e) if e.is_not_found() => match client.create(&collection, tree, &options).await {
            Err(Status { reason: api::Reason::AlreadyExists, .. }) | Ok(_) => {}
            Err(e) => return Err(e).with_context(what),
        },
        Err(e) => return Err(e).with_context(what),
    }
    Ok(())
}

/// Whether `have` says all that `want` says: defaults may have been added to it.
fn contains(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(h), Value::Object(w)) => w.iter().all(|(k, v)| h.get(k).is_some_and(|x| contains(x, v))),
        (Value::Array(h), Value::Array(w)) => h.len() == w.len() && h.iter().zip(w).all(|(a, b)| contains(a, b)),
        (a, b) => a == b,
    }
}
