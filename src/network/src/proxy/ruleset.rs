//! The nftables table that carries out a plan: pure text, compared and applied elsewhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::plan::ServicePort;
use crate::{Backend, Config, HostPort};

/// Bit of the packet mark that asks for masquerading.
const MASQUERADE: &str = "0x4000";

/// The variable part of a table: base chains and declarations of the fixed maps never change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Dynamic sets with their declaration.
    pub sets: BTreeMap<String, String>,
    /// Chains with their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Per fixed map or set: key → value (empty for a set).
    pub elements: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl Ruleset {
    fn element(&mut self, map: &'static str, key: String, value: String) {
        // the first one wins, as two services may claim one external address
        self.elements.entry(map).or_default().entry(key).or_insert(value);
    }

    /// The rules of one family for all service ports (those of the other family are left out) and host ports.
    /// `cluster`: the network of all pods.
    pub fn build(v6: bool, cluster: &IpNet, ports: &[ServicePort], host_ports: &[HostPort]) -> Ruleset {
        let (mut r, cluster) = (Ruleset::default(), cluster.to_string());
        for p in ports.iter().filter(|p| p.cluster_ip.is_ipv6() == v6) {
            r.service(v6, &cluster, p);
        }
        for h in host_ports.iter().filter(|h| h.pod_ip.is_ipv6() == v6) {
            r.host_port(h);
        }
        r
    }

    fn service(&mut self, v6: bool, cluster: &str, p: &ServicePort) {
        let id = format!("{:016x}", hash(&format!("{} {} {}", p.name, p.protocol, p.cluster_ip)));
        let key = |ip: &IpAddr| format!("{ip} . {} . {}", p.protocol, p.port);
        // where no endpoint is there for a caller: nobody serves, or somebody elsewhere does
        let nobody = if p.all.is_empty() { "goto refuse" } else { "drop" };
        for e in &p.all {
            self.element("hairpin", format!("{} . {}", e.ip(), e.ip()), String::new());
        }
        if p.internal.is_empty() {
            self.element("no_endpoints", key(&p.cluster_ip), nobody.into());
        } else {
            let chain = format!("svc_{id}");
            self.balance(v6, &chain, &id, p, &p.internal);
            self.element("services", key(&p.cluster_ip), format!("goto {chain}"));
        }
        if p.node_port == 0 && p.external_ips.is_empty() && p.balancer_ips.is_empty() {
            return;
        }
        if p.external.is_empty() {
            for e in p.external_ips.iter().chain(&p.balancer_ips) {
                self.element("no_endpoints", key(e), nobody.into());
            }
            if p.node_port != 0 {
                self.element("no_endpoint_ports", format!("{} . {}", p.protocol, p.node_port), nobody.into());
            }
        }
        if p.all.is_empty() {
            return;
        }
        let entry = self.entry(v6, cluster, &id, p);
        for e in &p.external_ips {
            self.element("services", key(e), format!("goto {entry}"));
        }
        if p.node_port != 0 {
            self.element("node_ports", format!("{} . {}", p.protocol, p.node_port), format!("goto {entry}"));
        }
        let ranges = p.source_ranges.iter().filter(|n| n.addr().is_ipv6() == v6).map(ToString::to_string);
        let ranges: Vec<String> = ranges.collect();
        let guarded = match p.source_ranges.is_empty() || p.balancer_ips.is_empty() {
            true => entry,
            false => {
                let chain = format!("fw_{id}");
                let refuse = match ranges.is_empty() {
                    true => "drop".to_owned(),
                    false => format!("{} saddr != {{ {} }} drop", family(v6), ranges.join(", ")),
                };
                self.chains.insert(chain.clone(), vec![refuse, format!("goto {entry}")]);
                chain
            }
        };
        for e in &p.balancer_ips {
            self.element("services", key(e), format!("goto {guarded}"));
        }
    }

    /// The chain behind a service's outer doors.
    fn entry(&mut self, v6: bool, cluster: &str, id: &str, p: &ServicePort) -> String {
        let to_all = if p.internal == p.all {
            format!("svc_{id}")
        } else {
            let chain = format!("all_{id}");
            self.balance(v6, &chain, &format!("{id}a"), p, &p.all);
            chain
        };
        let entry = format!("ext_{id}");
        let masquerade = format!("meta mark set meta mark or {MASQUERADE}");
        let rules = if p.keep_source {
            // the policy is about who comes from outside: pods and the node itself reach every endpoint
            let mut rules = vec![
                format!("{} saddr {cluster} goto {to_all}", family(v6)),
                format!("fib saddr type local {masquerade} goto {to_all}"),
            ];
            if !p.external.is_empty() {
                let chain = format!("loc_{id}");
                self.balance(v6, &chain, &format!("{id}l"), p, &p.external);
                rules.push(format!("goto {chain}"));
            }
            rules
        } else {
            vec![masquerade, format!("goto {to_all}")]
        };
        self.chains.insert(entry.clone(), rules);
        entry
    }

    /// A chain that sends to one of `to`, at random or, with affinity, to the one a client had before.
    fn balance(&mut self, v6: bool, chain: &str, id: &str, p: &ServicePort, to: &[SocketAddr]) {
        let ip = family(v6);
        let n = to.len();
        let mut rules = Vec::new();
        match p.affinity_seconds {
            None => {
                let map: Vec<String> =
                    to.iter().enumerate().map(|(i, e)| format!("{i} : {} . {}", e.ip(), e.port())).collect();
                rules.push(format!(
                    "meta l4proto {} dnat {ip} addr . port to numgen random mod {n} map {{ {} }}",
                    p.protocol,
                    map.join(", ")
                ));
            }
            Some(seconds) => {
                let mut verdicts = Vec::new();
                for (i, e) in to.iter().enumerate() {
                    let name = format!("{id}_{:08x}", hash(&e.to_string()) as u32);
                    let (set, endpoint) = (format!("aff_{name}_{seconds}"), format!("ep_{name}"));
                    let kind = if v6 { "ipv6_addr" } else { "ipv4_addr" };
                    self.sets
                        .insert(set.clone(), format!("{{ type {kind}; flags dynamic,timeout; timeout {seconds}s; }}"));
                    let update = format!("update @{set} {{ {ip} saddr }}");
                    self.chains
                        .insert(endpoint.clone(), vec![format!("{update} meta l4proto {} dnat to {e}", p.protocol)]);
                    rules.push(format!("{ip} saddr @{set} goto {endpoint}"));
                    verdicts.push(format!("{i} : goto {endpoint}"));
                }
                rules.push(format!("numgen random mod {n} vmap {{ {} }}", verdicts.join(", ")));
            }
        }
        self.chains.insert(chain.to_owned(), rules);
    }

    fn host_port(&mut self, h: &HostPort) {
        let chain = format!("hp_{:016x}", hash(&format!("{h:?}")));
        let to = SocketAddr::new(h.pod_ip, h.container_port);
        let rules = vec![
            format!("meta mark set meta mark or {MASQUERADE}"),
            format!("meta l4proto {} dnat to {to}", h.protocol),
        ];
        self.chains.insert(chain.clone(), rules);
        self.element("hairpin", format!("{} . {}", h.pod_ip, h.pod_ip), String::new());
        // a port of one address may be another pod's than that of another
        match h.host_ip.filter(|ip| !ip.is_unspecified()) {
            Some(ip) => {
                self.element("services", format!("{ip} . {} . {}", h.protocol, h.port), format!("goto {chain}"))
            }
            None => self.element("node_ports", format!("{} . {}", h.protocol, h.port), format!("goto {chain}")),
        }
    }
}

