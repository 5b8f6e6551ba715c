//! Services whose endpoints somebody else writes, mirrors, ports of the machine, the way through the API server. The servers are
//! in this process: it is where the node is.

use std::time::Duration;

use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{is_ready, pod};
use tests::{Cx, SOON, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::crud::names;

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(Node: endpoints_by_hand, one_port_two_protocols, host_ports, proxies, the_servers_own);
    all.extend(crate::trials!(ControlPlane: endpoints_of_nobody, mirrors));
    all
}

const NODE: &str = "192.0.2.10";

/// Says this to everybody, with what it was asked.
async fn tcp(says: &'static str) -> u16 {
    let listener = TcpListener::bind((NODE, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let n = stream.read(&mut asked).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&asked[..n]).lines().next().unwrap_or_default().to_owned();
                let body = if line.starts_with("HEAD") { String::new() } else { format!("{says} {line}") };
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            });
        }
    });
    port
}

/// The body of what is served there.
async fn get(address: &str) -> Result<String, String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    match tokio::time::timeout(Duration::from_secs(2), ask).await {
        Ok(Ok(text)) if text.contains(" 200 ") => Ok(text.rsplit("\r\n").next().unwrap_or_default().to_owned()),
        other => Err(format!("{address}: {other:?}")),
    }
}

async fn answers(address: &str, wanted: &str) {
    until(&format!("{address} answers {wanted}"), SOON, async || match get(address).await {
        Ok(said) if said.starts_with(wanted) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn service(cx: &Cx, ports: Value, more: Value) -> String {
    let mut s = json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    tests::pods::merge(&mut s["spec"], more);
    let made = cx.api.post(&cx.core("services"), s).await;
    made["spec"]["clusterIP"].as_str().expect("an address").to_owned()
}

async fn slice(cx: &Cx, name: &str, port: Value, address: &str) {
    let tree = json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "ports": [port], "endpoints": [{"addresses": [address]}]});
    cx.api.post(&cx.of("discovery.k8s.io/v1", "endpointslices"), tree).await;
}

/// A service without a selector, of several slices: one address with two ports, then an address for each.
async fn endpoints_by_hand(cx: Cx) {
    let (one, two) = (tcp("one").await, tcp("two").await);
    let ip = service(&cx, json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]), json!({})).await;
    slice(&cx, "first", json!({"name": "a", "port": one}), NODE).await;
    slice(&cx, "second", json!({"name": "b", "port": two}), NODE).await;
    answers(&format!("{ip}:80"), "one").await;
    answers(&format!("{ip}:81"), "two").await;
    // the second's endpoint is a pod now, which listens on a port of its own
    let made = cx.ready_pod(pod("p", "echo pod > /www/index.html; exec httpd -f -p 8080 -h /www", json!({}))).await;
    cx.api.delete(&cx.of("discovery.k8s.io/v1", "endpointslices/second")).await;
    slice(&cx, "third", json!({"name": "b", "port": 8080}), made["status"]["podIP"].as_str().expect("an address"))
        .await;
    answers(&format!("{ip}:81"), "pod").await;
    answers(&format!("{ip}:80"), "one").await;
}

