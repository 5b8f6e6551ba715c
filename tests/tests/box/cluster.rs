//! Several machines: a server and agents that joined it.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::pods::pod;
use tests::{Cluster, Cx};

pub fn trials() -> Vec<Trial> {
    macro_rules! on {
        ($n:literal: $($test:ident),+) => {
            vec![$(tests::cluster::trial($n, concat!(module_path!(), "::", stringify!($test)), $test)),+]
        };
    }
    let mut all = on!(2: pods_reach_each_other);
    all.extend(on!(1: streams_go_down_the_tunnel));
    all
}

/// A web server that says its pod's name.
pub fn page() -> &'static str {
    "mkdir -p /www && hostname > /www/index.html && httpd -f -p 80 -h /www"
}

/// Where a pod must run.
pub fn on_node(node: &str) -> serde_json::Value {
    json!({"nodeSelector": {"kubernetes.io/hostname": node}})
}

async fn pods_reach_each_other(cluster: Arc<Cluster>, cx: Cx) {
    for node in ["n1", "n2", "n3"] {
        let mut p = pod(&format!("web-{node}"), page(), on_node(node));
        p["metadata"]["labels"] = json!({"app": "web"});
        cx.create_pod(p).await;
        cx.create_pod(pod(&format!("cl-{node}"), "sleep 1000", on_node(node))).await;
    }
    let service = json!({"metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let service = cx.api.post(&cx.core("services"), service).await;
    for node in ["n1", "n2", "n3"] {
        cx.pod_when("is ready", &format!("web-{node}"), tests::pods::is_ready).await;
        cx.pod_when("is ready", &format!("cl-{node}"), tests::pods::is_ready).await;
    }
    for from in ["n1", "n2", "n3"] {
        for to in ["n1", "n2", "n3"] {
            let ip = cx.api.get(&cx.core(&format!("pods/web-{to}"))).await["status"]["podIP"].clone();
            let got =
                cx.exec(&format!("cl-{from}"), &["wget", "-qO-", &format!("http://{}", ip.as_str().unwrap())]).await;
            assert_eq!(got.out.trim(), format!("web-{to}"), "{from} → {to}: {got:?}");
        }
        // by name: DNS and the service's address, wherever the endpoint is
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do wget -qO- http://web; done | sort -u | wc -l";
        let got = cx.exec(&format!("cl-{from}"), &["sh", "-c", script]).await;
        assert_eq!(got.out.trim(), "3", "{from}: {got:?}");
    }
    let port = service["spec"]["ports"][0]["nodePort"].as_i64().expect("given one");
    for n in 1..=3 {
        let url = format!("http://{}:{port}", tests::Lan::address(n));
        let got = tests::machine::succeed(cluster.server.command("curl").args(["-sf", "-m", "5", &url]));
        assert!(got.starts_with("web-"), "{url}: {got}");
    }
}

async fn streams_go_down_the_tunnel(_: Arc<Cluster>, cx: Cx) {
    cx.ready_pod(pod("p", "echo said; sleep 1000", on_node("n2"))).await;
    cx.log_has("p", "said").await;
    let got = cx.exec("p", &["echo", "hello"]).await;
    assert_eq!((got.out.as_str(), got.code), ("hello\n", 0));
}
