//! Three nodes on a switch, each a network namespace, and a pod on each: what reaches what, and with which source. Needs root,
//! `ip` and `nft`.

mod support;

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use api::Resource;
use api::k8s_openapi::api::core::v1::{Node, Service};
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::fake::FakeClient;
use ipnet::IpNet;
use network::{Config, Nodes, PodNetwork, PodRef, Services, proxy::Proxy};
use serde_json::{Value, json};
use support::{Namespace, eventually};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The outside: a switch with an address of its own.
struct Lan(Namespace);

impl Lan {
    fn new() -> Lan {
        let ns = Namespace::new();
        for line in ["link set lo up", "link add sw type bridge", "link set sw up", "addr add 192.0.2.254/24 dev sw"] {
            ns.ip(line);
        }
        ns.ip("addr add 2001:db8::fe/64 dev sw nodad");
        ns.serve(7000);
        Lan(ns)
    }

    fn plug(&self, n: u8) -> Namespace {
        let ns = Namespace::new();
        self.0.ip(&format!("link add port{n} type veth peer name up{n}"));
        self.0.ip(&format!("link set port{n} master sw up"));
        self.0.give(&format!("up{n}"), &ns);
        ns.ip("link set lo up");
        ns.ip(&format!("addr add 192.0.2.{n}/24 dev up{n}"));
        ns.ip(&format!("addr add 2001:db8::{n}/64 dev up{n} nodad"));
        ns.ip(&format!("link set up{n} up"));
        ns.ip("route add default via 192.0.2.254");
        ns.ip("route add default via 2001:db8::fe");
        ns
    }
}

/// A node with its agent.
struct Machine {
    // in the order in which they go
    _stop: DropGuard,
    n: u8,
    host: Namespace,
    pod: Namespace,
    dir: tempfile::TempDir,
    stopped: Receiver<()>,
    ips: Vec<IpAddr>,
}

/// `vxlan`, `vxlan over IPv6`, `host-gw`
fn config(n: u8, backend: &str, dir: &std::path::Path) -> Config {
    let (backend, v6) = backend.strip_suffix(" over IPv6").map_or((backend, false), |b| (b, true));
    let mut node_ips: Vec<IpAddr> =
        vec![format!("192.0.2.{n}").parse().unwrap(), format!("2001:db8::{n}").parse().unwrap()];
    if v6 {
        node_ips.reverse();
    }
    let nets = |all: &[&str]| all.iter().map(|c| c.parse::<IpNet>().unwrap()).collect::<Vec<_>>();
    Config {
        node_name: format!("n{n}"),
        node_ips,
        state_dir: dir.into(),
        bridge: "skiff0".into(),
        table: "skiff".into(),
        cluster_cidrs: nets(&["10.42.0.0/16", "fd42::/48"]),
        service_cidrs: nets(&["10.43.0.0/16", "fd43::/112"]),
        cluster_domain: "cluster.local".into(),
        backend: backend.parse().unwrap(),
        ..Config::default()
    }
}

fn node(n: u8) -> Value {
    let addresses = [format!("192.0.2.{n}"), format!("2001:db8::{n}")];
    let addresses: Vec<_> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}")},
        "spec": {"podCIDR": format!("10.42.{n}.0/24"), "podCIDRs": [format!("10.42.{n}.0/24"), format!("fd42:0:0:{n}::/64")]},
        "status": {"addresses": addresses}})
}

impl Machine {
    fn new(lan: &Lan, n: u8, backend: &str, fake: &FakeClient) -> Machine {
        let (host, pod) = (lan.plug(n), Namespace::new());
        pod.serve(8080);
        let (_, stopped) = channel();
        let stop = CancellationToken::new().drop_guard();
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine { _stop: stop, n, host, pod, dir, stopped, ips: Vec::new() };
        machine.start(backend, fake);
        machine
    }

    /// Runs the agent on the host's thread until it is stopped.
    fn start(&mut self, backend: &str, fake: &FakeClient) {
        let (up, ready) = channel();
        let (down, stopped) = channel();
        let stop = CancellationToken::new();
        (self._stop, self.stopped) = (stop.clone().drop_guard(), stopped);
        let (config, fake) = (config(self.n, backend, self.dir.path()), fake.clone());
        let pod = self.pod.path.clone();
        let job = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(agent(config, fake, pod, up, stop));
            drop(down);
        };
        self.host.start(job);
        self.ips = ready.recv_timeout(Duration::from_secs(20)).expect("the agent comes up");
    }

    /// The agent goes; what it made stays.
    fn stop(&mut self) {
        self._stop = CancellationToken::new().drop_guard();
        let _ = self.stopped.recv_timeout(Duration::from_secs(10));
    }

    fn ip(&self, v6: bool) -> String {
        let ip = self.ips.iter().find(|ip| ip.is_ipv6() == v6).unwrap();
        if v6 { format!("[{ip}]") } else { ip.to_string() }
    }
}

