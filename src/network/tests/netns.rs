//! The whole room in network namespaces of its own: two pods, a service, NodePort, DNS. Needs root and `nft`.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use api::Resource;
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::fake::FakeClient;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use network::{Config, HostPortRequest, PodNetwork, PodRef, Services, dns::Dns, proxy::Proxy};
use serde_json::json;
use support::{Namespace, ask, eventually};
use tokio_util::sync::CancellationToken;

fn config(dir: &std::path::Path) -> Config {
    Config {
        node_name: "n".into(),
        state_dir: dir.into(),
        bridge: "skiff0".into(),
        table: "skiff".into(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        cluster_dns: Some("10.43.0.10".parse().unwrap()),
        cluster_domain: "cluster.local".into(),
        ..Config::default()
    }
}

fn seed(fake: &FakeClient, endpoints: &[IpAddr]) {
    fake.seed(
        Service::gvr(),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
                "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 8080}]}}),
    );
    let endpoints: Vec<_> =
        endpoints.iter().map(|ip| json!({"addresses": [ip], "nodeName": "n", "conditions": {"ready": true}})).collect();
    fake.seed(
        EndpointSlice::gvr(),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints}),
    );
}

fn query(server: SocketAddr, name: &str, kind: RecordType) -> Vec<String> {
    let mut m = Message::query();
    m.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&m.to_vec().unwrap(), server).unwrap();
    let mut buffer = [0; 1500];
    let n = socket.recv(&mut buffer).expect("an answer");
    let answer = Message::from_vec(&buffer[..n]).unwrap();
    answer.answers.iter().map(|r| r.data.to_string()).collect()
}

#[test]
fn pods_services_and_names_are_reached_from_everywhere() {
    let host = Namespace::new();
    let (a, b) = (Namespace::new(), Namespace::new());
    let (a_path, b_path) = (a.path.clone(), b.path.clone());
    // the agent: everything that runs in the host's namespace, on one thread
    let (up, ready) = channel();
    let stop = CancellationToken::new();
    // also when an assertion fails, before the namespaces wait for their threads
    let _stop = stop.clone().drop_guard();
    let stopped = stop.clone();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_owned();
    let fake = FakeClient::new();
    let fake2 = fake.clone();
    host.start(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let config = config(&state);
            // a machine has its loopback up
            let (connection, netlink, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            netlink.link().set(rtnetlink::LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
            let network = PodNetwork::new(config.clone()).unwrap();
            let cidr = "10.42.3.0/24".parse().unwrap();
            network.start(&[cidr]).await.unwrap();
            network.start(&[cidr]).await.expect("starting again adopts what is there");
            let pod = |uid: &str| PodRef { uid: uid.into(), name: uid.into(), ..PodRef::default() };
            let mut second = pod("b0b");
            second.host_ports =
                vec![HostPortRequest { protocol: "tcp".into(), host_port: 8081, container_port: 8080, host_ip: None }];
            let ip_a = network.setup(&pod("a0a"), &a_path).await.unwrap()[0];
            let ip_b = network.setup(&second, &b_path).await.unwrap()[0];
            assert_eq!(network.setup(&pod("a0a"), &a_path).await.unwrap()[0], ip_a);
            seed(&fake2, &[ip_b]);
            let services = Services::start(fake2.arc(), stopped.clone());
            let dns = Dns::bind(&config, "10.43.0.10".parse().unwrap(), 53, services.clone(), "/nonexistent".into());
            let dns = dns.await.unwrap();
            let proxy = Arc::new(Proxy::new(config.clone(), services, network.host_ports()));
            let mut synced = proxy.synced();
            let running = proxy.clone();
            let proxying = tokio::spawn({
                let stopped = stopped.clone();
                async move { running.run(stopped).await }
            });
            synced.wait_for(|s| *s).await.unwrap();
            up.send((ip_a, ip_b)).unwrap();
            dns.run(stopped).await;
            proxying.await.unwrap();
            network.teardown("a0a").await.unwrap();
            network.teardown("b0b").await.unwrap();
            network::teardown("skiff0", "skiff").await.unwrap();
        })
    });
    let (ip_a, ip_b) = ready.recv_timeout(Duration::from_secs(20)).expect("the agent comes up");
    b.serve(8080);

    let from_host = |to: &str| host.ask(to);
    let a_s = Some(ip_a.to_string());
    let direct = format!("{ip_b}:8080");
    assert_eq!(a.run(move || ask(&direct)), a_s, "pod → pod keeps its source");
    assert_eq!(a.run(|| ask("10.43.0.9:80")), a_s, "pod → service → pod keeps its source");
    assert!(b.run(|| ask("10.43.0.9:80")).is_some(), "pod → itself through its service");
    assert!(from_host(&format!("{ip_b}:8080")).is_some(), "host → pod");
    assert!(from_host("10.43.0.9:80").is_some(), "host → service");
    assert!(from_host("127.0.0.1:30080").is_some(), "host → NodePort on loopback");
    assert!(from_host("10.42.3.1:30080").is_some(), "host → NodePort on its address");
    assert!(a.run(|| ask("10.42.3.1:30080")).is_some(), "pod → NodePort");
    assert!(from_host("127.0.0.1:8081").is_some(), "host → hostPort");

    let server: SocketAddr = "10.43.0.10:53".parse().unwrap();
    let lookup = |name: &'static str, kind| a.run(move || query(server, name, kind));
    assert_eq!(lookup("web.default.svc.cluster.local.", RecordType::A), ["10.43.0.9"]);
    assert_eq!(lookup("WEB.default.svc.cluster.local.", RecordType::A), ["10.43.0.9"]);
    assert_eq!(lookup("9.0.43.10.in-addr.arpa.", RecordType::PTR), ["web.default.svc.cluster.local."]);
    assert_eq!(
        lookup("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV),
        ["0 100 80 web.default.svc.cluster.local."]
    );
    assert!(lookup("nobody.default.svc.cluster.local.", RecordType::A).is_empty());

    // the endpoint goes: the service is refused at once, and comes back with it
    fake.edit(&EndpointSlice::gvr(), "default", "web-1", |t| t["endpoints"] = json!([]));
    eventually("refused without endpoints", || a.run(|| ask("10.43.0.9:80")).is_none().then_some(()));
    seed_endpoint(&fake, ip_b);
    eventually("served again", || a.run(|| ask("10.43.0.9:80")));

    // a client that goes on sending follows its service to another endpoint
    b.serve_datagrams(5353);
    b.serve_datagrams(5354);
    seed_datagrams(&fake, ip_b, 5353);
    let client = a.beside(|| std::net::UdpSocket::bind("0.0.0.0:4444").unwrap());
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let call = || {
        let mut buffer = [0; 10];
        client.send_to(b"?", "10.43.0.8:53").ok()?;
        client.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
    };
    eventually("the first endpoint", || call().filter(|p| p == "5353"));
    seed_datagrams(&fake, ip_b, 5354);
    eventually("the second endpoint", || call().filter(|p| p == "5354"));

    // somebody clears the machine's firewall
    host.run_program("nft", "flush ruleset");
    eventually("served again", || a.run(|| ask("10.43.0.9:80")));
    stop.cancel();
}

