//! Services and names, from inside pods and from the machine.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::pods::pod;
use tests::{Cx, SOON, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: cluster_ip, node_port, affinity, headless, names, through_itself, api_from_a_pod, host_network)
}

/// `n` web servers that tell their names, behind Service `s` on port 80.
async fn web(cx: &Cx, n: usize, service: Value) -> Value {
    for i in 0..n {
        let mut p = pod(&format!("web{i}"), "hostname > /www/index.html; exec httpd -f -p 8080 -h /www", json!({}));
        p["metadata"]["labels"] = json!({"app": "web"});
        p["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
        cx.create_pod(p).await;
    }
    let mut s = json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    tests::pods::merge(&mut s["spec"], service);
    let made = cx.api.post(&cx.core("services"), s).await;
    for i in 0..n {
        cx.pod_when("is ready", &format!("web{i}"), tests::pods::is_ready).await;
    }
    made
}

async fn client(cx: &Cx) {
    cx.ready_pod(pod("client", "exec sleep 1000", json!({}))).await;
}

/// All names that answer there, once there are `n`: a connection at a time.
async fn answers(cx: &Cx, url: &str, n: usize) -> BTreeSet<String> {
    let script = format!("for i in 1 2 3 4 5 6 7 8; do timeout 3 wget -qO- {url} || exit 1; done");
    let seen = Mutex::new(BTreeSet::new());
    until(&format!("{n} answer at {url}"), SOON, async || {
        let done = cx.exec("client", &["sh", "-c", &script]).await;
        let mut seen = seen.lock();
        seen.extend(done.out.lines().map(str::to_owned));
        if done.code == 0 && seen.len() >= n { Ok(()) } else { Err(format!("{seen:?} {done:?}")) }
    })
    .await;
    seen.into_inner()
}

async fn cluster_ip(cx: Cx) {
    let s = web(&cx, 2, json!({})).await;
    client(&cx).await;
    let ip = s["spec"]["clusterIP"].as_str().expect("one").to_owned();
    assert!(ip.starts_with("10.43."), "{ip}");
    assert_eq!(answers(&cx, &format!("http://{ip}/"), 2).await.len(), 2, "the load is shared");
    // from the machine too
    until("the machine reaches it", SOON, async || get(&format!("{ip}:80")).await).await;
    // who goes gets no more
    cx.api.delete(&cx.core("pods/web0")).await;
    cx.api.gone(&cx.core("pods/web0"), SOON).await;
    let left = until("one is left", SOON, async || {
        let seen = answers(&cx, &format!("http://{ip}/"), 1).await;
        if seen.len() == 1 { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(left.into_iter().collect::<Vec<_>>(), ["web1"]);
    // none at all is refused, not waited for
    cx.api.delete(&cx.core("pods/web1")).await;
    until("it is refused", SOON, async || match tokio::net::TcpStream::connect(format!("{ip}:80")).await {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// An HTTP answer's body, asked from this machine.
async fn get(address: &str) -> Result<String, String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    match tokio::time::timeout(std::time::Duration::from_secs(3), ask).await {
        Ok(Ok(text)) if text.contains(" 200 ") => Ok(text.rsplit("\r\n").next().unwrap_or_default().trim().to_owned()),
        other => Err(format!("{address}: {other:?}")),
    }
}

async fn node_port(cx: Cx) {
    let s = web(&cx, 1, json!({"type": "NodePort"})).await;
    let port = s["spec"]["ports"][0]["nodePort"].as_u64().expect("one");
    assert!((30000..=32767).contains(&port));
    for host in ["127.0.0.1", "192.0.2.10"] {
        let who = until(&format!("{host} answers"), SOON, async || get(&format!("{host}:{port}")).await).await;
        assert_eq!(who, "web0");
    }
    cx.api.delete(&cx.core("services/s")).await;
    until("the port is free", SOON, async || match get(&format!("127.0.0.1:{port}")).await {
        Err(_) => Ok(()),
        Ok(who) => Err(who),
    })
    .await;
}

async fn affinity(cx: Cx) {
    let s = web(&cx, 3, json!({"sessionAffinity": "ClientIP"})).await;
    client(&cx).await;
    let ip = s["spec"]["clusterIP"].as_str().expect("one").to_owned();
    let mut seen = answers(&cx, &format!("http://{ip}/"), 1).await;
    seen.extend(answers(&cx, &format!("http://{ip}/"), 1).await);
    assert_eq!(seen.len(), 1, "a client stays with its server: {seen:?}");
}

async fn headless(cx: Cx) {
    web(&cx, 2, json!({"clusterIP": "None"})).await;
    client(&cx).await;
    let mut ips = BTreeSet::new();
    for i in 0..2 {
        ips.insert(cx.api.get(&cx.core(&format!("pods/web{i}"))).await["status"]["podIP"].as_str().unwrap().to_owned());
    }
    let is = |out: &str| ips.iter().all(|ip| out.contains(ip.as_str()));
    cx.sh_until("client", &format!("nslookup s.{}.svc.cluster.local", cx.ns), SOON, is).await;
    assert_eq!(answers(&cx, "http://s:8080/", 1).await.len(), 1);
}

async fn names(cx: Cx) {
    let s = web(&cx, 1, json!({})).await;
    client(&cx).await;
    let ip = s["spec"]["clusterIP"].as_str().expect("one").to_owned();
    let resolv = cx.sh("client", "cat /etc/resolv.conf").await;
    let search = format!("search {0}.svc.cluster.local svc.cluster.local cluster.local", cx.ns);
    assert!(
        resolv.contains("nameserver 10.43.0.10") && resolv.contains(&search) && resolv.contains("ndots:5"),
        "{resolv}"
    );
    for name in
        ["s".into(), format!("s.{}", cx.ns), format!("s.{}.svc", cx.ns), format!("s.{}.svc.cluster.local", cx.ns)]
    {
        assert_eq!(
            answers(&cx, &format!("http://{name}/"), 1).await.into_iter().collect::<Vec<_>>(),
            ["web0"],
            "{name}"
        );
    }
    let full = format!("s.{}.svc.cluster.local", cx.ns);
    cx.sh_until("client", &format!("nslookup {ip}"), SOON, |out| out.contains(&full)).await;
    let kubernetes = cx.sh("client", "nslookup kubernetes.default.svc.cluster.local").await;
    assert!(kubernetes.contains("10.43.0.1"), "{kubernetes}");
    let none = cx.exec("client", &["nslookup", &format!("none.{}.svc.cluster.local", cx.ns)]).await;
    assert!(none.code != 0 && format!("{none:?}").contains("NXDOMAIN"), "{none:?}");
    cx.api
        .post(
            &cx.core("services"),
            json!({"metadata": {"name": "out"}, "spec": {"type": "ExternalName", "externalName": full}}),
        )
        .await;
    cx.sh_until("client", &format!("nslookup out.{}.svc.cluster.local", cx.ns), SOON, |out| out.contains(&ip)).await;
}

async fn through_itself(cx: Cx) {
    let s = web(&cx, 1, json!({})).await;
    let ip = s["spec"]["clusterIP"].as_str().expect("one");
    cx.sh_until("web0", &format!("timeout 3 wget -qO- http://{ip}/"), SOON, |out| out == "web0").await;
}

async fn api_from_a_pod(cx: Cx) {
    // busybox's wget speaks no TLS that is checked: a connection is enough
    let script = "nc -w 3 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && echo reached";
    client(&cx).await;
    cx.sh_until("client", script, SOON, |out| out.contains("reached")).await;
    let pod = cx.api.get(&cx.core("pods/client")).await;
    assert!(pod["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.42.")), "{pod}");
}

async fn host_network(cx: Cx) {
    cx.ready_pod(pod("p", "echo host > /www/index.html; exec httpd -f -p 18080 -h /www", json!({"hostNetwork": true})))
        .await;
    until("it listens on the machine", SOON, async || get("127.0.0.1:18080").await).await;
    let seen = cx.api.get(&cx.core("pods/p")).await;
    assert_eq!(seen["status"]["podIP"], "192.0.2.10");
    let mut ports = pod("ports", "echo mapped > /www/index.html; exec httpd -f -p 80 -h /www", json!({}));
    ports["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 18081}]);
    cx.ready_pod(ports).await;
    assert_eq!(until("its port is mapped", SOON, async || get("192.0.2.10:18081").await).await, "mapped");
}
