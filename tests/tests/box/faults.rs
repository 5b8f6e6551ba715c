//! What goes wrong with several machines, and what must not come of it: pods that restart, writes that are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{condition, container, is_ready, pod};
use tests::{Agent, Api, Cluster, Cx, Lan, SOON, until};

use super::cluster::{on_node, page};

pub fn trials() -> Vec<Trial> {
    macro_rules! on {
        ($n:literal: $($test:ident),+) => {
            vec![$(tests::cluster::trial($n, concat!(module_path!(), "::", stringify!($test)), $test)),+]
        };
    }
    let mut all = on!(3: server_killed_under_load);
    all.extend(on!(2: cut_off_for_long));
    all.extend(on!(1: agent_killed, cut_off_for_a_moment, lossy_link, moved_server, edge_without_server));
    all.extend(on!(0: full_disk));
    all
}

/// A Deployment of `n` pods that answer with their name; each on the nodes that `more` allows.
pub async fn webs(cx: &Cx, n: usize, more: Value) {
    let labels = json!({"app": "web"});
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container(page())]});
    tests::pods::merge(&mut spec, more);
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": n, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec}}});
    cx.api.post(&cx.of("apps/v1", "deployments"), deployment).await;
    ready(cx, n).await;
}

async fn ready(cx: &Cx, n: usize) {
    let all = |l: &Value| l["items"].as_array().is_some_and(|i| i.iter().filter(|p| is_ready(p)).count() == n);
    cx.api.wait("are ready", &cx.core("pods"), 2 * SOON, all).await;
}

/// Which containers there are, and how often each was started.
async fn identities(api: &Api, cx: &Cx) -> BTreeMap<String, Value> {
    let list = api.get(&cx.core("pods")).await;
    let pods = list["items"].as_array().expect("a list").iter();
    let id = |p: &Value| {
        let status = &p["status"]["containerStatuses"][0];
        json!([status["containerID"], status["restartCount"], p["status"]["podIP"], p["spec"]["nodeName"]])
    };
    pods.map(|p| (p["metadata"]["name"].as_str().expect("a name").to_owned(), id(p))).collect()
}

/// The pods of a node, by name.
async fn on(cx: &Cx, node: &str) -> Vec<String> {
    let all = identities(&cx.api, cx).await;
    all.into_iter().filter(|(_, id)| id[3] == node).map(|(name, _)| name).collect()
}

/// A pod of the node can be entered: its tunnel stands.
async fn entered(cx: &Cx, pod: &str, deadline: Duration) -> Duration {
    let began = Instant::now();
    let path = cx.core(&format!("pods/{pod}/log?limitBytes=1"));
    until(&format!("{pod} is reached"), deadline, async || {
        let reply = cx.api.ask(&path).await?;
        if reply.code.is_success() { Ok(()) } else { Err(reply.body.to_string()) }
    })
    .await;
    began.elapsed()
}

/// From the machine itself, as its pods would: no API needed.
async fn answers(agent: &Agent, url: &str, deadline: Duration) -> String {
    until(&format!("{url} answers"), deadline, async || {
        let out = agent.command("curl").args(["-sS", "-m", "2", url]).output().expect("curl is installed");
        let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr }).into_owned();
        if out.status.success() { Ok(said) } else { Err(said) }
    })
    .await
}

