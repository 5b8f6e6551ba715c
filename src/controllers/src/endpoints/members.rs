//! Which pods stand behind a service, at which address and ports: what both Endpoints and EndpointSlices are made of.

use std::net::IpAddr;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::pods;

/// One endpoint port; the order is that of the service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: String,
    pub protocol: String,
    pub port: i32,
    pub app_protocol: Option<String>,
}

impl Port {
    pub fn value(&self) -> Value {
        let mut v = json!({"name": self.name, "port": self.port, "protocol": self.protocol});
        if let Some(a) = &self.app_protocol {
            v["appProtocol"] = json!(a);
        }
        v
    }
}

/// A pod behind a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub ip: String,
    pub ports: Vec<Port>,
    /// Of the pod alone, whatever the service publishes.
    pub serving: bool,
    pub terminating: bool,
    pub node: Option<String>,
    pub hostname: Option<String>,
    pub target: Value,
}

pub fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

pub fn publishes_unready(spec: &ServiceSpec) -> bool {
    spec.publish_not_ready_addresses == Some(true)
}

/// The IP families of a service, first its primary one.
pub fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let family = |f: &String| if f == "IPv6" { "IPv6" } else { "IPv4" };
    let known: Vec<_> = spec.ip_families.iter().flatten().map(family).collect();
    if !known.is_empty() {
        return known;
    }
    let v6 = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_ipv6());
    vec![if v6 { "IPv6" } else { "IPv4" }]
}

/// The members among `pods` with an address of `family`. Terminating pods are among them, terminated ones are not.
pub fn of(service: &Object, spec: &ServiceSpec, pods: &[Arc<Object>], family: &str) -> Vec<Member> {
    pods.iter().filter_map(|o| member(service, spec, o, family)).collect()
}

fn member(service: &Object, spec: &ServiceSpec, object: &Object, family: &str) -> Option<Member> {
    let pod = object.view::<Pod>().ok()?;
    if pods::is_terminated(pod) {
        return None;
    }
    let ip = address(pod, family)?;
    let pod_spec = pod.spec.as_ref()?;
    let hostname = pod_spec.hostname.clone().filter(|h| !h.is_empty());
    Some(Member {
        ports: ports(spec, pod),
        serving: pods::is_ready(pod),
        terminating: pods::is_deleting(pod),
        node: pod_spec.node_name.clone().filter(|n| !n.is_empty()),
        hostname: hostname.filter(|_| pod_spec.subdomain.as_deref() == Some(service.name())),
        target: json!({"kind": "Pod", "namespace": object.namespace(), "name": object.name(), "uid": object.uid()}),
        ip,
    })
}

fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|i| &i.ip).chain(&status.pod_ip);
    let v6 = family == "IPv6";
    all.filter_map(|ip| ip.parse::<IpAddr>().ok()).find(|ip| ip.is_ipv6() == v6).map(|ip| ip.to_string())
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let of_pod = |p: &ServicePort| {
        Some(Port {
            name: p.name.clone().unwrap_or_default(),
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: find_port(p, pod)?,
            app_protocol: p.app_protocol.clone(),
        })
    };
    spec.ports.iter().flatten().filter_map(of_pod).collect()
}

/// `FindPort`: a named port is what the pod's containers say; `None` if none has it.
fn find_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(n)) => return Some(*n),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut known = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    known
        .find(|p| p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|p| p.container_port)
}

/// What of a pod endpoints depend on; other changes of it wake nothing.
pub fn concerns(old: &Object, new: &Object) -> bool {
    let (Ok(a), Ok(b)) = (old.view::<Pod>(), new.view::<Pod>()) else { return true };
    let ips = |p: &Pod| p.status.as_ref().map(|s| (s.pod_ip.clone(), s.pod_ips.clone()));
    let place = |p: &Pod| p.spec.as_ref().map(|s| (s.node_name.clone(), s.hostname.clone(), s.subdomain.clone()));
    a.metadata.labels != b.metadata.labels
        || pods::is_ready(a) != pods::is_ready(b)
        || pods::is_terminated(a) != pods::is_terminated(b)
        || pods::is_deleting(a) != pods::is_deleting(b)
        || ips(a) != ips(b)
        || place(a) != place(b)
}

/// The service's typed spec, if it selects pods.
pub fn selecting(service: &Object) -> Option<&ServiceSpec> {
    let spec = service.view::<Service>().ok()?.spec.as_ref()?;
    let selects = spec.selector.as_ref().is_some_and(|s| !s.is_empty());
    (selects && spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}