async fn agent(
    config: Config,
    fake: FakeClient,
    pod: std::path::PathBuf,
    up: Sender<Vec<IpAddr>>,
    stop: CancellationToken,
) {
    let network = PodNetwork::new(config.clone()).unwrap();
    let nodes = Nodes::start(fake.arc(), &config, stop.clone());
    let (keep, stopped) = (network.clone(), stop.clone());
    let keeping = tokio::spawn(async move { keep.run(nodes, stopped).await });
    network.ready().await;
    let ips =
        network.setup(&PodRef { uid: format!("{}0d", config.node_name), ..PodRef::default() }, &pod).await.unwrap();
    let services = Services::start(fake.arc(), stop.clone());
    let proxy = Proxy::new(config, services, network.host_ports());
    let mut synced = proxy.synced();
    tokio::join!(proxy.run(stop), async move {
        synced.wait_for(|s| *s).await.unwrap();
        up.send(ips).unwrap();
    });
    keeping.await.unwrap();
}

fn cluster(backend: &str) -> (Lan, FakeClient, Vec<Machine>) {
    let (lan, fake) = (Lan::new(), FakeClient::new());
    for n in 1..=3 {
        fake.seed(Node::gvr(), node(n));
    }
    let machines = (1..=3).map(|n| Machine::new(&lan, n, backend, &fake)).collect();
    (lan, fake, machines)
}

/// A NodePort service of both families.
fn serve(fake: &FakeClient, name: &str, ip: u8, node_port: u16, policy: &str, endpoints: &[&Machine]) {
    let (v4, v6) = (format!("10.43.0.{ip}"), format!("fd43::{ip}"));
    fake.seed(
        Service::gvr(),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "NodePort", "clusterIP": v4, "clusterIPs": [v4, v6], "externalTrafficPolicy": policy,
                "ports": [{"port": 80, "nodePort": node_port, "protocol": "TCP", "targetPort": 8080}]}}),
    );
    for (family, v6) in [("IPv4", false), ("IPv6", true)] {
        let of = |m: &&Machine| {
            let ip = m.ip(v6).trim_matches(['[', ']']).to_owned();
            json!({"addresses": [ip], "nodeName": format!("n{}", m.n), "conditions": {"ready": true}})
        };
        fake.seed(
            EndpointSlice::gvr(),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                "metadata": {"name": format!("{name}-{}", family.to_lowercase()), "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"port": 8080, "protocol": "TCP"}],
                "endpoints": endpoints.iter().map(of).collect::<Vec<_>>()}),
        );
    }
}

/// Each pod and each node reaches each pod, in both families; what source it shows is `host(n)`'s.
fn all_reach_all(machines: &[Machine], host: impl Fn(u8, bool) -> String) {
    for v6 in [false, true] {
        for from in machines {
            for to in machines.iter().filter(|to| to.n != from.n) {
                let target = format!("{}:8080", to.ip(v6));
                let plain = |ip: String| ip.trim_matches(['[', ']']).to_owned();
                let got = eventually("pod → pod on another node", || from.pod.ask(&target));
                assert_eq!(got, plain(from.ip(v6)), "n{} → {target}: a pod keeps its source", from.n);
                let got = eventually("host → pod on another node", || from.host.ask(&target));
                assert_eq!(got, host(from.n, v6), "n{} → {target}", from.n);
            }
        }
    }
}

fn services(lan: &Lan, fake: &FakeClient, machines: &[Machine]) {
    let [n1, n2, n3] = machines else { unreachable!("three machines") };
    serve(fake, "web", 9, 30080, "Cluster", &[n2]);
    serve(fake, "local", 10, 30081, "Local", &[n2]);
    for m in [n1, n2, n3] {
        for to in ["10.43.0.9:80", "[fd43::9]:80", "10.43.0.10:80", "[fd43::10]:80"] {
            let source = eventually("pod → ClusterIP", || m.pod.ask(to));
            // a pod that reaches itself sees its gateway
            assert!(m.n == 2 || m.ips.iter().any(|ip| ip.to_string() == source), "n{} → {to}: {source}", m.n);
            eventually("host → ClusterIP", || m.host.ask(to));
        }
        eventually("host → NodePort on loopback", || m.host.ask("127.0.0.1:30080"));
        for node in [format!("192.0.2.{}", m.n), format!("[2001:db8::{}]", m.n)] {
            eventually("outside → NodePort", || lan.0.ask(&format!("{node}:30080")));
            eventually("pod → NodePort", || n3.pod.ask(&format!("{node}:30080")));
        }
    }
    let outside = Some("192.0.2.254".to_owned());
    assert_eq!(lan.0.ask("192.0.2.2:30081"), outside, "`Local` keeps the source");
    assert_eq!(lan.0.ask("[2001:db8::2]:30081").as_deref(), Some("2001:db8::fe"));
    assert_eq!(lan.0.ask("192.0.2.1:30081"), None, "and a node without an endpoint drops");
    assert!(n1.host.ask("192.0.2.1:30081").is_some(), "but not what is inside the cluster");
    assert!(n1.pod.ask("192.0.2.1:30081").is_some(), "but not what is inside the cluster");
    assert_eq!(n1.pod.ask("192.0.2.254:7000").as_deref(), Some("192.0.2.1"), "pod → outside by the node's address");
    assert_eq!(n1.pod.ask("[2001:db8::fe]:7000").as_deref(), Some("2001:db8::1"));
}

