//! How machines come into a cluster, and how they do not.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;
use tests::pods::{condition, pod};
use tests::{Agent, Cluster, Cx, SOON, until};

use super::cluster::on_node;

pub fn trials() -> Vec<Trial> {
    macro_rules! on {
        ($args:expr, $n:literal: $($test:ident),+) => {
            vec![$(tests::cluster::trial_with($args, $n, concat!(module_path!(), "::", stringify!($test)), $test)),+]
        };
    }
    let mut all = on!(&[], 0: refusals, tokens, wrong_clock, many_at_once);
    all.extend(on!(&["--agent-token", "for-agents-only"], 0: separate_secret));
    all.extend(on!(&["--cluster-signing-duration", "24s"], 1: short_certificates));
    all.extend(on!(&[], 1: taken_and_given_back, revoked));
    all
}

/// Runs `skiff agent` until it gives up: its exit code, and what it said.
fn refused(cluster: &Cluster, agent: &Agent, args: &[&str]) -> (i32, String) {
    let mut command = agent.agent_command();
    let out = command.args(["--server", &cluster.url()]).args(args).output().expect("skiff runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), said)
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

async fn refusals(cluster: Arc<Cluster>, _: Cx) {
    let token = cluster.token();
    let (head, secret) = token.rsplit_once(':').expect("K10<hash>::user:secret");
    let agent = cluster.machine(&[]);
    let other_hash = token.replacen(&token[3..7], if &token[3..7] == "0000" { "1111" } else { "0000" }, 1);
    for (token, code, word) in
        [(format!("{head}:guessed"), 10, "token"), ("guessed".into(), 10, "token"), (other_hash, 12, "authority")]
    {
        let (exit, said) = refused(&cluster, &agent, &["--token", &token]);
        assert_eq!(exit, code, "{said}");
        assert!(last_line(&said).contains(word), "{said}");
        assert!(!said.contains(secret) && !said.contains("guessed"), "a secret in the log: {said}");
    }
    let (exit, said) = refused(&cluster, &agent, &[]);
    assert!(exit != 0 && last_line(&said).contains("token"), "{said}");
    // a server that is not there yet is waited for
    let waiting = cluster.machine(&["--server", "https://192.0.2.77:6443", "--token", &token]);
    waiting.start();
    until("it says what it waits for", SOON, async || {
        let log = waiting.log();
        if log.contains("192.0.2.77:6443 cannot be reached") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(waiting.ended(), None, "{}", waiting.log());
}

async fn tokens(cluster: Arc<Cluster>, cx: Cx) {
    let data = cluster.server.data();
    let skiff = |args: &[&str]| cluster.server.skiff(&[&["token"], args, &["--data-dir", &data]].concat());
    let made = skiff(&["create", "--ttl", "1h", "--description", "for the shed"]).trim().to_owned();
    let id = made.rsplit("::").next().and_then(|t| t.split(['.', ':']).next()).expect("an id").to_owned();
    let list = skiff(&["list"]);
    assert!(list.contains(&id) && list.contains("for the shed"), "{list}");
    let secret = made.rsplit(['.', ':']).next().expect("a secret");
    assert!(!list.contains(secret), "{list}");
    let agent = cluster.machine(&["--server", &cluster.url(), "--token", &made]);
    agent.start();
    cx.node_ready(&agent.name).await;
    let line = std::fs::read(format!("/proc/{}/cmdline", agent.pid().expect("runs"))).expect("its command line");
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    assert!(!line.contains(secret), "everyone on the machine can read it: {line}");

    skiff(&["delete", &id]);
    let late = cluster.machine(&[]);
    let (exit, said) = refused(&cluster, &late, &["--token", &made]);
    assert_eq!(exit, 10, "{said}");
    let brief = skiff(&["create", "--ttl", "1s"]).trim().to_owned();
    until("it expires", SOON, async || {
        let id = brief.rsplit("::").next().and_then(|t| t.split(['.', ':']).next()).expect("an id").to_owned();
        if skiff(&["list"]).contains(&id) { Err("still listed".to_owned()) } else { Ok(()) }
    })
    .await;
    let (exit, said) = refused(&cluster, &late, &["--token", &brief]);
    assert!([10, 11].contains(&exit), "{exit}: {said}");

    // the cluster's own secret changes; who is in stays in
    let old = cluster.token();
    let new = skiff(&["rotate"]).trim().to_owned();
    assert_ne!(old, new);
    let (exit, said) = refused(&cluster, &late, &["--token", &old]);
    assert_eq!(exit, 10, "{said}");
    let mut args: Vec<String> = ["--server".into(), cluster.url(), "--token".into()].into();
    args.push(new);
    late.start_with(&args);
    cx.node_ready(&late.name).await;
    cx.ready_pod(pod("p", "sleep 1000", on_node(&agent.name))).await;
}

async fn separate_secret(cluster: Arc<Cluster>, cx: Cx) {
    let agent = cluster.machine(&["--server", &cluster.url(), "--token", "for-agents-only"]);
    agent.start();
    cx.node_ready(&agent.name).await;
    assert!(agent.log().contains("trust"), "whose authority was not checked: {}", agent.log());
}

async fn taken_and_given_back(cluster: Arc<Cluster>, cx: Cx) {
    let twin = cluster.machine(&["--node-name", "n2"]);
    let token = cluster.token();
    let mut command = twin.command(tests::machine::skiff());
    let data = twin.data();
    command.args(["agent", "--data-dir", &data, "--node-name", "n2", "--server", &cluster.url(), "--token", &token]);
    let out = command.output().expect("skiff runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(13), "{said}");
    assert!(last_line(&said).contains("n2") && last_line(&said).contains("taken"), "{said}");
    assert!(!said.contains(token.rsplit(':').next().expect("a secret")), "{said}");

    // a deleted node whose machine lives is registered again, pods and all
    let uid = cx.api.get("/api/v1/nodes/n2").await["metadata"]["uid"].clone();
    cx.api.delete("/api/v1/nodes/n2").await;
    let again = |n: &Value| n["metadata"]["uid"] != uid && condition(n, "Ready") == Some("True");
    cx.node_when("is registered again", "n2", again).await;
    cx.ready_pod(pod("p", "sleep 1000", on_node("n2"))).await;

    // cordon, drain, uncordon
    let (ok, said) = cx.ctl(&["drain", "n2", "--ignore-daemonsets", "--force", "--grace-period=0"]);
    assert!(ok, "{said}");
    cx.api.gone(&cx.core("pods/p"), SOON).await;
    let (ok, said) = cx.ctl(&["uncordon", "n2"]);
    assert!(ok, "{said}");
    cx.ready_pod(pod("q", "sleep 1000", on_node("n2"))).await;
}

async fn revoked(cluster: Arc<Cluster>, cx: Cx) {
    let agent = &cluster.agents[0];
    cx.ready_pod(pod("p", "sleep 1000", on_node("n2"))).await;
    cluster.server.skiff(&["node", "revoke", "n2", "--data-dir", &cluster.server.data()]);
    until("the tunnel is cut", SOON, async || {
        let reply = cx.api.ask(&cx.core("pods/p/log?limitBytes=1")).await?;
        if reply.code.is_success() { Err("still reached".to_owned()) } else { Ok(()) }
    })
    .await;
    // its machine may join again, with a token
    agent.stop();
    agent.start_with(&cluster.joining());
    until("it is reached again", SOON, async || {
        let reply = cx.api.ask(&cx.core("pods/p/log?limitBytes=1")).await?;
        if reply.code.is_success() { Ok(()) } else { Err(format!("{}\n{}", reply.body, agent.log())) }
    })
    .await;
}

/// Longer than two certificates live.
async fn short_certificates(cluster: Arc<Cluster>, cx: Cx) {
    let agent = &cluster.agents[0];
    let shown = || -> Vec<Vec<u8>> {
        let dir = std::path::Path::new(&agent.data()).join("agent");
        let mut found = Vec::new();
        for file in walk(&dir) {
            let text = std::fs::read(&file).unwrap_or_default();
            if text.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") && !file.ends_with("server-ca.crt") {
                found.push(text);
            }
        }
        found
    };
    let mut before = shown();
    for _ in 0..3 {
        until("another certificate is there", 2 * SOON, async || {
            let now = shown();
            if now != before { Ok(()) } else { Err("the same".to_owned()) }
        })
        .await;
        before = shown();
    }
    assert_eq!(agent.ended(), None, "{}", agent.log());
    cx.node_ready("n2").await;
    cx.ready_pod(pod("p", "sleep 1000", on_node("n2"))).await;
    let done = cx.exec("p", &["echo", "still here"]).await;
    assert_eq!(done.out, "still here\n");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // not into the images
        match entry.file_type() {
            Ok(t)
                if t.is_dir()
                    && !["runtime", "pods", "logs", "images"].contains(&&*entry.file_name().to_string_lossy()) =>
            {
                found.extend(walk(&path));
            }
            Ok(t) if t.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// An hour off, either way.
async fn wrong_clock(cluster: Arc<Cluster>, _: Cx) {
    let library = ["x86_64", "aarch64"].map(|a| format!("/usr/lib/{a}-linux-gnu/faketime/libfaketime.so.1"));
    let library = library.into_iter().find(|l| std::path::Path::new(l).exists()).expect("libfaketime is installed");
    let token = cluster.token();
    for shift in ["-1h", "+1h"] {
        let agent = cluster.machine(&[]);
        let mut command = agent.agent_command();
        command.args(["--server", &cluster.url(), "--token", &token]);
        command.env("LD_PRELOAD", &library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let out = command.output().expect("skiff runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(14), "{shift}: {said}");
        assert!(last_line(&said).contains("clock"), "{shift}: {said}");
    }
}

/// Fifty machines in a moment.
async fn many_at_once(cluster: Arc<Cluster>, cx: Cx) {
    let many = cluster.machine(&["--server", &cluster.url(), "--token", &cluster.token(), "--simulate", "50"]);
    many.start();
    let all = |l: &Value| {
        let nodes = l["items"].as_array().into_iter().flatten();
        nodes.filter(|n| condition(n, "Ready") == Some("True")).count() == 51
    };
    cx.api.wait("are Ready", "/api/v1/nodes", Duration::from_secs(60), all).await;
    // and work: a pod on each
    let labels = serde_json::json!({"app": "d"});
    let set = serde_json::json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template":
        {"metadata": {"labels": labels}, "spec": {"containers": [tests::pods::container("sleep 1000")]}}}});
    cx.api.post(&cx.of("apps/v1", "daemonsets"), set).await;
    let placed = |d: &Value| d["status"]["numberReady"].as_u64() >= Some(50);
    cx.api.wait("has pods everywhere", &cx.of("apps/v1", "daemonsets/d"), Duration::from_secs(60), placed).await;
}