/// What never changes: the table with its maps and base chains, made from nothing in one transaction.
pub fn base(v6: bool, c: &Config) -> String {
    let (ip, addr) = (family(v6), if v6 { "ipv6_addr" } else { "ipv4_addr" });
    let t = format!("{ip} {}", c.table);
    let mut s = format!("add table {t}\ndelete table {t}\nadd table {t}\n");
    let mut add = |what: &str| {
        s.push_str("add ");
        s.push_str(&what.replace("TABLE", &t));
        s.push('\n');
    };
    add(&format!("map TABLE services {{ type {addr} . inet_proto . inet_service : verdict; }}"));
    add("map TABLE node_ports { type inet_proto . inet_service : verdict; }");
    add(&format!("map TABLE no_endpoints {{ type {addr} . inet_proto . inet_service : verdict; }}"));
    add("map TABLE no_endpoint_ports { type inet_proto . inet_service : verdict; }");
    add("chain TABLE refuse");
    add("rule TABLE refuse reject");
    add(&format!("set TABLE hairpin {{ type {addr} . {addr}; }}"));
    add("chain TABLE dispatch");
    if let (Some(services), Some(cluster)) = (c.service_cidr(v6), c.cluster_cidr(v6)) {
        // who is neither pod nor node of the pod network gets its answers by way of this node
        add(&format!(
            "rule TABLE dispatch {ip} daddr {services} {ip} saddr != {cluster} meta mark set meta mark or {MASQUERADE}"
        ));
    }
    add(&format!("rule TABLE dispatch {ip} daddr . meta l4proto . th dport vmap @services"));
    add("rule TABLE dispatch fib daddr type local meta l4proto . th dport vmap @node_ports");
    for (chain, hook) in [("prerouting", "prerouting priority dstnat"), ("output", "output priority -100")] {
        add(&format!("chain TABLE {chain} {{ type nat hook {hook}; }}"));
        add(&format!("rule TABLE {chain} jump dispatch"));
    }
    add("chain TABLE postrouting { type nat hook postrouting priority srcnat; }");
    add(&format!(
        "rule TABLE postrouting meta mark & {MASQUERADE} != 0 meta mark set meta mark & 0xffffbfff masquerade fully-random"
    ));
    add(&format!("rule TABLE postrouting {ip} saddr . {ip} daddr @hairpin masquerade fully-random"));
    if let Some(cidr) = c.cluster_cidr(v6) {
        let multicast = if v6 { "ff00::/8" } else { "224.0.0.0/4" };
        add(&format!(
            "rule TABLE postrouting {ip} saddr {cidr} {ip} daddr != {{ {cidr}, {multicast} }} oifname != \"lo\" masquerade fully-random"
        ));
    }
    // only a connection's first packet is looked at
    for hook in ["forward", "output", "input"] {
        add(&format!("chain TABLE filter_{hook} {{ type filter hook {hook} priority filter; }}"));
        add(&format!("rule TABLE filter_{hook} ct state new {ip} daddr . meta l4proto . th dport vmap @no_endpoints"));
    }
    add("rule TABLE filter_input ct state new fib daddr type local meta l4proto . th dport vmap @no_endpoint_ports");
    // one chain a hook: every packet pays for each
    add("chain TABLE raw_prerouting { type filter hook prerouting priority raw; }");
    if let Backend::Vxlan { port, .. } = c.backend {
        // connections are tracked inside the tunnel; one more entry each for the packets around them is of no use
        add("chain TABLE raw_output { type filter hook output priority raw; }");
        add(&format!("rule TABLE raw_output udp dport {port} fib saddr type local notrack"));
        add(&format!("rule TABLE raw_prerouting udp dport {port} iifname != \"sk*\" fib daddr type local notrack"));
    }
    if !v6 {
        // `route_localnet` lets a NodePort answer on 127.0.0.1; nobody outside may reach loopback through it
        // (a reply to it is translated later than here)
        let from = match c.backend {
            Backend::HostGw => "iifname != \"lo\"",
            // all of ours: pods' interfaces, the bridge, the tunnel
            _ => "iifname \"sk*\"",
        };
        // the address first: it is what tells all other packets apart
        add(&format!("rule TABLE raw_prerouting ip daddr 127.0.0.0/8 {from} drop"));
    }
    s
}

