//! Datagrams have no end: the kernel remembers where a client's go for as long as they come. When an endpoint leaves, what is
//! remembered of it is forgotten here, so that the next datagram is sent to one that is there. Upstream's
//! `pkg/proxy/conntrack`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr as Port, TokioSocket, protocols::NETLINK_NETFILTER};

use super::nfnl;
use super::plan::ServicePort;
use crate::HostPort;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_{NEW,GET,DELETE}`
const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_DUMP`, `NLM_F_REQUEST | NLM_F_ACK`
const DUMP: u16 = 0x301;
const ACK: u16 = 0x5;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, and that attributes are inside
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const NESTED: u16 = 1 << 15;
const UDP: u8 = 17;

/// Where datagrams may go, by where they are sent to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Datagrams {
    services: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    node_ports: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl Datagrams {
    pub fn of(ports: &[ServicePort], host_ports: &[HostPort]) -> Datagrams {
        let mut d = Datagrams::default();
        for p in ports.iter().filter(|p| p.protocol == "udp") {
            let to = || p.all.iter().chain(&p.internal).copied();
            for ip in [&p.cluster_ip].into_iter().chain(&p.external_ips).chain(&p.balancer_ips) {
                d.services.entry(SocketAddr::new(*ip, p.port)).or_default().extend(to());
            }
            if p.node_port != 0 {
                d.node_ports.entry(p.node_port).or_default().extend(to());
            }
        }
        for h in host_ports.iter().filter(|h| h.protocol == "udp") {
            let to = SocketAddr::new(h.pod_ip, h.container_port);
            d.node_ports.entry(h.port).or_default().insert(to);
        }
        d
    }

    /// Whether something that was fine before is not now: an endpoint is gone, or a service is new.
    pub fn outdates(&self, before: &Datagrams) -> bool {
        let services = self.services.iter().any(|(k, to)| before.services.get(k).is_none_or(|old| !old.is_subset(to)));
        let ports = self.node_ports.iter().any(|(k, to)| before.node_ports.get(k).is_none_or(|old| !old.is_subset(to)));
        services || ports
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let known = self.services.get(&flow.to).or_else(|| {
            // a port of somebody else's machine is none of ours: those are translated
            self.node_ports.get(&flow.to.port()).filter(|_| flow.to != flow.from)
        });
        known.is_some_and(|endpoints| !endpoints.contains(&flow.from))
    }
}

/// What the kernel remembers: sent to `to`, answered by `from`.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    to: SocketAddr,
    from: SocketAddr,
}

/// Forgets the flows that lead where no endpoint is. A kernel that has no such thing has nothing to forget.
pub async fn forget_stale(datagrams: &Datagrams) {
    for family in [nix::libc::AF_INET as u8, nix::libc::AF_INET6 as u8] {
        match forget(datagrams, family).await {
            Ok(0) => {}
            Ok(n) => tracing::debug!(flows = n, "datagrams of endpoints that are gone find others"),
            Err(error) => tracing::debug!(%error, "remembered datagrams cannot be forgotten"),
        }
    }
}

async fn forget(datagrams: &Datagrams, family: u8) -> std::io::Result<usize> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&Port::new(0, 0))?;
    socket.socket_mut().connect(&Port::new(0, 0))?;
    socket.send(&nfnl::request(GET, DUMP, family, &[])).await?;
    let mut stale = Vec::new();
    'dump: loop {
        let (bytes, _) = socket.recv_from_full().await?;
        for (kind, attributes) in nfnl::messages(&bytes) {
            match kind {
                NEW => {
                    if flow(attributes).is_some_and(|f| datagrams.is_stale(&f))
                        && let Some(tuple) = nfnl::attribute(attributes, ORIGINAL)
                    {
                        stale.push(tuple.to_vec());
                    }
                }
                DONE | ERROR => break 'dump,
                _ => {}
            }
        }
    }
    for tuple in &stale {
        let request = nfnl::request(DELETE, ACK, family, &nfnl::encoded(ORIGINAL | NESTED, tuple));
        socket.send(&request).await?;
        // one that has ended by itself is fine
        socket.recv_from_full().await?;
    }
    Ok(stale.len())
}