fn mtu(machine: &Machine) -> String {
    let text = machine.pod.ip("-o link show eth0");
    text.split(" mtu ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn through_the_tunnel() {
    let (lan, fake, mut machines) = cluster("vxlan");
    let host = |n: u8, v6| if v6 { format!("fd42::{n}:ffff:ffff:ffff:ffff") } else { format!("10.42.{n}.0") };
    all_reach_all(&machines, host);
    assert_eq!(mtu(&machines[0]), "1450");
    services(&lan, &fake, &machines);

    // the agent restarts: what is there is adopted
    let before = machines[0].host.ip("-o link show skiff0vx");
    let routes = machines[0].host.ip("route show");
    machines[0].stop();
    assert!(machines[0].pod.ask(&format!("{}:8080", machines[1].ip(false))).is_some(), "it works without the agent");
    machines[0].start("vxlan", &fake);
    assert_eq!(machines[0].host.ip("-o link show skiff0vx"), before);
    assert_eq!(machines[0].host.ip("route show"), routes);
    all_reach_all(&machines, host);

    // a pod that an earlier version made: a port of the bridge
    machines[1].stop();
    let links = machines[1].host.ip("-o link show");
    let veth =
        links.split_whitespace().find_map(|w| Some(w.split_once('@')?.0).filter(|n| n.starts_with("sk"))).unwrap();
    machines[1].host.ip(&format!("link set {veth} master skiff0"));
    for ip in [false, true].map(|v6| machines[1].ip(v6)) {
        let ip = ip.trim_matches(['[', ']']);
        machines[1].host.ip(&format!("route del {ip} dev {veth}"));
        machines[1].host.ip(&format!("neigh del {ip} dev {veth}"));
    }
    machines[1].start("vxlan", &fake);
    assert!(!machines[1].host.ip("route show").contains(veth));
    all_reach_all(&machines, host);

    // the link goes and comes back: routes that went with it come back too
    machines[0].host.ip("link set skiff0vx down");
    machines[0].host.ip("link set skiff0vx up");
    all_reach_all(&machines, host);

    // a node gets another address, and goes
    let gone = |what: &str| {
        eventually(what, || {
            let fdb = machines[0].host.ip("neigh show dev skiff0vx");
            let routes = machines[0].host.ip("route show") + &machines[0].host.ip("-6 route show");
            (!fdb.contains("10.42.3.0") && !routes.contains("10.42.3.0/24") && !routes.contains("fd42:0:0:3::/64"))
                .then_some(())
        });
    };
    fake.edit(&Node::gvr(), "", "n3", |n| n["status"]["addresses"][0]["address"] = json!("192.0.2.33"));
    machines[2].host.ip("addr add 192.0.2.33/24 dev up3");
    let target = format!("{}:8080", machines[2].ip(false));
    eventually("the node's new address", || machines[0].pod.ask(&target));
    fake.remove(&Node::gvr(), "", "n3");
    gone("the node's entries go with it");
    assert!(machines[0].pod.ask(&format!("{}:8080", machines[1].ip(false))).is_some());

    // nothing is left
    machines.iter_mut().for_each(Machine::stop);
    for m in &machines {
        m.host.beside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(network::teardown("skiff0", "skiff")).unwrap();
        });
        assert!(!m.host.ip("link show").contains(": sk") && !m.host.ip("route show").contains("10.42"));
    }
}

#[test]
fn through_a_tunnel_of_ipv6() {
    let (_lan, _, machines) = cluster("vxlan over IPv6");
    all_reach_all(
        &machines,
        |n, v6| if v6 { format!("fd42::{n}:ffff:ffff:ffff:ffff") } else { format!("10.42.{n}.0") },
    );
    assert_eq!(mtu(&machines[0]), "1430");
    assert!(machines[0].host.ip("-d link show skiff0vx").contains("local 2001:db8::1"));
}

#[test]
fn by_plain_routes() {
    let (lan, fake, machines) = cluster("host-gw");
    all_reach_all(&machines, |n, v6| if v6 { format!("2001:db8::{n}") } else { format!("192.0.2.{n}") });
    assert_eq!(mtu(&machines[0]), "1500");
    services(&lan, &fake, &machines);

    // an unplugged cable takes the routes with it
    machines[0].host.ip("link set up1 down");
    machines[0].host.ip("link set up1 up");
    machines[0].host.ip("addr replace 2001:db8::1/64 dev up1 nodad");
    let target = format!("{}:8080", machines[1].ip(false));
    eventually("reached again", || machines[0].pod.ask(&target));
}
