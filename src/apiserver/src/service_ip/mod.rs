//! Addresses and node ports of Services.
//!
//! Each is held by one Service. What is held is read from the store at start and remembered; a remembered holder is asked
//! again (in the store's index) before anything is refused on its behalf, so a release needs no bookkeeping: a Service that
//! is deleted or changed simply no longer holds. A write in flight holds what it picked until it is over, whatever comes of it.

mod fields;
mod range;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use api::field::{Error, Path};
use api::{Object, Status, Value};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, json};

use crate::admission::{Operation, Plugin, Write};
use crate::{Attributes, Lookup, Verb};
use fields::{Spec, list, number};
pub use range::{Addresses, Ports};

#[derive(Clone, PartialEq, Debug)]
struct Owner {
    namespace: Box<str>,
    name: Box<str>,
    /// A write in flight holds it.
    pending: bool,
}

#[derive(Default)]
struct Taken {
    ips: HashMap<IpAddr, Owner>,
    ports: HashMap<u16, Owner>,
}

struct Shared {
    /// One per family, the primary first.
    addresses: Vec<Addresses>,
    ports: Ports,
    taken: Mutex<Taken>,
    lookup: Arc<dyn Lookup>,
}

/// Admission for Services that gives them what they ask for, or what is free.
pub struct ServiceAllocation {
    shared: Arc<Shared>,
}

fn spec_of(object: &Object) -> Spec {
    match object.tree().get_mut("spec").map(Value::take) {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    }
}

fn ips(spec: &Spec) -> impl Iterator<Item = IpAddr> + '_ {
    list(spec, "clusterIPs").iter().filter_map(|v| v.as_str()?.parse().ok())
}

fn ports(spec: &Spec) -> impl Iterator<Item = u16> + '_ {
    let health = spec.get("healthCheckNodePort").and_then(Value::as_i64);
    let nodes = list(spec, "ports").iter().map(|p| number(p, "nodePort"));
    nodes.chain(health).filter(|p| *p != 0).filter_map(|p| u16::try_from(p).ok())
}

impl ServiceAllocation {
    /// Takes note of what the stored Services hold.
    pub fn new(addresses: Vec<Addresses>, ports: Ports, lookup: Arc<dyn Lookup>) -> ServiceAllocation {
        let mut taken = Taken::default();
        for service in lookup.list("services", "") {
            taken.note(&service, &spec_of(&service));
        }
        let shared = Shared { addresses, ports, taken: Mutex::new(taken), lookup };
        ServiceAllocation { shared: Arc::new(shared) }
    }
}

impl Taken {
    fn note(&mut self, service: &Object, spec: &Spec) {
        let owner = Owner { namespace: service.namespace().into(), name: service.name().into(), pending: false };
        self.ips.extend(ips(spec).map(|ip| (ip, owner.clone())));
        self.ports.extend(self::ports(spec).map(|p| (p, owner.clone())));
    }
}

