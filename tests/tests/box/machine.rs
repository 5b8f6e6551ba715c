//! A node's whole life: the server goes and comes back, the containers stay; `killall` leaves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::machine::succeed;
use tests::pods::{container, is_ready};
use tests::{Api, SOON, Server};

pub fn trials() -> Vec<Trial> {
    let test = |name: &'static str, test: fn()| {
        Trial::test(format!("machine::{name}"), move || {
            test();
            Ok(())
        })
    };
    vec![test("life_of_a_node", life_of_a_node), test("taints", taints)]
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What must not change while the server is away: ids, addresses, counts.
async fn identities(api: &Api) -> BTreeMap<String, Value> {
    let pods = api.get(PODS).await;
    let all = pods["items"].as_array().unwrap().iter().map(|p| {
        let c = &p["status"]["containerStatuses"][0];
        let identity = json!([
            c["containerID"],
            c["restartCount"],
            c["state"]["running"]["startedAt"],
            p["status"]["podIP"],
            p["metadata"]["uid"]
        ]);
        (p["metadata"]["name"].as_str().unwrap().to_owned(), identity)
    });
    all.collect()
}

async fn all_ready(api: &Api, n: usize) {
    let ready = |l: &Value| l["items"].as_array().is_some_and(|i| i.len() == n && i.iter().all(is_ready));
    api.wait("are ready", PODS, SOON, ready).await;
}

fn life_of_a_node() {
    let server = Server::node(&[]);
    server.start();
    server.run(async {
        let api = server.api().await;
        let node = |n: &Value| tests::pods::condition(n, "Ready") == Some("True");
        api.wait("is ready", "/api/v1/nodes/n1", SOON, node).await;
        let labels = json!({"app": "a"});
        let script = "echo up; i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done";
        let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0,
                "volumes": [{"name": "s", "emptyDir": {"medium": "Memory"}}], "containers": [container(script)]}}}});
        api.post("/apis/apps/v1/namespaces/default/deployments", deployment).await;
        all_ready(&api, 2).await;
        let before = identities(&api).await;

        let (took, status) = server.stop();
        assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
        assert_eq!(processes(&server), 2 + 2, "two shims and their two containers live on");
        server.start();
        let api = server.api().await;
        all_ready(&api, 2).await;
        assert_eq!(identities(&api).await, before, "adopted, not restarted");

        server.kill();
        server.start();
        let api = server.api().await;
        all_ready(&api, 2).await;
        assert_eq!(identities(&api).await, before, "after kill -9 too");
        // and they are not only remembered: they can be read, entered and ended
        let name = before.keys().next().unwrap().clone();
        tests::until("the log is whole", SOON, async || {
            let log = api.try_get(&format!("{PODS}/{name}/log")).await.body;
            if log.as_str().is_some_and(|l| l.starts_with("up\n0\n")) { Ok(()) } else { Err(format!("{log:.80}")) }
        })
        .await;
        api.delete(&format!("{PODS}/{name}")).await;
        api.gone(&format!("{PODS}/{name}"), SOON).await;
        all_ready(&api, 2).await;

        server.stop();
        // what dies while nobody looks is noticed
        let second = before.keys().nth(1).unwrap().clone();
        let id = before[&second][0].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        kill_container(&server, &id);
        server.start();
        let api = server.api().await;
        let restarted = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(p);
        api.wait("is started again", &format!("{PODS}/{second}"), SOON, restarted).await;
    });
    server.stop();
    server.killall();
    assert_eq!(processes(&server), 0, "no processes");
    let data = server.data();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let run = format!("/run/skiff-{}", id(&server));
    let left: Vec<_> = mounts.lines().filter(|m| m.contains(&data) || m.contains(&run)).collect();
    assert!(left.is_empty(), "no mounts: {left:#?}");
    assert!(!std::path::Path::new(&run).exists(), "no sockets");
    let links = succeed(server.command("ip").args(["-brief", "link"]));
    let links: Vec<_> = links.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(links.iter().all(|l| *l == "lo" || l.starts_with("up")), "no interfaces: {links:?}");
    assert_eq!(succeed(server.command("nft").args(["list", "tables"])), "", "no rules");
    let cgroups = cgroups(&server);
    assert!(cgroups.is_empty(), "no control groups: {cgroups:?}");
}

/// Processes that belong to this data directory: shims by their arguments, containers by their control group.
fn processes(server: &Server) -> usize {
    let (data, id) = (server.data(), id(server));
    let own = server.pid().map(|p| p.to_string());
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        if !name.chars().all(|c| c.is_ascii_digit()) || Some(&name) == own.as_ref() {
            return false;
        }
        let read = |f: &str| {
            std::fs::read(e.path().join(f)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
        };
        let (line, group) = (read("cmdline"), read("cgroup"));
        // a container's own children are not counted
        let shim = line.contains("shim") && (line.contains(&data) || line.contains(&id));
        shim || (group.contains(&id) && line.starts_with("sh\0"))
    });
    all.count()
}

/// The name that skiff gives to what is not below the data directory.
fn id(server: &Server) -> String {
    let hash = server.data().bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

fn cgroups(server: &Server) -> Vec<String> {
    let out = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "3", "-name", &format!("*{}*", id(server))])
        .output();
    let out = String::from_utf8_lossy(&out.expect("find runs").stdout).into_owned();
    out.lines().map(str::to_owned).collect()
}

fn kill_container(server: &Server, container: &str) {
    let group = id(server);
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let ours = cgroup.lines().any(|l| l.contains(&group) && l.contains(container));
        let pid = entry.file_name().to_string_lossy().parse().ok();
        if let (true, Some(pid)) = (ours, pid) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            killed += 1;
        }
    }
    assert!(killed > 0, "container {container} has no process");
}

fn taints() {
    let server = Server::node(&["--node-taint", "dedicated=yes:NoSchedule", "--node-label", "a=b"]);
    server.start();
    server.run(async {
        let api = server.api().await;
        let node = api.wait("is there", "/api/v1/nodes/n1", SOON, |n| n["spec"]["taints"].is_array()).await;
        let taint = json!({"key": "dedicated", "value": "yes", "effect": "NoSchedule"});
        assert!(node["spec"]["taints"].as_array().unwrap().contains(&taint), "{node}");
        assert_eq!(node["metadata"]["labels"]["a"], "b");
        api.wait("is made", "/api/v1/namespaces/default/serviceaccounts/default", SOON, |_| true).await;
        let pod = |name: &str, more: Value| tests::pods::pod(name, "exec sleep 1000", more);
        api.post(PODS, pod("kept-off", json!({}))).await;
        let tolerates = json!({"tolerations": [{"key": "dedicated", "operator": "Exists"}]});
        api.post(PODS, pod("tolerates", tolerates)).await;
        api.wait("runs", &format!("{PODS}/tolerates"), SOON, is_ready).await;
        let off = api.get(&format!("{PODS}/kept-off")).await;
        assert_eq!(off["spec"].get("nodeName"), None);
        // the taint goes, the pod comes
        let free = api.try_patch("/api/v1/nodes/n1", tests::api::MERGE_PATCH, &json!({"spec": {"taints": null}})).await;
        free.ok();
        api.wait("runs now", &format!("{PODS}/kept-off"), SOON, is_ready).await;
        // NoExecute ends it
        let taint = json!({"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}});
        api.merge("/api/v1/nodes/n1", taint).await;
        api.gone(&format!("{PODS}/kept-off"), SOON).await;
    });
}