fn seed_datagrams(fake: &FakeClient, ip: IpAddr, port: u16) {
    fake.seed(
        Service::gvr(),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "names", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.8", "clusterIPs": ["10.43.0.8"], "ports": [{"port": 53, "protocol": "UDP"}]}}),
    );
    fake.seed(
        EndpointSlice::gvr(),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "names-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "names"}},
            "ports": [{"port": port, "protocol": "UDP"}],
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}]}),
    );
}

fn seed_endpoint(fake: &FakeClient, ip: IpAddr) {
    fake.edit(&EndpointSlice::gvr(), "default", "web-1", |t| {
        t["endpoints"] = json!([{"addresses": [ip], "nodeName": "n", "conditions": {"ready": true}}]);
    });
}

#[test]
fn without_nf_tables_the_process_forwards() {
    let (host, a, b) = (Namespace::new(), Namespace::new(), Namespace::new());
    let (a_path, b_path) = (a.path.clone(), b.path.clone());
    let (up, ready) = channel();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let fake = FakeClient::new();
    let (dir, client, stopped) = (tempfile::tempdir().unwrap(), fake.arc(), stop.clone());
    let config = config(dir.path());
    host.ip("link set lo up");
    host.start(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let network = PodNetwork::new(config.clone()).unwrap();
            network.start(&["10.42.3.0/24".parse().unwrap()]).await.unwrap();
            let pod = |uid: &str| PodRef { uid: uid.into(), ..PodRef::default() };
            network.setup(&pod("a0a"), &a_path).await.unwrap();
            let ip_b = network.setup(&pod("b0b"), &b_path).await.unwrap()[0];
            let services = Services::start(client, stopped.clone());
            let proxy = Proxy::new(config, services, network.host_ports()).in_userspace();
            up.send(ip_b).unwrap();
            proxy.run(stopped).await;
        });
    });
    let ip_b = ready.recv_timeout(Duration::from_secs(20)).expect("the agent comes up");
    b.serve(8080);
    seed(&fake, &[ip_b]);
    eventually("pod → ClusterIP", || a.ask("10.43.0.9:80"));
    assert!(b.ask("10.43.0.9:80").is_some(), "pod → itself through its service");
    assert!(host.ask("10.43.0.9:80").is_some(), "host → ClusterIP");
    assert!(host.ask("127.0.0.1:30080").is_some(), "host → NodePort");
    assert!(a.ask("10.42.3.1:30080").is_some(), "pod → NodePort");
    assert!(host.ip("addr show skiff0").contains("10.43.0.9/32"));
    fake.edit(&EndpointSlice::gvr(), "default", "web-1", |t| t["endpoints"] = json!([]));
    eventually("refused without endpoints", || a.ask("10.43.0.9:80").is_none().then_some(()));
    eventually("its address is gone", || (!host.ip("addr show skiff0").contains("10.43.0.9")).then_some(()));
}
