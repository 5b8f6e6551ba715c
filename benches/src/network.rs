//! TCP from a pod on one machine to a pod on another, both network namespaces here, joined by a veth: through skiff's network,
//! through it by a ClusterIP, and, on machines of the same kind, through nothing but a VXLAN device. Needs root, `ip` and `nft`.

// the namespaces of the network's own tests
#[path = "../../src/network/tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::Resource;
use api::k8s_openapi::api::core::v1::{Node, Service};
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::fake::FakeClient;
use network::{Config, Nodes, PodNetwork, PodRef, Services, proxy::Proxy};
use serde_json::json;
use support::Namespace;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::report::Report;

const PORT: u16 = 5201;
const SERVICE: &str = "10.43.0.9";

/// With `halting` processors sleep when they have nothing to do, as they usually do. In a virtual machine waking one costs
/// microseconds in the hypervisor, as much as the way of a packet; whichever end waits pays it, and a slower way makes the
/// receiver wait more often. Otherwise they are kept awake, so that the ways are compared and not who sleeps.
pub fn network(seconds: f64, rounds: usize, halting: bool) -> Result<Vec<Report>> {
    let _awake = (!halting).then(awake).transpose()?;
    let bare = Pair::bare()?;
    let skiff = Pair::skiff()?;
    let ways = [
        ("bare VXLAN device", &bare, bare.to.clone()),
        ("pod to pod", &skiff, skiff.to.clone()),
        ("pod to ClusterIP", &skiff, SERVICE.to_owned()),
    ];
    let mut rates = vec![Vec::new(); ways.len()];
    let mut costs = vec![Vec::new(); ways.len()];
    // one after the other, again and again: what else the machine does meets all of them
    for _ in 0..rounds {
        for (i, (_, pair, to)) in ways.iter().enumerate() {
            let (rate, cost) = pair.throughput(to, Duration::from_secs_f64(seconds))?;
            rates[i].push(rate);
            costs[i].push(cost);
        }
    }
    // each against its neighbour in time
    let against =
        |all: &[Vec<f64>], i: usize, j: usize| median(all[i].iter().zip(&all[j]).map(|(a, b)| a / b * 100.0).collect());
    let mut reports = Vec::new();
    for (i, (name, ..)) in ways.iter().enumerate() {
        let report = Report::new(format!("TCP between machines: {name}"))
            .with("median", median(rates[i].clone()), "Gbit/s")
            .with("CPU", median(costs[i].clone()), "ms/GB");
        reports.push(match i {
            0 => report,
            _ => report
                .with(if i == 1 { "of the bare device's" } else { "of pod to pod's" }, against(&rates, i, i - 1), "%")
                .with("with CPU", against(&costs, i, i - 1), "% of its"),
        });
    }
    Ok(reports)
}