/// What one write picked. Dropping it keeps what the store's Service came to hold and gives the rest back.
struct Hold {
    shared: Arc<Shared>,
    owner: Owner,
    ips: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Shared {
    /// Whether `owner` still has it, as far as the store knows.
    fn stands(&self, owner: &Owner, holds: impl Fn(&Spec) -> bool) -> bool {
        let service = self.lookup.get("services", &owner.namespace, &owner.name);
        service.is_some_and(|s| holds(&spec_of(&s)))
    }

    fn take<T: Hash + Eq + Copy>(
        &self,
        map: &mut HashMap<T, Owner>,
        what: T,
        owner: &Owner,
        holds: impl Fn(&Spec, T) -> bool,
    ) -> bool {
        if map.get(&what).is_some_and(|o| o.pending || self.stands(o, |s| holds(s, what))) {
            return false;
        }
        map.insert(what, owner.clone());
        true
    }
}

impl Hold {
    fn take_ip(&mut self, ip: IpAddr) -> bool {
        let mut taken = self.shared.taken.lock();
        let got = self.shared.take(&mut taken.ips, ip, &self.owner, |s, ip| ips(s).any(|i| i == ip));
        drop(taken);
        if got {
            self.ips.push(ip);
        }
        got
    }
    fn take_port(&mut self, port: u16) -> bool {
        let mut taken = self.shared.taken.lock();
        let got = self.shared.take(&mut taken.ports, port, &self.owner, |s, p| ports(s).any(|i| i == p));
        drop(taken);
        if got {
            self.ports.push(port);
        }
        got
    }
    fn next_port(&mut self) -> Result<u16, Status> {
        let range = self.shared.ports;
        let free = range.candidates().find(|p| self.take_port(*p));
        free.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
    }
    /// A port that was asked for.
    fn this_port(&mut self, name: &str, path: &Path, port: i64) -> Result<(), Status> {
        let range = self.shared.ports;
        let invalid = |why: String| Status::invalid("", "Service", name, &[Error::invalid(path, port, why)]);
        match u16::try_from(port) {
            Ok(p) if range.contains(port) => match self.ports.contains(&p) || self.take_port(p) {
                true => Ok(()),
                false => Err(invalid("provided port is already allocated".into())),
            },
            _ => Err(invalid(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.first, range.last
            ))),
        }
    }
}

