//! The cluster zone: what the Kubernetes DNS specification 1.1.0 says of services and pods.

use std::net::IpAddr;

use api::Object;
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::Services;
use crate::proxy::is_ready;

const TTL_SECONDS: u32 = 5;

pub struct Zone {
    /// `cluster.local`, in labels.
    domain: Vec<String>,
    origin: Name,
    services: Services,
}

pub enum Answer {
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
        /// The target of a CNAME, whose addresses belong into the answer.
        chase: Option<Name>,
    },
    /// Nothing of that type; whether the name exists at all.
    None { exists: bool },
    /// Not ours.
    Foreign,
}

/// One address that a service name stands for.
struct Backend {
    ip: IpAddr,
    /// `hostname`, or the address with dashes.
    label: String,
    ports: Vec<(String, String, u16)>,
}

impl Zone {
    pub fn new(domain: &str, services: Services) -> Zone {
        let domain: Vec<String> = domain.trim_matches('.').split('.').map(str::to_ascii_lowercase).collect();
        let origin = Name::from_ascii(format!("{}.", domain.join("."))).unwrap_or_else(|_| Name::root());
        Zone { domain, origin, services }
    }

    pub fn soa(&self) -> Record {
        let ns = Name::from_ascii("ns.dns").and_then(|n| n.append_domain(&self.origin));
        let mail = Name::from_ascii("hostmaster").and_then(|n| n.append_domain(&self.origin));
        let ns = ns.unwrap_or_else(|_| self.origin.clone());
        let mail = mail.unwrap_or_else(|_| self.origin.clone());
        let soa = SOA::new(ns, mail, 1, 7200, 1800, 86400, TTL_SECONDS);
        Record::from_rdata(self.origin.clone(), TTL_SECONDS, RData::SOA(soa))
    }

    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let labels: Vec<String> = name.iter().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        if labels.ends_with(&["in-addr", "arpa"]) || labels.ends_with(&["ip6", "arpa"]) {
            return self.reverse(name, kind);
        }
        let domain: Vec<&str> = self.domain.iter().map(String::as_str).collect();
        let Some(head) = labels.strip_suffix(domain.as_slice()) else { return Answer::Foreign };
        match head {
            [] | ["svc" | "pod"] => Answer::None { exists: true },
            ["dns-version"] if kind == RecordType::TXT => {
                records(vec![Record::from_rdata(name.clone(), TTL_SECONDS, RData::TXT(TXT::new(vec!["1.1.0".into()])))])
            }
            ["dns-version"] => Answer::None { exists: true },
            [ns, "svc" | "pod"] => Answer::None { exists: self.services.has_namespace(ns) },
            [service, ns, "svc"] => self.service(name, kind, ns, service),
            [port, protocol, service, ns, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
                self.srv(name, kind, ns, service, (&port[1..], &protocol[1..]))
            }
            [host, service, ns, "svc"] => self.host(name, kind, ns, service, host),
            [dashed, _, "pod"] => match pod_ip(dashed) {
                Some(ip) => addresses(name, kind, [ip].into_iter()),
                None => Answer::None { exists: false },
            },
            _ => Answer::None { exists: false },
        }
    }

    fn service(&self, name: &Name, kind: RecordType, ns: &str, service: &str) -> Answer {
        let Some(object) = self.services.get(ns, service) else { return Answer::None { exists: false } };
        let Some(spec) = object.view::<Service>().ok().and_then(|s| s.spec.as_ref()) else {
            return Answer::None { exists: false };
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().unwrap_or("");
            let Ok(target) = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) else {
                return Answer::None { exists: true };
            };
            let cname = Record::from_rdata(name.clone(), TTL_SECONDS, RData::CNAME(CNAME(target.clone())));
            let chase = matches!(kind, RecordType::A | RecordType::AAAA).then_some(target);
            return Answer::Records { answers: vec![cname], additionals: Vec::new(), chase };
        }
        if kind == RecordType::SRV {
            return self.srv(name, kind, ns, service, ("", ""));
        }
        if headless(&object) {
            let backends = self.backends(ns, service, publishes_unready(&object));
            if backends.is_empty() {
                return Answer::None { exists: false };
            }
            return addresses(name, kind, backends.into_iter().map(|b| b.ip));
        }
        addresses(name, kind, cluster_ips(&object).into_iter())
    }

    /// SRV records of a service: one for its cluster IP, or for each endpoint of a headless one. An empty `wanted` means
    /// all ports.
    fn srv(&self, name: &Name, kind: RecordType, ns: &str, service: &str, wanted: (&str, &str)) -> Answer {
        let Some(object) = self.services.get(ns, service) else { return Answer::None { exists: false } };
        let Ok(owner) = Name::from_ascii(format!("{service}.{ns}.svc"))
            .map_err(|_| ())
            .and_then(|n| n.append_domain(&self.origin).map_err(|_| ()))
        else {
            return Answer::None { exists: false };
        };
        let matches = |port: &str, protocol: &str| {
            wanted == ("", "") || (port == wanted.0 && protocol.eq_ignore_ascii_case(wanted.1))
        };
        let mut found: Vec<(u16, Name, Vec<IpAddr>)> = Vec::new();
        if headless(&object) {
            for b in self.backends(ns, service, publishes_unready(&object)) {
                let Ok(target) = owner.prepend_label(b.label.as_str()) else { continue };
                for (port, protocol, number) in &b.ports {
                    if matches(port, protocol) {
                        found.push((*number, target.clone(), vec![b.ip]));
                    }
                }
            }
        } else if let Some(spec) = object.view::<Service>().ok().and_then(|s| s.spec.as_ref()) {
            for p in spec.ports.iter().flatten() {
                if matches(p.name.as_deref().unwrap_or(""), p.protocol.as_deref().unwrap_or("TCP")) {
                    found.push((p.port as u16, owner.clone(), cluster_ips(&object)));
                }
            }
        }
        if found.is_empty() {
            return Answer::None { exists: false };
        }
        if kind != RecordType::SRV && kind != RecordType::ANY {
            return Answer::None { exists: true };
        }
        let weight = (100 / found.len().max(1)).max(1) as u16;
        let mut answers = Vec::new();
        let mut additionals = Vec::new();
        for (port, target, ips) in found {
            let srv = SRV::new(0, weight, port, target.clone());
            answers.push(Record::from_rdata(name.clone(), TTL_SECONDS, RData::SRV(srv)));
            additionals.extend(ips.into_iter().map(|ip| address(&target, ip)));
        }
        Answer::Records { answers, additionals, chase: None }
    }

    /// One endpoint of a headless service, by its hostname.
    fn host(&self, name: &Name, kind: RecordType, ns: &str, service: &str, host: &str) -> Answer {
        let Some(object) = self.services.get(ns, service).filter(|o| headless(o)) else {
            return Answer::None { exists: false };
        };
        let ips: Vec<IpAddr> = self
            .backends(ns, service, publishes_unready(&object))
            .into_iter()
            .filter(|b| b.label.eq_ignore_ascii_case(host))
            .map(|b| b.ip)
            .collect();
        if ips.is_empty() {
            return Answer::None { exists: false };
        }
        addresses(name, kind, ips.into_iter())
    }

    fn backends(&self, ns: &str, service: &str, unready_too: bool) -> Vec<Backend> {
        let mut out: Vec<Backend> = Vec::new();
        for object in self.services.slices(ns, service) {
            let Ok(slice) = object.view::<EndpointSlice>() else { continue };
            let ports: Vec<(String, String, u16)> = slice
                .ports
                .iter()
                .flatten()
                .filter_map(|p| {
                    let text = |v: &Option<String>, or: &str| v.clone().unwrap_or_else(|| or.to_owned());
                    Some((text(&p.name, ""), text(&p.protocol, "TCP"), p.port? as u16))
                })
                .collect();
            for e in slice.endpoints.iter().flatten().filter(|e| unready_too || is_ready(e)) {
                for ip in e.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
                    if let Some(known) = out.iter_mut().find(|b| b.ip == ip) {
                        known.ports.extend(ports.clone());
                        continue;
                    }
                    let label = e.hostname.clone().unwrap_or_else(|| ip.to_string().replace(['.', ':'], "-"));
                    out.push(Backend { ip, label, ports: ports.clone() });
                }
            }
        }
        out
    }

    fn reverse(&self, name: &Name, kind: RecordType) -> Answer {
        let Some(ip) = name.parse_arpa_name().ok().filter(|n| n.prefix_len() == n.max_prefix_len()).map(|n| n.addr())
        else {
            return Answer::Foreign;
        };
        let mut names = Vec::new();
        for object in self.services.all() {
            let (ns, service) = (object.namespace(), object.name());
            if cluster_ips(&object).contains(&ip) {
                names.push(format!("{service}.{ns}.svc"));
            } else if headless(&object) {
                let hosts = self.backends(ns, service, publishes_unready(&object));
                names.extend(
                    hosts.into_iter().filter(|b| b.ip == ip).map(|b| format!("{}.{service}.{ns}.svc", b.label)),
                );
            }
        }
        let pointers: Vec<Record> = names
            .iter()
            .filter_map(|n| Name::from_ascii(n).ok()?.append_domain(&self.origin).ok())
            .map(|target| Record::from_rdata(name.clone(), TTL_SECONDS, RData::PTR(PTR(target))))
            .collect();
        match (pointers.is_empty(), kind) {
            (true, _) => Answer::Foreign,
            (false, RecordType::PTR | RecordType::ANY) => records(pointers),
            (false, _) => Answer::None { exists: true },
        }
    }
}