async fn one_port_two_protocols(cx: Cx) {
    let port = tcp("tcp").await;
    let socket = UdpSocket::bind((NODE, port)).await.expect("the same port");
    tokio::spawn(async move {
        let mut bytes = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut bytes).await {
            let _ = socket.send_to(b"udp", from).await;
        }
    });
    let both = json!([{"name": "t", "port": 80, "protocol": "TCP"}, {"name": "u", "port": 80, "protocol": "UDP"}]);
    let ip = service(&cx, both.clone(), json!({})).await;
    slice(&cx, "t", json!({"name": "t", "port": port}), NODE).await;
    slice(&cx, "u", json!({"name": "u", "port": port, "protocol": "UDP"}), NODE).await;
    let datagram = async || {
        let socket = UdpSocket::bind((NODE, 0)).await.map_err(|e| e.to_string())?;
        socket.connect((ip.as_str(), 80)).await.map_err(|e| e.to_string())?;
        socket.send(b"?").await.map_err(|e| e.to_string())?;
        let mut bytes = [0; 64];
        let n = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut bytes)).await;
        let n = n.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        if bytes[..n] == *b"udp" { Ok(()) } else { Err(format!("{bytes:?}")) }
    };
    let refused = async || match datagram().await {
        Err(_) => Ok(()),
        Ok(()) => Err("answers still".to_owned()),
    };
    let address = format!("{ip}:80");
    answers(&address, "tcp").await;
    until("both answer", SOON, datagram).await;
    let only = |i: usize| json!({"spec": {"ports": [both[i]]}});
    cx.api.merge(&cx.core("services/s"), only(0)).await;
    until("only TCP does", SOON, refused).await;
    answers(&address, "tcp").await;
    cx.api.merge(&cx.core("services/s"), only(1)).await;
    until("only UDP does", SOON, datagram).await;
    until("TCP does no more", SOON, async || get(&address).await.map_or(Ok(()), Err)).await;
}

/// One port of the machine for several pods, of other addresses or protocols.
async fn host_ports(cx: Cx) {
    let on = |name: &str, port: Value| {
        let script = format!("echo {name} > /www/index.html; exec httpd -f -p 8080 -h /www");
        let mut p = pod(name, &script, json!({}));
        p["spec"]["containers"][0]["ports"] = json!([port]);
        p
    };
    for (name, ip, protocol) in [("a", "127.0.0.1", "TCP"), ("b", NODE, "TCP"), ("c", NODE, "UDP")] {
        cx.create_pod(on(name, json!({"containerPort": 8080, "hostPort": 18099, "hostIP": ip, "protocol": protocol})))
            .await;
    }
    for name in ["a", "b", "c"] {
        cx.pod_when("is ready", name, is_ready).await;
    }
    answers("127.0.0.1:18099", "a").await;
    answers(&format!("{NODE}:18099"), "b").await;
    // all addresses are more than one of them
    cx.create_pod(on("d", json!({"containerPort": 8080, "hostPort": 18099}))).await;
    let told = |p: &Value| p["status"]["conditions"][0]["message"].as_str().is_some_and(|m| m.contains("free ports"));
    cx.pod_when("has no place", "d", told).await;
}

/// With every method, to a pod and to a service, with a path and without.
async fn proxies(cx: Cx) {
    let port = tcp("served").await;
    cx.ready_pod(pod("p", "exec sleep 1000", json!({"hostNetwork": true}))).await;
    service(&cx, json!([{"name": "web", "port": 80}]), json!({})).await;
    slice(&cx, "s", json!({"name": "web", "port": port}), NODE).await;
    for place in [format!("pods/p:{port}/proxy"), "services/s:web/proxy".into(), "services/http:s:80/proxy".into()] {
        for path in ["", "/", "/some/path/with/http?method=x&a=b"] {
            let at = cx.core(&format!("{place}{path}"));
            let arrives = if path.is_empty() { "/" } else { path };
            for method in ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "HEAD"] {
                // where there is no slash, who reads is sent to where it is
                if path.is_empty() && ["GET", "HEAD"].contains(&method) {
                    let sent = cx
                        .api
                        .send(Method::from_bytes(method.as_bytes()).expect("a method"), &at, "text/plain", Vec::new())
                        .await;
                    assert!([200, 301].contains(&sent.status().as_u16()), "{method} {at}: {}", sent.status());
                    continue;
                }
                let wanted =
                    if method == "HEAD" { String::new() } else { format!("served {method} {arrives} HTTP/1.1") };
                until(&format!("{method} {at}"), SOON, async || {
                    let method = Method::from_bytes(method.as_bytes()).expect("a method");
                    let reply = cx.api.raw(method, &at, "text/plain", Vec::new()).await;
                    if reply.code == 200 && reply.body.as_str() == Some(&wanted) {
                        Ok(())
                    } else {
                        Err(format!("{reply:?}"))
                    }
                })
                .await;
            }
        }
    }
}

