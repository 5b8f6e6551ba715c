//! What a server finds or makes in its own cluster when it starts: the shipped manifests and the `kubernetes` Service.

use std::net::IpAddr;

use api::{Status, Value, decode};
use client::{Client, Patch, Target, WriteOptions};
use futures::future::try_join_all;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::admission::exempt;
use crate::{Server, User};

/// Which shipped text an object was made from.
const APPLIED: &str = "skiff.sh/applied-manifest";
/// Upstream's way to keep one's own version of a default role.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Where the API is reached.
#[derive(Debug, Clone)]
pub struct Address {
    /// Of the Service `default/kubernetes`: the first of the service CIDR.
    pub service_ip: IpAddr,
    pub server_ip: IpAddr,
    pub server_port: u16,
    /// Of the Service `kube-system/kube-dns`, which every agent answers itself; absent: without it.
    pub cluster_dns: Option<IpAddr>,
}

impl Server {
    /// Makes what is missing, in the order of the texts: the documents of one text go in at once. What an older text made
    /// is brought up to date.
    pub async fn apply_manifests(&self, texts: &[&str]) -> Result<(), Status> {
        let client = self.client(User::system("system:apiserver"));
        for text in texts {
            let documents = decode::yaml_documents(text.as_bytes()).map_err(Status::internal)?;
            let trees = documents.into_iter().map(|d| d.tree).filter(|t| !t.is_null());
            exempt(try_join_all(trees.map(|tree| self.apply(&*client, tree)))).await?;
        }
        Ok(())
    }

    async fn apply(&self, client: &dyn Client, mut tree: Value) -> Result<(), Status> {
        let target = self.target(&tree)?;
        let hash = hash(&tree);
        if !tree["metadata"]["annotations"].is_object() {
            tree["metadata"]["annotations"] = json!({});
        }
        tree["metadata"]["annotations"][APPLIED] = hash.clone().into();
        let there = match client.get(&target).await {
            Err(status) if status.is_not_found() => {
                let within = Target { name: String::new(), ..target.clone() };
                match client.create(&within, tree, &WriteOptions::default()).await {
                    Err(status) if status.is_already_exists() => return Ok(()),
                    done => return done.map(drop),
                }
            }
            there => there?.tree(),
        };
        let note = |key: &str| there["metadata"]["annotations"][key].as_str().unwrap_or_default();
        if note(APPLIED) == hash || note(AUTO_UPDATE) == "false" {
            return Ok(());
        }
        client.patch(&target, Patch::Merge(tree), &WriteOptions::default()).await.map(drop)
    }

    /// The storage version's resource that a document is of.
    fn target(&self, tree: &Value) -> Result<Target, Status> {
        let (group, version, kind) = decode::gvk(tree);
        let routes = self.engine().routes();
        let kind = routes.registry.kind(group, version, kind);
        let kind = kind.ok_or_else(|| Status::internal(format!("a manifest is of no known kind: {tree}")))?;
        let text = |key: &str| tree["metadata"][key].as_str().unwrap_or_default();
        Ok(Target::one(kind.gvr(), text("namespace"), text("name")))
    }

    /// The Service `default/kubernetes` with this server behind it, and cluster DNS. Their namespaces must be there.
    pub async fn publish(&self, address: &Address) -> Result<(), Status> {
        let client = self.client(User::system("system:apiserver"));
        let Address { service_ip, server_ip, server_port, cluster_dns } = address;
        let meta = |labels: Value| json!({"name": "kubernetes", "namespace": "default", "labels": labels});
        let family = if server_ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta(json!({"component": "apiserver", "provider": "kubernetes"})),
            "spec": {"type": "ClusterIP", "clusterIP": service_ip, "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": server_port}]},
        });
        let endpoints = json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": meta(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
            "subsets": [{"addresses": [{"ip": server_ip}],
                "ports": [{"name": "https", "port": server_port, "protocol": "TCP"}]}],
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": meta(json!({"kubernetes.io/service-name": "kubernetes"})), "addressType": family,
            "endpoints": [{"addresses": [server_ip], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": server_port, "protocol": "TCP"}],
        });
        let dns = cluster_dns.map(|ip| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system",
                    "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
                "spec": {"type": "ClusterIP", "clusterIP": ip, "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]},
            })
        });
        let all = [service, endpoints, slice].into_iter().chain(dns);
        exempt(try_join_all(all.map(|tree| self.keep(&*client, tree)))).await?;
        Ok(())
    }

    /// Makes an object or sets it right.
    async fn keep(&self, client: &dyn Client, tree: Value) -> Result<(), Status> {
        let target = self.target(&tree)?;
        match client.patch(&target, Patch::Merge(tree.clone()), &WriteOptions::default()).await {
            Err(status) if status.is_not_found() => {
                let within = Target { name: String::new(), ..target };
                client.create(&within, tree, &WriteOptions::default()).await.map(drop)
            }
            done => done.map(drop),
        }
    }
}

fn hash(tree: &Value) -> String {
    let digest = Sha256::digest(tree.to_string());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}
