//! Ranges to allocate from, as pure sequences. Upstream's `ipallocator` and `portallocator` without their storage.

use std::net::IpAddr;

use ipnet::IpNet;
use rand::Rng;

/// A row of numbered places. Requests without a wish are served from the upper band first, so that those with one find the
/// lower band mostly free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    size: u32,
    lower: u32,
}

impl Bands {
    /// `calculateRangeOffset`: a sixteenth, at least 16, at most 256; nothing for tiny ranges.
    fn of_addresses(size: u32) -> Bands {
        Bands { size, lower: if size <= 16 { 0 } else { (size / 16).clamp(16, 256) } }
    }
    /// Likewise for ports: a thirty-second, at least 16, at most 128.
    fn of_ports(size: u32) -> Bands {
        Bands { size, lower: if size <= 16 { 0 } else { (size / 32).clamp(16, 128) } }
    }

    /// Every place once: the upper band from a random place on, then the lower one.
    fn order(self) -> impl Iterator<Item = u32> {
        let round = |from: u32, to: u32| {
            let n = to - from;
            let start = if n == 0 { 0 } else { rand::rng().random_range(0..n) };
            (0..n).map(move |i| from + (start + i) % n)
        };
        round(self.lower, self.size).chain(round(0, self.lower))
    }
}

/// The addresses of services of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    net: IpNet,
    bands: Bands,
}

impl Addresses {
    pub fn new(net: IpNet) -> Addresses {
        let host_bits = u32::from(net.max_prefix_len() - net.prefix_len());
        // without the network's own address and, for IPv4, the broadcast address; an IPv6 range is used in its first 65,535
        let all = 1u64 << host_bits.min(if net.addr().is_ipv6() { 16 } else { 31 });
        let spare = if net.addr().is_ipv4() { 2 } else { 1 };
        Addresses { net: net.trunc(), bands: Bands::of_addresses(all.saturating_sub(spare) as u32) }
    }
    pub fn is_v6(&self) -> bool {
        self.net.addr().is_ipv6()
    }
    /// `IPv4`, `IPv6`
    pub fn family(&self) -> &'static str {
        if self.is_v6() { "IPv6" } else { "IPv4" }
    }
    pub fn net(&self) -> IpNet {
        self.net
    }
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(&ip) && ip != self.net.network() && (self.is_v6() || ip != self.net.broadcast())
    }
    /// In the order in which they are tried.
    pub fn candidates(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let base = self.net.network();
        self.bands.order().map(move |i| match base {
            IpAddr::V4(a) => IpAddr::V4((u32::from(a) + 1 + i).into()),
            IpAddr::V6(a) => IpAddr::V6((u128::from(a) + 1 + u128::from(i)).into()),
        })
    }
}

/// `--service-node-port-range`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    pub fn contains(self, port: i64) -> bool {
        (i64::from(self.first)..=i64::from(self.last)).contains(&port)
    }
    pub fn candidates(self) -> impl Iterator<Item = u16> {
        let size = u32::from(self.last.saturating_sub(self.first)) + 1;
        Bands::of_ports(size).order().map(move |i| self.first + i as u16)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_address_comes_once_and_the_lower_band_last() {
        for (net, count, lower) in [("10.43.0.0/24", 254, 16), ("10.43.0.0/28", 14, 0), ("fd00::/120", 255, 16)] {
            let range = Addresses::new(net.parse().unwrap());
            let all: Vec<IpAddr> = range.candidates().collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count, "{net}");
            assert!(all.iter().all(|ip| range.contains(*ip)), "{net}");
            let mut last: Vec<IpAddr> = all[all.len() - lower..].to_vec();
            last.sort();
            let mut sorted = all.clone();
            sorted.sort();
            assert_eq!(last, sorted[..lower], "{net}");
        }
        assert_eq!(Addresses::new("10.43.0.0/16".parse().unwrap()).bands, Bands { size: 65534, lower: 256 });
    }

    #[test]
    fn the_edges_are_not_given() {
        let range = Addresses::new("10.43.0.0/24".parse().unwrap());
        for (ip, inside) in [("10.43.0.0", false), ("10.43.0.1", true), ("10.43.0.255", false), ("10.44.0.1", false)] {
            assert_eq!(range.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        let ports = Ports { first: 30000, last: 32767 };
        assert_eq!(ports.candidates().count(), 2768);
        assert!(ports.candidates().take(2768 - 86).all(|p| p >= 30086));
        assert!(ports.contains(30000) && ports.contains(32767) && !ports.contains(29999));
    }
}