impl Hold {
    /// The Service that came of the write; a generated name is not known before.
    fn outcome(&self) -> Option<Arc<Object>> {
        let (lookup, namespace) = (&self.shared.lookup, &self.owner.namespace);
        if !self.owner.name.is_empty() {
            return lookup.get("services", namespace, &self.owner.name);
        }
        let mine =
            |spec: &Spec| ips(spec).any(|i| self.ips.contains(&i)) || ports(spec).any(|p| self.ports.contains(&p));
        lookup.list("services", namespace).into_iter().find(|s| mine(&spec_of(s)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ips.is_empty() && self.ports.is_empty() {
            return;
        }
        let service = self.outcome();
        if let Some(service) = &service {
            self.owner.name = service.name().into();
        }
        self.owner.pending = false;
        let spec = service.as_deref().map(spec_of).unwrap_or_default();
        let mut taken = self.shared.taken.lock();
        for ip in &self.ips {
            match ips(&spec).any(|i| i == *ip) {
                true => drop(taken.ips.insert(*ip, self.owner.clone())),
                false => drop(taken.ips.remove(ip)),
            }
        }
        for port in &self.ports {
            match ports(&spec).any(|p| p == *port) {
                true => drop(taken.ports.insert(*port, self.owner.clone())),
                false => drop(taken.ports.remove(port)),
            }
        }
    }
}

impl ServiceAllocation {
    fn allocate(&self, hold: &mut Hold, name: &str, new: &mut Spec, old: Option<&Spec>) -> Result<(), Status> {
        let families: Vec<&'static str> = self.shared.addresses.iter().map(Addresses::family).collect();
        let errors = fields::prepare(new, old, &families);
        if !errors.is_empty() {
            return Err(Status::invalid("", "Service", name, &errors));
        }
        if fields::needs_ip(new) && !fields::is_headless(new) {
            self.addresses(hold, name, new, old)?;
        }
        node_ports(hold, name, new, old)?;
        if fields::needs_health_port(new) {
            let have = |s: &Spec| s.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
            match have(new) {
                0 => drop(new.insert("healthCheckNodePort".into(), json!(hold.next_port()?))),
                port if old.is_some_and(|o| have(o) == port) => {}
                port => hold.this_port(name, &Path::root("spec").child("healthCheckNodePort"), port)?,
            }
        }
        Ok(())
    }

    /// `clusterIPs` for each family: as asked, as before, or any.
    fn addresses(&self, hold: &mut Hold, name: &str, spec: &mut Spec, old: Option<&Spec>) -> Result<(), Status> {
        let asked: Vec<String> =
            list(spec, "clusterIPs").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        let families: Vec<String> =
            list(spec, "ipFamilies").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        let mut given = Vec::new();
        for (i, family) in families.iter().enumerate() {
            let Some(range) = self.shared.addresses.iter().find(|a| a.family() == family) else { continue };
            let Some(ip) = asked.get(i).filter(|ip| !ip.is_empty()) else {
                let free = range.candidates().find(|ip| hold.take_ip(*ip));
                let ip = free.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
                given.push(ip.to_string());
                continue;
            };
            given.push(ip.clone());
            // what is no address, or of another family, is validation's to refuse
            let Ok(address) = ip.parse::<IpAddr>() else { continue };
            if address.is_ipv6() != range.is_v6() || old.is_some_and(|o| ips(o).any(|a| a == address)) {
                continue;
            }
            let why = if !range.contains(address) {
                format!("provided IP is not in the valid range. The range of valid IPs is {}", range.net())
            } else if !hold.take_ip(address) {
                "provided IP is already allocated".to_owned()
            } else {
                continue;
            };
            let path = Path::root("spec");
            let detail = format!("failed to allocate IP {ip}: {why}");
            let error = Error::invalid(&path.child("clusterIPs"), json!(asked), detail);
            return Err(Status::invalid("", "Service", name, &[error]));
        }
        if let Some(first) = given.first() {
            spec.insert("clusterIP".into(), json!(first));
            spec.insert("clusterIPs".into(), json!(given));
        }
        Ok(())
    }
}

/// `nodePort` of each port: as asked, as before, or any. Ports of the same number and different protocol share one.
fn node_ports(hold: &mut Hold, name: &str, new: &mut Spec, old: Option<&Spec>) -> Result<(), Status> {
    let wanted = fields::wants_node_ports(new);
    let kept: Vec<i64> = old.map_or(Vec::new(), |o| list(o, "ports").iter().map(|p| number(p, "nodePort")).collect());
    let asked: Vec<(i64, i64)> =
        list(new, "ports").iter().map(|p| (number(p, "port"), number(p, "nodePort"))).collect();
    let mut by_port: HashMap<i64, i64> = HashMap::new();
    let root = Path::root("spec");
    for (i, (port, node_port)) in asked.iter().copied().enumerate() {
        if node_port == 0 && !wanted {
            continue;
        }
        let shared = by_port.get(&port).copied();
        let wish = match (node_port, shared) {
            (0, Some(shared)) => Some(shared),
            // a later port of the same number may have a wish
            (0, None) => asked[i..].iter().find(|(p, n)| *p == port && *n != 0).map(|(_, n)| *n),
            (n, _) => Some(n),
        };
        let given = match wish {
            Some(n) if kept.contains(&n) => n,
            Some(n) => {
                let list = root.child("ports");
                hold.this_port(name, &list.index(i).child("nodePort"), n)?;
                n
            }
            None => i64::from(hold.next_port()?),
        };
        by_port.entry(port).or_insert(given);
        if let Some(entry) = new.get_mut("ports").and_then(|p| p.get_mut(i)).and_then(Value::as_object_mut) {
            entry.insert("nodePort".into(), json!(given));
        }
    }
    Ok(())
}

#[async_trait]
impl Plugin for ServiceAllocation {
    fn name(&self) -> &'static str {
        "ServiceAllocation"
    }
    fn handles(&self, a: &Attributes) -> bool {
        a.resource == "services"
            && a.group.is_empty()
            && a.subresource.is_empty()
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() == Operation::Delete {
            return Ok(());
        }
        let name = match write.object["metadata"]["name"].as_str() {
            Some(name) => name.to_owned(),
            None => write.attributes.name.clone(),
        };
        let old = write.old.map(|o| spec_of(o));
        let owner =
            Owner { namespace: write.attributes.namespace.as_str().into(), name: name.as_str().into(), pending: true };
        let mut hold = Hold { shared: self.shared.clone(), owner, ips: Vec::new(), ports: Vec::new() };
        if let Some(spec) = write.object.get_mut("spec").and_then(Value::as_object_mut) {
            self.allocate(&mut hold, &name, spec, old.as_ref())?;
        }
        write.held.push(Box::new(hold));
        Ok(())
    }
}