async fn server_killed_under_load(cluster: Arc<Cluster>, cx: Cx) {
    webs(&cx, 6, json!({})).await;
    let before = identities(&cx.api, &cx).await;
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let load = tokio::spawn({
        let (api, path, done, count) = (cx.api.clone(), cx.core("configmaps"), done.clone(), acknowledged.clone());
        async move {
            let mut written = Vec::new();
            for i in 0.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                let name = format!("c{i}");
                if api.post_or_error(&path, json!({"metadata": {"name": name}})).await {
                    written.push(name);
                    count.fetch_add(1, Ordering::Release);
                } else {
                    until("the server is back", SOON, || api.ask("/readyz")).await;
                }
            }
            written
        }
    });
    let more = async |n: usize| {
        let from = acknowledged.load(Ordering::Acquire);
        until("writes are acknowledged", SOON, async || {
            let now = acknowledged.load(Ordering::Acquire);
            if now >= from + n { Ok(()) } else { Err(format!("{now} of {}", from + n)) }
        })
        .await;
    };
    let mut cx = cx;
    for _ in 0..2 {
        more(50).await;
        cluster.server.kill();
        cluster.server.start();
        cx = cx.again().await;
        for agent in &cluster.agents {
            for pod in on(&cx, &agent.name).await {
                let took = entered(&cx, &pod, SOON).await;
                eprintln!("{} is back after {took:?}", agent.name);
            }
        }
    }
    more(50).await;
    done.store(true, Ordering::Release);
    let written = load.await.expect("the load ends");
    let there = cx.api.get(&cx.core("configmaps")).await;
    let there: std::collections::HashSet<&str> =
        there["items"].as_array().expect("a list").iter().filter_map(|c| c["metadata"]["name"].as_str()).collect();
    let lost: Vec<_> = written.iter().filter(|w| !there.contains(w.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    ready(&cx, 6).await;
    assert_eq!(identities(&cx.api, &cx).await, before, "no pod was touched");
    for agent in &cluster.agents {
        cx.node_ready(&agent.name).await;
    }
}

async fn agent_killed(cluster: Arc<Cluster>, cx: Cx) {
    webs(&cx, 2, on_node("n2")).await;
    let (before, agent) = (identities(&cx.api, &cx).await, &cluster.agents[0]);
    let pod = before.keys().next().expect("two pods").clone();
    agent.kill();
    // nobody looks after it, and it answers
    let ip = before[&pod][2].as_str().expect("an address");
    assert_eq!(answers(agent, &format!("http://{ip}"), SOON).await.trim(), pod);
    // the upgrade: another file
    let fresh = agent.dir().join("skiff-next");
    std::fs::copy(tests::machine::skiff(), &fresh).expect("a copy");
    agent.start_as(&fresh);
    entered(&cx, &pod, SOON).await;
    let (took, status) = agent.stop();
    assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
    agent.start();
    entered(&cx, &pod, SOON).await;
    cx.node_ready("n2").await;
    assert_eq!(identities(&cx.api, &cx).await, before, "adopted, not restarted");
    cx.api.delete(&cx.core(&format!("pods/{pod}"))).await;
    cx.api.gone(&cx.core(&format!("pods/{pod}")), SOON).await;
    ready(&cx, 2).await;
}

async fn cut_off_for_a_moment(cluster: Arc<Cluster>, cx: Cx) {
    webs(&cx, 2, on_node("n2")).await;
    let (before, agent) = (identities(&cx.api, &cx).await, &cluster.agents[0]);
    let pod = before.keys().next().expect("two pods").clone();
    cluster.lan.cut(agent.number);
    let ip = before[&pod][2].as_str().expect("an address").to_owned();
    // ten seconds without a wire, in which its pods go on
    let mended = Instant::now() + Duration::from_secs(10);
    until("ten seconds have passed", SOON, async || {
        answers(agent, &format!("http://{ip}"), SOON).await;
        if Instant::now() > mended { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    cluster.lan.mend(agent.number);
    entered(&cx, &pod, SOON).await;
    cx.node_ready("n2").await;
    assert_eq!(identities(&cx.api, &cx).await, before, "no pod was touched");
}

async fn cut_off_for_long(cluster: Arc<Cluster>, cx: Cx) {
    let short = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let tolerations = [short("node.kubernetes.io/unreachable"), short("node.kubernetes.io/not-ready")];
    let away_from_server = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
        [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2", "n3"]}]}]}}});
    webs(&cx, 4, json!({"tolerations": tolerations, "affinity": away_from_server})).await;
    let agent = &cluster.agents[0];
    let left = on(&cx, "n2").await;
    assert!(!left.is_empty() && left.len() < 4, "spread over both: {left:?}");
    cluster.lan.cut(agent.number);
    let unknown = |n: &Value| condition(n, "Ready") == Some("Unknown");
    cx.api.wait("is given up", "/api/v1/nodes/n2", 4 * SOON, unknown).await;
    // all four on the other node
    let moved = |l: &Value| {
        let pods = l["items"].as_array().into_iter().flatten();
        pods.filter(|p| p["spec"]["nodeName"] == "n3" && is_ready(p)).count() == 4
    };
    cx.api.wait("are made elsewhere", &cx.core("pods"), 2 * SOON, moved).await;
    cluster.lan.mend(agent.number);
    cx.node_ready("n2").await;
    for pod in left {
        cx.api.gone(&cx.core(&format!("pods/{pod}")), SOON).await;
    }
    let untainted = |n: &Value| !n["spec"]["taints"].to_string().contains("unreachable");
    cx.node_when("is trusted again", "n2", untainted).await;
    cx.ready_pod(pod("after", "sleep 1000", on_node("n2"))).await;
}

async fn lossy_link(cluster: Arc<Cluster>, cx: Cx) {
    let agent = &cluster.agents[0];
    // a kernel with netem delays too; this is for those without
    let how = if cluster.lan.impair(agent.number, "loss 20% delay 200ms") { "netem" } else { "nft" };
    if how == "nft" {
        let rules = "add table inet loss; \
            add chain inet loss in { type filter hook prerouting priority -400; }; \
            add rule inet loss in iifname up0 numgen random mod 100 < 20 drop";
        tests::machine::succeed(agent.command("nft").arg(rules));
    }
    eprintln!("one packet in five is lost, by {how}");
    let began = Instant::now();
    webs(&cx, 3, on_node("n2")).await;
    let pod = on(&cx, "n2").await.remove(0);
    entered(&cx, &pod, 2 * SOON).await;
    // longer than a lease lasts
    until("a minute has passed", 3 * SOON, async || {
        let node = cx.api.get("/api/v1/nodes/n2").await;
        assert_eq!(condition(&node, "Ready"), Some("True"), "{}", node["status"]);
        if began.elapsed() > Duration::from_secs(60) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    entered(&cx, &pod, 2 * SOON).await;
}

async fn moved_server(cluster: Arc<Cluster>, cx: Cx) {
    webs(&cx, 2, on_node("n2")).await;
    let (before, agent) = (identities(&cx.api, &cx).await, &cluster.agents[0]);
    let pod = before.keys().next().expect("two pods").clone();
    cluster.server.stop();
    let netns = cluster.server.netns().expect("a machine of its own");
    netns.ip(&format!("addr del {}/24 dev up0", Lan::address(1)));
    netns.ip(&format!("addr add {}/24 dev up0", Lan::address(101)));
    netns.ip("route replace default via 192.0.2.254");
    cluster.server.start();
    let cx = cx.again().await;
    let mut args = vec!["--server".to_owned(), format!("https://{}:6443", Lan::address(101))];
    args.extend(["--token".into(), cluster.token()]);
    agent.stop();
    agent.start_with(&args);
    entered(&cx, &pod, SOON).await;
    cx.node_ready("n2").await;
    assert_eq!(identities(&cx.api, &cx).await, before, "no pod was touched");
}

/// Everything that a machine at the edge does alone.
async fn edge_without_server(cluster: Arc<Cluster>, cx: Cx) {
    cx.config_map("settings", json!({"greeting": "hello"})).await;
    let serve = "mkdir -p /www && cat /etc/settings/greeting > /www/index.html && httpd -f -p 80 -h /www";
    let more = json!({"nodeSelector": {"kubernetes.io/hostname": "n2"},
        "volumes": [{"name": "s", "configMap": {"name": "settings"}}]});
    let mut web = pod("web", serve, more);
    web["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "s", "mountPath": "/etc/settings"}]);
    cx.ready_pod(web).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let service = cx.api.post(&cx.core("services"), service).await;
    let url = format!("http://{}", service["spec"]["clusterIP"].as_str().expect("given one"));
    let agent = &cluster.agents[0];
    assert_eq!(answers(agent, &url, SOON).await, "hello");
    // what a machine learns is on its disk some seconds later, for the disk's sake
    let ip = cx.api.get(&cx.core("pods/web")).await["status"]["podIP"].as_str().expect("an address").to_owned();
    until("what it knows is on disk", SOON, async || {
        let known = agent.known();
        let missing = ["hello", &ip, &url[7..]].into_iter().find(|what| !known.contains(what));
        missing.map_or(Ok(()), |what| Err(format!("{what} is not in {} bytes", known.len())))
    })
    .await;

    cluster.server.stop();
    // a container that dies is started again
    let inside = || pids(agent, "httpd -f -p 80 -h /www");
    // one process; a request has another for a moment
    let alone = async |other: &str| {
        let one = async || match &inside()[..] {
            [pid] if pid != other => Ok(pid.clone()),
            now => Err(format!("{now:?}")),
        };
        until("one httpd runs", SOON, one).await
    };
    let died = alone("").await;
    tests::machine::succeed(std::process::Command::new("kill").args(["-9", &died]));
    alone(&died).await;
    assert_eq!(answers(agent, &url, SOON).await, "hello");

    // the plug is pulled: all processes, mounts, rules and interfaces are gone; the disk is as it was
    agent.kill();
    agent.power_cut();
    agent.start();
    assert_eq!(answers(agent, &url, SOON).await, "hello", "from disk, without a server");
    let now = alone("").await;

    cluster.server.start();
    let cx = cx.again().await;
    cx.node_ready("n2").await;
    let told = |p: &Value| is_ready(p) && p["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1);
    cx.pod_when("is told of", "web", told).await;
    assert_eq!(alone("").await, now, "not restarted when the server came back");
    // and commands reach it again
    cx.api.delete(&cx.core("pods/web")).await;
    cx.api.gone(&cx.core("pods/web"), SOON).await;
    assert_eq!(inside(), Vec::<String>::new());
}

/// The processes below this machine's pods whose command line is this.
fn pids(agent: &Agent, command: &str) -> Vec<String> {
    let hash = agent.data().bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let ours = format!("kubepods-{hash:08x}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let path = entry.path();
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let groups = std::fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        if line.trim() == command && groups.contains(&ours) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

async fn full_disk(cluster: Arc<Cluster>, cx: Cx) {
    // a machine with a small disk
    let agent = cluster.machine(&[]);
    let data = agent.data();
    tests::machine::succeed(agent.command("rm").args(["-rf", &data]));
    tests::machine::succeed(agent.command("mkdir").arg(&data));
    tests::machine::succeed(agent.command("mount").args(["-t", "tmpfs", "-o", "size=200m", "tmpfs", &data]));
    agent.import_image();
    let mut args = cluster.joining();
    // the default of five minutes against flapping is too long for a test
    let eviction = "nodefs.available<10%,eviction-pressure-transition-period=5s";
    args.extend(["--kubelet-arg".into(), format!("eviction-hard={eviction}")]);
    agent.start_with(&args);
    cx.node_ready("n2").await;
    webs(&cx, 1, on_node("n2")).await;
    let fill = format!("{data}/fill");
    // as much as there is: dd ends with an error
    let _ = agent.command("dd").args(["if=/dev/zero", &format!("of={fill}"), "bs=1M"]).output();
    let pressed = |n: &Value| condition(n, "DiskPressure") == Some("True");
    cx.api.wait("tells of its full disk", "/api/v1/nodes/n2", 2 * SOON, pressed).await;
    let tainted = |n: &Value| n["spec"]["taints"].to_string().contains("node.kubernetes.io/disk-pressure");
    cx.node_when("is avoided", "n2", tainted).await;
    tests::machine::succeed(agent.command("rm").arg(&fill));
    let relieved = |n: &Value| condition(n, "DiskPressure") == Some("False");
    cx.api.wait("has room again", "/api/v1/nodes/n2", 2 * SOON, relieved).await;
    cx.ready_pod(pod("after", "sleep 1000", on_node("n2"))).await;
}
