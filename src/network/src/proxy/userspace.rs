//! The proxy where the kernel has no nf_tables: this process takes connections on the services' addresses and node ports and
//! passes them on. Slower, callers' addresses are lost, and it ends with the process; the same plan, though.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use rtnetlink::Handle;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::plan::ServicePort;
use crate::error::Context;
use crate::{Config, Error, HostPort, bridge};

/// Nothing more is expected from a client of a datagram service after so long: the kernel's own limit for a stream of them.
const UDP_IDLE: Duration = Duration::from_secs(120);
/// Remembered clients of one door.
const CLIENTS: usize = 10_000;

/// Where connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Door {
    tcp: bool,
    address: SocketAddr,
}

/// What is behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Behind {
    endpoints: Vec<SocketAddr>,
    affinity: Option<Duration>,
    /// Empty: everyone.
    sources: Vec<IpNet>,
}

/// All doors. A service without endpoints has none, so that the kernel refuses.
fn doors(ports: &[ServicePort], host_ports: &[HostPort]) -> BTreeMap<Door, Behind> {
    let mut doors = BTreeMap::new();
    let any = |v6: bool| if v6 { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
    for p in ports.iter().filter(|p| p.protocol != "sctp") {
        let mut open = |ip: IpAddr, port: u16, to: &[SocketAddr], sources: &[IpNet]| {
            let affinity = p.affinity_seconds.map(|s| Duration::from_secs(s.into()));
            let behind = Behind { endpoints: to.to_vec(), affinity, sources: sources.to_vec() };
            if !to.is_empty() {
                let door = Door { tcp: p.protocol == "tcp", address: SocketAddr::new(ip, port) };
                doors.entry(door).or_insert(behind);
            }
        };
        open(p.cluster_ip, p.port, &p.internal, &[]);
        p.external_ips.iter().for_each(|ip| open(*ip, p.port, &p.external, &[]));
        p.balancer_ips.iter().for_each(|ip| open(*ip, p.port, &p.external, &p.source_ranges));
        if p.node_port != 0 {
            open(any(p.cluster_ip.is_ipv6()), p.node_port, &p.external, &[]);
        }
    }
    for h in host_ports.iter().filter(|h| h.protocol != "sctp") {
        let address = SocketAddr::new(h.host_ip.unwrap_or(any(h.pod_ip.is_ipv6())), h.port);
        let endpoints = vec![SocketAddr::new(h.pod_ip, h.container_port)];
        let behind = Behind { endpoints, ..Behind::default() };
        doors.entry(Door { tcp: h.protocol == "tcp", address }).or_insert(behind);
    }
    doors
}

/// Which endpoint the next client gets.
struct Choice {
    behind: Behind,
    next: usize,
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
}

impl Choice {
    fn pick(&mut self, client: IpAddr, now: Instant) -> Option<SocketAddr> {
        let Behind { endpoints, affinity, sources } = &self.behind;
        if !sources.is_empty() && !sources.iter().any(|n| n.contains(&client)) {
            return None;
        }
        if let (Some(limit), Some((known, since))) = (affinity, self.clients.get_mut(&client))
            && now.duration_since(*since) < *limit
            && endpoints.contains(known)
        {
            *since = now;
            return Some(*known);
        }
        self.next = self.next.wrapping_add(1);
        let chosen = *endpoints.get(self.next % endpoints.len().max(1))?;
        if let Some(limit) = affinity {
            if self.clients.len() >= CLIENTS {
                self.clients.retain(|_, (_, since)| now.duration_since(*since) < *limit);
            }
            self.clients.insert(client, (chosen, now));
        }
        Some(chosen)
    }
}

type Shared = Arc<Mutex<Choice>>;

/// The open doors.
pub struct Userspace {
    netlink: Handle,
    bridge: String,
    /// The network of services, whose addresses are put on the bridge.
    services: Vec<IpNet>,
    addresses: BTreeSet<IpAddr>,
    open: BTreeMap<Door, (Shared, JoinHandle<()>)>,
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.open.values().for_each(|(_, task)| task.abort());
    }
}

impl Userspace {
    pub fn new(config: &Config) -> Result<Userspace, Error> {
        let (connection, netlink, _) = rtnetlink::new_connection().what(|| "netlink socket".into())?;
        tokio::spawn(connection);
        let (bridge, services) = (config.bridge.clone(), config.service_cidrs.clone());
        Ok(Userspace { netlink, bridge, services, addresses: BTreeSet::new(), open: BTreeMap::new() })
    }

