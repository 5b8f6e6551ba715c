//! From Services and EndpointSlices to what the node must forward: pure, and the same for every kind of proxy.

use std::net::{IpAddr, SocketAddr};

use api::Object;
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use ipnet::IpNet;

/// One port of one service, in one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name:port`, for people.
    pub name: String,
    /// `tcp`, `udp`, `sctp`
    pub protocol: &'static str,
    pub port: u16,
    pub cluster_ip: IpAddr,
    /// `spec.externalIPs`
    pub external_ips: Vec<IpAddr>,
    /// Of load balancers that do not forward by themselves.
    pub balancer_ips: Vec<IpAddr>,
    /// 0: none.
    pub node_port: u16,
    /// All endpoints that are of use.
    pub all: Vec<SocketAddr>,
    /// Where traffic from inside the cluster goes (`internalTrafficPolicy` applied).
    pub internal: Vec<SocketAddr>,
    /// Where traffic from outside goes (`externalTrafficPolicy` applied).
    pub external: Vec<SocketAddr>,
    /// Outside traffic keeps its source address (`externalTrafficPolicy: Local`).
    pub keep_source: bool,
    /// Client affinity, with its timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// Who may come by `balancer_ips`. Empty: everyone.
    pub source_ranges: Vec<IpNet>,
}

/// The ports of one service. Headless, ExternalName and broken services have none.
pub fn service_ports(service: &Object, slices: &[std::sync::Arc<Object>], node: &str) -> Vec<ServicePort> {
    let Ok(view) = service.view::<Service>() else { return Vec::new() };
    let Some(spec) = &view.spec else { return Vec::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let ips = spec.cluster_ips.as_ref().filter(|v| !v.is_empty()).cloned();
    let cluster_ips = ips.unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    let ingress = view.status.iter().filter_map(|s| s.load_balancer.as_ref()?.ingress.as_ref()).flatten();
    // one with `Proxy` forwards to node ports itself
    let balancers = ingress.filter(|i| i.ip_mode.as_deref() != Some("Proxy")).filter_map(|i| i.ip.as_deref());
    let balancers: Vec<IpAddr> = balancers.filter_map(|ip| ip.parse().ok()).collect();
    let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
    let external: Vec<IpAddr> = external.collect();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let seconds = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
        seconds.and_then(|s| u32::try_from(s).ok()).unwrap_or(10800)
    });
    let mut out = Vec::new();
    for cluster_ip in cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
        for port in spec.ports.iter().flatten() {
            let name = port.name.clone().unwrap_or_default();
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => "udp",
                Some("SCTP") => "sctp",
                _ => "tcp",
            };
            let (all, local) = endpoints(slices, &name, protocol, cluster_ip.is_ipv6(), node);
            let local_only = |policy: &Option<String>| policy.as_deref() == Some("Local");
            let keep_source = local_only(&spec.external_traffic_policy);
            let family =
                |ips: &[IpAddr]| ips.iter().copied().filter(|ip| ip.is_ipv6() == cluster_ip.is_ipv6()).collect();
            out.push(ServicePort {
                name: format!("{}/{}:{name}", service.namespace(), service.name()),
                protocol,
                port: port.port as u16,
                cluster_ip,
                external_ips: family(&external),
                balancer_ips: family(&balancers),
                node_port: port.node_port.unwrap_or(0) as u16,
                internal: if local_only(&spec.internal_traffic_policy) { local.clone() } else { all.clone() },
                external: if keep_source { local } else { all.clone() },
                all,
                keep_source,
                affinity_seconds: affinity,
                source_ranges: spec
                    .load_balancer_source_ranges
                    .iter()
                    .flatten()
                    .filter_map(|r| r.parse().ok())
                    .collect(),
            });
        }
    }
    out
}

/// All usable endpoints of a port, and those on this node. Where none is ready, terminating ones that still serve are
/// used, as kube-proxy does.
fn endpoints(
    slices: &[std::sync::Arc<Object>],
    port: &str,
    protocol: &str,
    v6: bool,
    node: &str,
) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let mut ready: Vec<(SocketAddr, bool)> = Vec::new();
    let mut terminating = Vec::new();
    for slice in slices.iter().filter_map(|s| s.view::<EndpointSlice>().ok()) {
        if (slice.address_type == "IPv6") != v6 || slice.address_type == "FQDN" {
            continue;
        }
        let Some(number) = slice.ports.iter().flatten().find_map(|p| {
            let same = p.name.as_deref().unwrap_or("") == port
                && p.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol);
            same.then_some(p.port?)
        }) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
            let local = endpoint.node_name.as_deref() == Some(node);
            let entry = (SocketAddr::new(ip, number as u16), local);
            if is_ready(endpoint) {
                ready.push(entry);
            } else if serves_while_terminating(endpoint) {
                terminating.push(entry);
            }
        }
    }
    let pick = |only_local: bool| {
        let of = |set: &[(SocketAddr, bool)]| -> Vec<SocketAddr> {
            let mut v: Vec<_> = set.iter().filter(|(_, l)| *l || !only_local).map(|(a, _)| *a).collect();
            v.sort_unstable();
            v.dedup();
            v
        };
        Some(of(&ready)).filter(|v| !v.is_empty()).unwrap_or_else(|| of(&terminating))
    };
    (pick(false), pick(true))
}

pub(crate) fn is_ready(e: &Endpoint) -> bool {
    e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}
fn serves_while_terminating(e: &Endpoint) -> bool {
    e.conditions.as_ref().is_some_and(|c| c.terminating == Some(true) && c.serving == Some(true))
}