/// `None`: not of datagrams.
fn flow(attributes: &[u8]) -> Option<Flow> {
    let (_, to) = tuple(nfnl::attribute(attributes, ORIGINAL)?)?;
    let (from, _) = tuple(nfnl::attribute(attributes, REPLY)?)?;
    Some(Flow { to, from })
}

/// Source and destination.
fn tuple(attributes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, protocol) = (nfnl::attribute(attributes, 1)?, nfnl::attribute(attributes, 2)?);
    if nfnl::attribute(protocol, 1)? != [UDP] {
        return None;
    }
    let ip = |v4: u16, v6: u16| -> Option<IpAddr> {
        if let Some(bytes) = nfnl::attribute(ips, v4) {
            return <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        }
        <[u8; 16]>::try_from(nfnl::attribute(ips, v6)?).ok().map(IpAddr::from)
    };
    let port = |kind: u16| Some(u16::from_be_bytes(nfnl::attribute(protocol, kind)?.try_into().ok()?));
    Some((SocketAddr::new(ip(1, 3)?, port(2)?), SocketAddr::new(ip(2, 4)?, port(3)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams(endpoints: &[&str]) -> Datagrams {
        let all: BTreeSet<SocketAddr> = endpoints.iter().map(|e| e.parse().unwrap()).collect();
        Datagrams {
            services: [("10.43.0.9:53".parse().unwrap(), all.clone())].into(),
            node_ports: [(30053, all)].into(),
        }
    }

    #[test]
    fn what_leads_nowhere_is_stale() {
        let d = datagrams(&["10.42.0.5:5353"]);
        for (to, from, stale) in [
            ("10.43.0.9:53", "10.42.0.5:5353", false),
            ("10.43.0.9:53", "10.42.0.6:5353", true),
            ("10.43.0.9:53", "10.43.0.9:53", true),
            ("192.0.2.1:30053", "10.42.0.6:5353", true),
            ("192.0.2.1:30053", "10.42.0.5:5353", false),
            ("198.51.100.1:30053", "198.51.100.1:30053", false),
            ("198.51.100.1:53", "198.51.100.1:53", false),
        ] {
            let flow = Flow { to: to.parse().unwrap(), from: from.parse().unwrap() };
            assert_eq!(d.is_stale(&flow), stale, "{flow:?}");
        }
        let two = datagrams(&["10.42.0.5:5353", "10.42.0.6:5353"]);
        assert!(!two.outdates(&d), "one more endpoint hurts nobody");
        assert!(d.outdates(&two));
        assert!(d.outdates(&Datagrams::default()), "a new service may have been called before");
        assert!(!Datagrams::default().outdates(&d), "a service that is gone: as upstream");
    }

    #[test]
    fn flows_are_read() {
        let side = |src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16| {
            let ips = [nfnl::encoded(1, &src), nfnl::encoded(2, &dst)].concat();
            let ports = [
                nfnl::encoded(1, &[UDP]),
                nfnl::encoded(2, &sport.to_be_bytes()),
                nfnl::encoded(3, &dport.to_be_bytes()),
            ];
            [nfnl::encoded(1, &ips), nfnl::encoded(2 | NESTED, &ports.concat())].concat()
        };
        let original = nfnl::encoded(ORIGINAL, &side([10, 42, 0, 2], 4444, [10, 43, 0, 9], 53));
        let reply = nfnl::encoded(REPLY, &side([10, 42, 0, 5], 5353, [10, 42, 0, 2], 4444));
        let want = Flow { to: "10.43.0.9:53".parse().unwrap(), from: "10.42.0.5:5353".parse().unwrap() };
        assert_eq!(flow(&[original.clone(), reply].concat()), Some(want));
        assert_eq!(flow(&original), None);
    }
}