/// Keeps the processors from halting for as long as the file is open.
fn awake() -> Result<File> {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency").context("/dev/cpu_dma_latency")?;
    file.write_all(&0_i32.to_ne_bytes())?;
    Ok(file)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A pod here and a pod there.
struct Pair {
    // in the order in which they go
    _stop: Vec<DropGuard>,
    from: Namespace,
    _there: Namespace,
    _hosts: [Namespace; 2],
    to: String,
    /// Of one connection after the other: bytes, how long it took, and the receiver's CPU time.
    received: Receiver<(u64, Duration, Duration)>,
}

impl Pair {
    fn hosts() -> [Namespace; 2] {
        let hosts = [Namespace::new(), Namespace::new()];
        hosts[0].ip("link add up1 type veth peer name up2");
        hosts[0].give("up2", &hosts[1]);
        for (host, n) in hosts.iter().zip(1..) {
            host.ip("link set lo up");
            host.ip(&format!("addr add 192.0.2.{n}/24 dev up{n}"));
            host.ip(&format!("link set up{n} up"));
        }
        hosts
    }

    fn new(stop: Vec<DropGuard>, hosts: [Namespace; 2], pods: [Namespace; 2], to: String) -> Pair {
        let [from, there] = pods;
        let (send, received) = channel();
        there.beside(move || {
            let listener = TcpListener::bind(("::", PORT)).expect("a free port");
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { return };
                    let (began, cpu, mut bytes) = (Instant::now(), cpu_time(), 0);
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        bytes += n as u64;
                    }
                    if send.send((bytes, began.elapsed(), cpu_time() - cpu)).is_err() {
                        return;
                    }
                }
            });
        });
        Pair { _stop: stop, from, _there: there, _hosts: hosts, to, received }
    }

    /// Each machine with a VXLAN device, its pod routed to: what an administrator would type.
    fn bare() -> Result<Pair> {
        let hosts = Pair::hosts();
        let pods = [Namespace::new(), Namespace::new()];
        for (i, (host, pod)) in hosts.iter().zip(&pods).enumerate() {
            let (n, other) = (i + 1, 2 - i);
            for line in [
                format!("link add vx type vxlan id 1 dstport 8472 local 192.0.2.{n} nolearning"),
                format!("link set vx address 02:00:00:00:00:0{n} mtu 1450 up"),
                format!("addr add 10.42.{n}.0/32 dev vx"),
                format!("neigh add 10.42.{other}.0 lladdr 02:00:00:00:00:0{other} dev vx nud permanent"),
                format!("route add 10.42.{other}.0/24 via 10.42.{other}.0 dev vx onlink"),
                format!("link add pod{n} mtu 1450 type veth peer name eth{n} mtu 1450"),
                format!("addr add 10.42.{n}.1/24 dev pod{n}"),
                format!("link set pod{n} up"),
            ] {
                host.ip(&line);
            }
            let entry = format!("fdb append 02:00:00:00:00:0{other} dev vx dst 192.0.2.{other} self permanent");
            host.run_program("bridge", &entry);
            host.beside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).context("ip_forward")?;
            host.give(&format!("eth{n}"), pod);
            for line in [
                "link set lo up".to_owned(),
                format!("addr add 10.42.{n}.2/24 dev eth{n}"),
                format!("link set eth{n} up"),
                format!("route add default via 10.42.{n}.1"),
            ] {
                pod.ip(&line);
            }
        }
        Ok(Pair::new(Vec::new(), hosts, pods, "10.42.2.2".into()))
    }

    /// Each machine with skiff's network, as an agent runs it.
    fn skiff() -> Result<Pair> {
        let (hosts, pods, fake) = (Pair::hosts(), [Namespace::new(), Namespace::new()], FakeClient::new());
        for n in 1..=2 {
            fake.seed(
                Node::gvr(),
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}")},
                    "spec": {"podCIDR": format!("10.42.{n}.0/24"), "podCIDRs": [format!("10.42.{n}.0/24")]},
                    "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{n}")}]}}),
            );
        }
        let (mut stops, mut to) = (Vec::new(), None);
        for (i, (host, pod)) in hosts.iter().zip(&pods).enumerate() {
            let stop = CancellationToken::new();
            stops.push(stop.clone().drop_guard());
            let (up, ready) = channel();
            let (fake, netns) = (fake.clone(), pod.path.clone());
            let job = move || {
                let dir = tempfile::tempdir().expect("a directory");
                let config = Config {
                    node_name: format!("n{}", i + 1),
                    node_ips: vec![IpAddr::from([192, 0, 2, i as u8 + 1])],
                    state_dir: dir.path().into(),
                    bridge: "skiff0".into(),
                    table: "skiff".into(),
                    cluster_cidrs: vec!["10.42.0.0/16".parse().expect("a network")],
                    service_cidrs: vec!["10.43.0.0/16".parse().expect("a network")],
                    ..Config::default()
                };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let network = PodNetwork::new(config.clone()).expect("netlink");
                    let nodes = Nodes::start(fake.arc(), &config, stop.clone());
                    let services = Services::start(fake.arc(), stop.clone());
                    let proxy = Proxy::new(config, services, network.host_ports());
                    let mut synced = proxy.synced();
                    tokio::join!(network.run(nodes, stop.clone()), proxy.run(stop), async {
                        network.ready().await;
                        let pod = PodRef { uid: format!("{i}0d"), ..PodRef::default() };
                        let ips = network.setup(&pod, &netns).await.expect("an interface");
                        let _ = synced.wait_for(|s| *s).await;
                        let _ = up.send(ips[0]);
                    });
                });
            };
            host.start(job);
            to = Some(ready.recv_timeout(Duration::from_secs(20)).context("skiff's network does not come up")?);
        }
        let to = to.context("two machines")?;
        fake.seed(
            Service::gvr(),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sink", "namespace": "default"},
                "spec": {"clusterIP": SERVICE, "clusterIPs": [SERVICE], "ports": [{"port": PORT, "protocol": "TCP"}]}}),
        );
        fake.seed(
            EndpointSlice::gvr(),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "sink", "namespace": "default", "labels": {"kubernetes.io/service-name": "sink"}},
                "ports": [{"port": PORT, "protocol": "TCP"}],
                "endpoints": [{"addresses": [to], "conditions": {"ready": true}}]}),
        );
        Ok(Pair::new(stops, hosts, pods, to.to_string()))
    }

    /// Gbit/s as the receiver counts, and what both ends spend on a gigabyte, the way between them included: in milliseconds.
    fn throughput(&self, to: &str, time: Duration) -> Result<(f64, f64)> {
        let to = (to.to_owned(), PORT);
        let sent = self.from.beside(move || -> Result<Duration> {
            let mut stream = support::eventually("a connection", || TcpStream::connect((to.0.as_str(), to.1)).ok());
            let (chunk, end) = (vec![0; 256 << 10], Instant::now() + time);
            while Instant::now() < end {
                stream.write_all(&chunk)?;
            }
            Ok(cpu_time())
        })?;
        let received = self.received.recv_timeout(Duration::from_secs(10)).context("nothing was received")?;
        let (bytes, took, cpu) = received;
        let cost = (sent + cpu).as_secs_f64() * 1e3 / (bytes as f64 / 1e9);
        Ok((bytes as f64 * 8.0 / 1e9 / took.as_secs_f64(), cost))
    }
}

/// What this thread has spent, soft interrupts on its time included.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}
