//! Which pod has which address: one small file a pod, so that a restart knows.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{HostPortRequest, PodRef};
use crate::Error;
use crate::error::Context;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub ips: Vec<IpAddr>,
    /// The host's end of the pod's interface.
    pub veth: String,
    pub host_ports: Vec<HostPortRequest>,
}

pub struct Ipam {
    dir: PathBuf,
    cidrs: Vec<IpNet>,
    records: BTreeMap<String, Record>,
    used: HashSet<IpAddr>,
    /// Per CIDR, the offset last given: an address is not given again soon.
    last: Vec<u128>,
}

impl Ipam {
    /// Reads the records in `dir`. A damaged one is dropped: its pod is set up anew.
    pub fn open(dir: &Path, cidrs: &[IpNet]) -> Result<Ipam, Error> {
        let dir = dir.join("pods");
        std::fs::create_dir_all(&dir).what(|| format!("create {}", dir.display()))?;
        let mut ipam = Ipam {
            cidrs: cidrs.to_vec(),
            records: BTreeMap::new(),
            used: HashSet::new(),
            last: vec![1; cidrs.len()],
            dir,
        };
        for entry in std::fs::read_dir(&ipam.dir).what(|| format!("read {}", ipam.dir.display()))?.flatten() {
            let path = entry.path();
            match std::fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Record>(&b).ok()) {
                Some(r) => {
                    ipam.used.extend(&r.ips);
                    for ip in &r.ips {
                        ipam.note(*ip);
                    }
                    ipam.records.insert(r.uid.clone(), r);
                }
                None => {
                    tracing::warn!(path = %path.display(), "unreadable address record dropped");
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        Ok(ipam)
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The first address of each CIDR: the node's.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.cidrs.iter().map(|c| nth(c, 1)).collect()
    }

    pub fn allocate(&mut self, pod: &PodRef) -> Result<Record, Error> {
        if let Some(r) = self.records.get(&pod.uid) {
            return Ok(r.clone());
        }
        let ips = (0..self.cidrs.len()).map(|i| self.next(i)).collect::<Result<Vec<_>, _>>()?;
        let tag: String = pod.uid.chars().filter(char::is_ascii_hexdigit).take(11).collect();
        let record = Record {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            ips,
            veth: format!("sk{tag}"),
            host_ports: pod.host_ports.clone(),
        };
        let path = self.dir.join(&pod.uid);
        let bytes = serde_json::to_vec(&record).expect("a record encodes");
        let fresh = self.dir.join(format!(".{}", pod.uid));
        std::fs::write(&fresh, bytes)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .what(|| format!("write {}", path.display()))?;
        self.used.extend(&record.ips);
        self.records.insert(pod.uid.clone(), record.clone());
        Ok(record)
    }

    pub fn release(&mut self, uid: &str) -> Option<Record> {
        let record = self.records.remove(uid)?;
        for ip in &record.ips {
            self.used.remove(ip);
        }
        let _ = std::fs::remove_file(self.dir.join(uid));
        Some(record)
    }

    fn next(&mut self, i: usize) -> Result<IpAddr, Error> {
        let cidr = self.cidrs[i];
        // network address, gateway and broadcast are not given; an IPv6 range is used up to 2^20
        let size = 1u128 << u32::from(cidr.max_prefix_len() - cidr.prefix_len()).min(20);
        let usable = size.saturating_sub(3);
        for step in 1..=usable {
            let offset = 2 + (self.last[i] - 1 + step - 1) % usable;
            let ip = nth(&cidr, offset);
            if !self.used.contains(&ip) {
                self.last[i] = offset;
                return Ok(ip);
            }
        }
        Err(Error::Exhausted(cidr))
    }

    fn note(&mut self, ip: IpAddr) {
        for (i, cidr) in self.cidrs.iter().enumerate() {
            if cidr.contains(&ip) {
                self.last[i] = self.last[i].max(number(ip) - number(cidr.network()));
            }
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The `n`th address of a network.
pub fn nth(cidr: &IpNet, n: u128) -> IpAddr {
    match cidr {
        IpNet::V4(c) => Ipv4Addr::from(u32::from(c.network()).wrapping_add(n as u32)).into(),
        IpNet::V6(c) => Ipv6Addr::from(u128::from(c.network()).wrapping_add(n)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodRef {
        PodRef { uid: uid.into(), ..PodRef::default() }
    }

    #[test]
    fn addresses_are_kept_and_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let cidrs = ["10.42.0.0/29".parse().unwrap()];
        let mut ipam = Ipam::open(dir.path(), &cidrs).unwrap();
        let ips: Vec<_> = (0..5).map(|i| ipam.allocate(&pod(&format!("a{i}"))).unwrap().ips[0].to_string()).collect();
        assert_eq!(ips, ["10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6"]);
        assert!(matches!(ipam.allocate(&pod("full")), Err(Error::Exhausted(_))));
        ipam.release("a1");
        drop(ipam);
        let mut ipam = Ipam::open(dir.path(), &cidrs).unwrap();
        assert_eq!(ipam.allocate(&pod("a0")).unwrap().ips[0].to_string(), "10.42.0.2", "a pod keeps its address");
        assert_eq!(ipam.allocate(&pod("b")).unwrap().ips[0].to_string(), "10.42.0.3");
    }

    #[test]
    fn a_released_address_rests_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let mut ipam = Ipam::open(dir.path(), &["10.42.0.0/24".parse().unwrap()]).unwrap();
        ipam.allocate(&pod("a")).unwrap();
        ipam.release("a");
        assert_eq!(ipam.allocate(&pod("b")).unwrap().ips[0].to_string(), "10.42.0.3");
    }
}