    /// Opens what is new, closes what is gone. Connections that are there stay.
    pub async fn sync(&mut self, ports: &[ServicePort], host_ports: &[HostPort]) -> Result<(), Error> {
        let want = doors(ports, host_ports);
        let own = |ip: &IpAddr| self.services.iter().any(|n| n.contains(ip));
        let addresses: BTreeSet<IpAddr> = want.keys().map(|d| d.address.ip()).filter(own).collect();
        if addresses != self.addresses {
            let index = crate::pod::link_index(&self.netlink, &self.bridge).await;
            let index = index.ok_or_else(|| Error::NoInterface(self.bridge.clone()))?;
            for ip in addresses.difference(&self.addresses) {
                bridge::address(&self.netlink, index, (*ip).into()).await?;
            }
            for ip in self.addresses.difference(&addresses) {
                bridge::remove_address(&self.netlink, index, |a| a == *ip).await?;
            }
            self.addresses = addresses;
        }
        self.open.retain(|door, (_, task)| {
            let keep = want.contains_key(door);
            if !keep {
                task.abort();
            }
            keep
        });
        for (door, behind) in want {
            if let Some((choice, _)) = self.open.get(&door) {
                choice.lock().behind = behind;
                continue;
            }
            let choice = Arc::new(Mutex::new(Choice { behind, next: 0, clients: HashMap::new() }));
            match serve(door, choice.clone()).await {
                Ok(task) => drop(self.open.insert(door, (choice, task))),
                // somebody else's port, or an address that is not this node's
                Err(error) => tracing::debug!(?door, %error, "not served"),
            }
        }
        Ok(())
    }
}

async fn serve(door: Door, choice: Shared) -> std::io::Result<JoinHandle<()>> {
    if door.tcp {
        let listener = TcpListener::bind(door.address).await?;
        return Ok(tokio::spawn(async move {
            loop {
                let Ok((client, from)) = listener.accept().await else {
                    // out of descriptors, most likely: others will be closed
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let to = choice.lock().pick(from.ip(), Instant::now());
                if let Some(to) = to {
                    tokio::spawn(stream(client, to));
                }
            }
        }));
    }
    let socket = Arc::new(UdpSocket::bind(door.address).await?);
    Ok(tokio::spawn(datagrams(socket, choice)))
}

async fn stream(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Each client has a socket of its own towards its endpoint, by which answers are told apart.
async fn datagrams(socket: Arc<UdpSocket>, choice: Shared) {
    let clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0; 65535];
    loop {
        // an error is an ICMP message about an earlier answer
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
        let known = clients.lock().get(&from).cloned();
        let server = match known {
            Some(server) => server,
            None => {
                let Some(to) = choice.lock().pick(from.ip(), Instant::now()) else { continue };
                let any: IpAddr = if to.is_ipv4() { [0u8; 4].into() } else { [0u16; 8].into() };
                let Ok(server) = UdpSocket::bind((any, 0)).await else { continue };
                if server.connect(to).await.is_err() {
                    continue;
                }
                let server = Arc::new(server);
                clients.lock().insert(from, server.clone());
                tokio::spawn(answers(socket.clone(), server.clone(), from, clients.clone()));
                server
            }
        };
        let _ = server.send(&buffer[..n]).await;
    }
}

async fn answers(
    socket: Arc<UdpSocket>,
    server: Arc<UdpSocket>,
    client: SocketAddr,
    clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
) {
    let mut buffer = vec![0; 65535];
    while let Ok(Ok(n)) = tokio::time::timeout(UDP_IDLE, server.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..n], client).await;
    }
    clients.lock().remove(&client);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> ServicePort {
        let to: Vec<SocketAddr> = vec!["10.42.0.5:8080".parse().unwrap(), "10.42.0.6:8080".parse().unwrap()];
        ServicePort {
            name: "default/web:".into(),
            protocol: "tcp",
            port: 80,
            cluster_ip: "10.43.0.9".parse().unwrap(),
            external_ips: Vec::new(),
            balancer_ips: vec!["192.0.2.80".parse().unwrap()],
            node_port: 30080,
            all: to.clone(),
            internal: to,
            external: Vec::new(),
            keep_source: true,
            affinity_seconds: None,
            source_ranges: Vec::new(),
        }
    }

    #[test]
    fn a_door_for_each_way_to_an_endpoint() {
        let open = |p: ServicePort| -> Vec<String> {
            doors(&[p], &[]).keys().map(|d| d.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(open(port()), ["10.43.0.9:80"], "no endpoint of this node: no outer doors");
        let p = ServicePort { external: port().internal, ..port() };
        assert_eq!(open(p), ["0.0.0.0:30080", "10.43.0.9:80", "192.0.2.80:80"]);
        assert!(open(ServicePort { internal: Vec::new(), ..port() }).is_empty());
    }

    #[test]
    fn clients_stay_with_their_endpoint_if_asked_to() {
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        let affinity = Some(Duration::from_secs(10));
        let behind = Behind { endpoints: port().internal, affinity, sources: vec!["192.0.2.0/31".parse().unwrap()] };
        let mut choice = Choice { behind, next: 0, clients: HashMap::new() };
        let first = choice.pick(a, now).unwrap();
        assert_eq!(choice.pick(a, now + Duration::from_secs(9)), Some(first));
        assert_eq!(choice.pick(b, now), None, "not within the allowed sources");
        let other = choice.pick(a, now + Duration::from_secs(30)).unwrap();
        assert_ne!(other, first, "forgotten");
        choice.behind.endpoints.retain(|e| *e != other);
        assert_eq!(choice.pick(a, now + Duration::from_secs(31)), Some(first), "its endpoint has gone");
    }
}