fn family(v6: bool) -> &'static str {
    if v6 { "ip6" } else { "ip" }
}

/// FNV-1a: stable across versions, as chain names must be.
fn hash(s: &str) -> u64 {
    s.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(internal: &[&str]) -> ServicePort {
        let to: Vec<SocketAddr> = internal.iter().map(|e| e.parse().unwrap()).collect();
        ServicePort {
            name: "default/web:".into(),
            protocol: "tcp",
            port: 80,
            cluster_ip: "10.43.0.9".parse().unwrap(),
            external_ips: Vec::new(),
            balancer_ips: Vec::new(),
            node_port: 30080,
            all: to.clone(),
            internal: to.clone(),
            external: to,
            keep_source: false,
            affinity_seconds: None,
            source_ranges: Vec::new(),
        }
    }

    fn build(ports: &[ServicePort]) -> Ruleset {
        Ruleset::build(false, &"10.42.0.0/16".parse().unwrap(), ports, &[])
    }

    #[test]
    fn one_port_of_two_addresses_leads_to_two_pods() {
        let port = |pod: &str, host_ip: Option<&str>| HostPort {
            protocol: "tcp".into(),
            port: 8080,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            pod_ip: pod.parse().unwrap(),
            container_port: 80,
        };
        let ports = [
            port("10.42.0.5", Some("127.0.0.1")),
            port("10.42.0.6", Some("192.0.2.1")),
            port("10.42.0.7", None),
            port("10.42.0.7", Some("0.0.0.0")),
        ];
        let r = Ruleset::build(false, &"10.42.0.0/16".parse().unwrap(), &[], &ports);
        let leads = |map: &str, key: &str| &r.chains[r.elements[map][key].strip_prefix("goto ").unwrap()][1];
        assert_eq!(leads("services", "127.0.0.1 . tcp . 8080"), "meta l4proto tcp dnat to 10.42.0.5:80");
        assert_eq!(leads("services", "192.0.2.1 . tcp . 8080"), "meta l4proto tcp dnat to 10.42.0.6:80");
        assert_eq!(leads("node_ports", "tcp . 8080"), "meta l4proto tcp dnat to 10.42.0.7:80");
    }

    #[test]
    fn a_service_is_one_chain_and_an_element_for_each_door() {
        let r = build(&[port(&["10.42.0.5:8080", "10.42.0.6:8080"])]);
        let services = &r.elements["services"];
        let chain = services["10.43.0.9 . tcp . 80"].strip_prefix("goto ").unwrap();
        assert_eq!(
            r.chains[chain],
            [
                "meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.42.0.5 . 8080, 1 : 10.42.0.6 . 8080 }"
            ]
        );
        let entry = r.elements["node_ports"]["tcp . 30080"].strip_prefix("goto ").unwrap();
        assert_eq!(r.chains[entry], ["meta mark set meta mark or 0x4000".into(), format!("goto {chain}")]);
        let v6 = Ruleset::build(true, &"fd42::/48".parse().unwrap(), &[port(&["10.42.0.5:8080"])], &[]);
        assert!(v6.chains.is_empty());
    }

    #[test]
    fn a_host_port_is_of_one_address_or_of_all() {
        let port = |pod: u8, host_ip: Option<&str>| HostPort {
            protocol: "tcp".into(),
            port: 8081,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            pod_ip: [10, 42, 0, pod].into(),
            container_port: 80,
        };
        let ports = [port(1, Some("127.0.0.1")), port(2, Some("192.0.2.1")), port(3, Some("0.0.0.0"))];
        let r = Ruleset::build(false, &"10.42.0.0/16".parse().unwrap(), &[], &ports);
        let leads_to = |map: &str, key: &str| r.chains[r.elements[map][key].strip_prefix("goto ").unwrap()][1].clone();
        assert_eq!(leads_to("services", "127.0.0.1 . tcp . 8081"), "meta l4proto tcp dnat to 10.42.0.1:80");
        assert_eq!(leads_to("services", "192.0.2.1 . tcp . 8081"), "meta l4proto tcp dnat to 10.42.0.2:80");
        assert_eq!(leads_to("node_ports", "tcp . 8081"), "meta l4proto tcp dnat to 10.42.0.3:80");
    }

    #[test]
    fn without_endpoints_it_is_refused() {
        let r = build(&[port(&[])]);
        assert!(r.chains.is_empty());
        assert_eq!(r.elements["no_endpoints"]["10.43.0.9 . tcp . 80"], "goto refuse");
        assert_eq!(r.elements["no_endpoint_ports"]["tcp . 30080"], "goto refuse");
    }

    #[test]
    fn local_policy_is_for_those_outside() {
        let p = ServicePort { external: Vec::new(), keep_source: true, ..port(&["10.42.0.5:8080"]) };
        let r = build(std::slice::from_ref(&p));
        let svc = r.elements["services"]["10.43.0.9 . tcp . 80"].strip_prefix("goto ").unwrap();
        let entry = r.elements["node_ports"]["tcp . 30080"].strip_prefix("goto ").unwrap();
        assert_eq!(
            r.chains[entry],
            [
                format!("ip saddr 10.42.0.0/16 goto {svc}"),
                format!("fib saddr type local meta mark set meta mark or 0x4000 goto {svc}")
            ]
        );
        assert_eq!(r.elements["no_endpoint_ports"]["tcp . 30080"], "drop");
        let here = ServicePort { external: p.all.clone(), ..p };
        let r = build(&[here]);
        assert!(r.chains[entry][2].starts_with("goto loc_"));
        assert!(!r.elements.contains_key("no_endpoint_ports"));
    }

    #[test]
    fn source_ranges_guard_the_balancers_address_alone() {
        let p = ServicePort {
            balancer_ips: vec!["192.0.2.80".parse().unwrap()],
            source_ranges: vec!["198.51.100.0/24".parse().unwrap()],
            ..port(&["10.42.0.5:8080"])
        };
        let r = build(&[p]);
        let guard = r.elements["services"]["192.0.2.80 . tcp . 80"].strip_prefix("goto ").unwrap();
        assert_eq!(r.chains[guard][0], "ip saddr != { 198.51.100.0/24 } drop");
        assert!(r.elements["node_ports"]["tcp . 30080"].starts_with("goto ext_"));
    }

    #[test]
    fn affinity_remembers_each_endpoint() {
        let p = ServicePort { affinity_seconds: Some(60), node_port: 0, ..port(&["10.42.0.5:8080", "10.42.0.6:8080"]) };
        let r = build(&[p]);
        assert_eq!(r.sets.len(), 2);
        assert_eq!(r.chains.len(), 3);
    }
}