/// `kubernetes` in `default` has the API server's address, in both forms.
async fn the_servers_own(cx: Cx) {
    let endpoints = cx.api.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    let (ip, port) = (&endpoints["subsets"][0]["addresses"][0]["ip"], &endpoints["subsets"][0]["ports"][0]["port"]);
    assert_eq!((ip, port), (&json!(NODE), &json!(6443)));
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dkubernetes";
    let slices = cx.api.get(slices).await;
    let slice = &slices["items"][0];
    assert_eq!((&slice["endpoints"][0]["addresses"][0], &slice["ports"][0]["port"]), (ip, port));
}

fn count(list: &Value) -> usize {
    list["items"].as_array().into_iter().flatten().map(|s| s["endpoints"].as_array().map_or(0, Vec::len)).sum()
}

/// They come and go with their service, and with its pods.
async fn endpoints_of_nobody(cx: Cx) {
    let slices = cx.of("discovery.k8s.io/v1", "endpointslices?labelSelector=kubernetes.io/service-name%3Ds");
    service(&cx, json!([{"name": "web", "port": 80}]), json!({"selector": {"a": "b"}})).await;
    let empty = |l: &Value| names(l).len() == 1 && count(l) == 0;
    let seen = cx.api.wait("is empty", &slices, SOON, empty).await;
    assert_eq!(
        seen["items"][0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    let at = cx.core("endpoints/s");
    cx.api.wait("is empty, too", &at, SOON, |e| e["subsets"].is_null()).await;
    let pod =
        json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    // as its kubelet would
    let running = json!({"status": {"phase": "Running", "podIP": "10.42.9.9", "podIPs": [{"ip": "10.42.9.9"}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    cx.api.merge(&cx.core("pods/p/status"), running).await;
    let has = |l: &Value| l["items"][0]["endpoints"][0]["addresses"][0] == "10.42.9.9";
    let seen = cx.api.wait("has the pod", &slices, SOON, has).await;
    assert_eq!(seen["items"][0]["endpoints"][0]["targetRef"]["name"], "p");
    cx.api.wait("has it, too", &at, SOON, |e| e["subsets"][0]["addresses"][0]["ip"] == "10.42.9.9").await;
    cx.api.delete(&cx.core("pods/p")).await;
    cx.api.wait("has it no more", &slices, SOON, empty).await;
    cx.api.delete(&cx.core("services/s")).await;
    cx.api.gone(&at, SOON).await;
    cx.api.wait("is gone", &slices, SOON, |l| names(l).is_empty()).await;
}

/// Endpoints that somebody writes are seen as slices.
async fn mirrors(cx: Cx) {
    service(&cx, json!([{"name": "web", "port": 80}]), json!({})).await;
    let slices = cx.of("discovery.k8s.io/v1", "endpointslices?labelSelector=kubernetes.io/service-name%3Ds");
    let subsets = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "web", "port": 80}]}]);
    let at = cx.core("endpoints/s");
    cx.api.post(&cx.core("endpoints"), json!({"metadata": {"name": "s"}, "subsets": subsets("10.1.2.3")})).await;
    let has = |ip: &'static str| {
        move |l: &Value| names(l).len() == 1 && l["items"][0]["endpoints"][0]["addresses"] == json!([ip])
    };
    let seen = cx.api.wait("is mirrored", &slices, SOON, has("10.1.2.3")).await;
    let labels = &seen["items"][0]["metadata"]["labels"];
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslicemirroring-controller.k8s.io");
    cx.api.merge(&at, json!({"subsets": subsets("10.2.3.4")})).await;
    cx.api.wait("follows", &slices, SOON, has("10.2.3.4")).await;
    cx.api.delete(&at).await;
    cx.api.wait("is gone", &slices, SOON, |l| names(l).is_empty()).await;
}