fn headless(service: &Object) -> bool {
    let spec = service.view::<Service>().ok().and_then(|s| s.spec.as_ref());
    spec.is_some_and(|s| s.cluster_ip.as_deref() == Some("None"))
}
fn publishes_unready(service: &Object) -> bool {
    let spec = service.view::<Service>().ok().and_then(|s| s.spec.as_ref());
    spec.is_some_and(|s| s.publish_not_ready_addresses == Some(true))
}
fn cluster_ips(service: &Object) -> Vec<IpAddr> {
    let spec = service.view::<Service>().ok().and_then(|s| s.spec.as_ref());
    let Some(spec) = spec else { return Vec::new() };
    let many = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    let mut ips: Vec<IpAddr> = many.filter_map(|ip| ip.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

/// `10-42-0-7` or an IPv6 address with dashes.
fn pod_ip(dashed: &str) -> Option<IpAddr> {
    dashed.replace('-', ".").parse().ok().or_else(|| dashed.replace('-', ":").parse().ok())
}

fn address(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(a) => RData::A(A(a)),
        IpAddr::V6(a) => RData::AAAA(AAAA(a)),
    };
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

fn addresses(name: &Name, kind: RecordType, ips: impl Iterator<Item = IpAddr>) -> Answer {
    let wanted = |ip: &IpAddr| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let found: Vec<Record> = ips.filter(wanted).map(|ip| address(name, ip)).collect();
    if found.is_empty() { Answer::None { exists: true } } else { records(found) }
}

fn records(answers: Vec<Record>) -> Answer {
    Answer::Records { answers, additionals: Vec::new(), chase: None }
}
