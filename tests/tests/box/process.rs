//! The server as a process: its flags, its files, its end.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use tests::machine::skiff;
use tests::{SOON, Server, until};

pub fn trials() -> Vec<Trial> {
    [
        ("second_server_is_refused", second_server_is_refused as fn()),
        ("flags_environment_and_file", flags_environment_and_file),
        ("bad_flags", bad_flags),
        ("kubeconfig", kubeconfig),
        ("kill_keeps_what_was_acknowledged", kill_keeps_what_was_acknowledged),
        ("damaged_database", damaged_database),
        ("command_line", command_line),
        ("images", images),
    ]
    .map(|(name, test)| {
        Trial::test(format!("process::{name}"), move || {
            test();
            Ok(())
        })
    })
    .into()
}

fn second_server_is_refused() {
    let server = Server::control_plane(&[]);
    server.start();
    let second = server.server_command().output().expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("skiff: ") && last.contains("another") && last.contains(&server.data()), "{said}");
    // the first does not mind
    server.run(async { assert_eq!(server.api().await.text("/readyz").await, "ok") });
    let (took, status) = server.stop();
    assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
}

fn flags_environment_and_file() {
    let server = Server::control_plane(&[]);
    let file = server.dir().join("config.yaml");
    let text = "service-cidr: 10.77.0.0/16\nservice-node-port-range: 31000-31010\nwrite-kubeconfig-mode: \"0640\"\ntls-san:\n- a.example\n";
    std::fs::write(&file, text).unwrap();
    let mut command = server.server_command();
    // the environment wins over the file
    command.env("SKIFF_CONFIG", &file).env("SKIFF_SERVICE_NODE_PORT_RANGE", "32000-32001");
    server.start_with(command);
    let mode = std::fs::metadata(server.kubeconfig()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    server.run(async {
        let api = server.api().await;
        let services = "/api/v1/namespaces/default/services";
        let service =
            |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let kubernetes = api.get(&format!("{services}/kubernetes")).await;
        assert_eq!(kubernetes["spec"]["clusterIP"], "10.77.0.1");
        let dns = api.get("/api/v1/namespaces/kube-system/services/kube-dns").await;
        assert_eq!(dns["spec"]["clusterIP"], "10.77.0.10", "it follows the service network");
        for name in ["a", "b"] {
            let port = api.post(services, service(name)).await["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
            assert!((32000..=32001).contains(&port), "{port}");
        }
        let full = api.try_post(services, &service("c")).await;
        assert!(full.code.is_client_error() || full.code.is_server_error(), "{}", full.body);
        assert!(full.message().contains("range is full"), "{}", full.body);
    });
}

fn bad_flags() {
    for (args, says) in [
        (&["server", "--node-name", "Under_score"][..], "--node-name"),
        (&["server", "--node-taint", "x"], "key=value:Effect"),
        (&["server", "--kubelet-arg", "max-pod=1"], "max-pod=1"),
        (&["server", "--data-dir", "/proc/none"], "/proc/none"),
        (&["server", "--service-node-port-range", "9-1"], "30000-32767"),
        (&["server", "--config", "/no/such/file"], "/no/such/file"),
        (&["server", "--no-such-flag"], "--no-such-flag"),
        (&["nonsense"], "nonsense"),
    ] {
        let out = std::process::Command::new(skiff()).args(args).output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(says) && !said.contains("panicked"), "{args:?}: {said}");
    }
}

fn kubeconfig() {
    let server = Server::control_plane(&[]);
    server.start();
    let mode = std::fs::metadata(server.kubeconfig()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let data = std::fs::metadata(server.data()).unwrap().permissions().mode();
    assert_eq!(data & 0o077, 0, "others cannot look into the data");
    let before = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let token = server.skiff(&["token", "--data-dir", &server.data()]);
    assert!(token.starts_with("K10") && token.contains("::"), "{token}");
    // the certificate authority, and so everyone's kubeconfig, outlives the process
    server.stop();
    server.start();
    let after = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let ca = |text: &str| text.lines().find(|l| l.contains("certificate-authority-data")).map(str::to_owned);
    assert_eq!(ca(&before), ca(&after));
    assert_eq!(server.skiff(&["token", "--data-dir", &server.data()]), token);
}

/// Writers in parallel, and `kill -9` in the middle, three times: what was answered with success is there, and revisions
/// never go back.
fn kill_keeps_what_was_acknowledged() {
    let server = Server::control_plane(&[]);
    let (mut acknowledged, mut revision) = (Vec::new(), 0);
    for round in 0..3 {
        server.start();
        server.run(async {
            let api = server.api().await;
            let writers: Vec<_> = (0..8)
                .map(|writer| tokio::spawn(write_until_killed(api.clone(), format!("r{round}w{writer}"))))
                .collect();
            until("there is load", SOON, async || {
                let n = api.try_get("/api/v1/namespaces/default/configmaps?limit=1").await.body;
                let n = n["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
                if n > (round + 1) * 150 { Ok(()) } else { Err(n.to_string()) }
            })
            .await;
            server.kill();
            for writer in writers {
                for (name, at) in writer.await.expect("a writer ends with its connection") {
                    revision = revision.max(at);
                    acknowledged.push(name);
                }
            }
        });
    }
    assert!(acknowledged.len() > 300, "{} writes", acknowledged.len());
    server.start();
    server.run(async {
        let list = server.api().await.get("/api/v1/namespaces/default/configmaps").await;
        let there: std::collections::BTreeSet<_> = super::crud::names(&list).into_iter().collect();
        let lost: Vec<_> = acknowledged.iter().filter(|n| !there.contains(n.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let now: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(now >= revision, "revision {now} after {revision}");
    });
}

/// Names and revisions of what was acknowledged.
async fn write_until_killed(api: tests::Api, prefix: String) -> Vec<(String, u64)> {
    let mut done = Vec::new();
    for n in 0.. {
        let name = format!("{prefix}-{n}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
            .to_string();
        let request = http::Request::post("/api/v1/namespaces/default/configmaps")
            .header("content-type", "application/json")
            .body(body.into_bytes())
            .expect("a request");
        let Ok(made) = api.kube.request::<serde_json::Value>(request).await else { break };
        let revision = made["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a revision");
        done.push((name, revision));
    }
    done
}

fn damaged_database() {
    let server = Server::control_plane(&[]);
    server.start();
    server.stop();
    let db = std::path::Path::new(&server.data()).join("server/db/state.db");
    std::fs::write(&db, b"this is no database, but long enough to be looked at as if it were one".repeat(100)).unwrap();
    let out = server.server_command().output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("server/db") && !said.contains("panicked"), "{said}");
}

fn command_line() {
    let server = Server::control_plane(&[]);
    assert!(server.skiff(&["--version"]).starts_with("skiff "));
    assert!(server.skiff(&["completion", "bash"]).contains("_skiff"));
    let help = server.skiff(&["server", "--help"]);
    for flag in [
        "data-dir",
        "bind-address",
        "https-listen-port",
        "node-name",
        "node-ip",
        "node-label",
        "node-taint",
        "token",
        "tls-san",
        "write-kubeconfig",
        "write-kubeconfig-mode",
        "cluster-cidr",
        "service-cidr",
        "cluster-dns",
        "cluster-domain",
        "service-node-port-range",
        "disable-agent",
        "disable",
        "config",
    ] {
        assert!(help.contains(&format!("--{flag}")), "--{flag} is not in the help");
        let variable = format!("SKIFF_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable} is not in the help");
    }
}

fn images() {
    let server = Server::control_plane(&[]);
    let data = server.data();
    let list = || server.skiff(&["image", "ls", "--data-dir", &data]);
    let archive = tests::image::archive().to_str().expect("a plain path");
    assert_eq!(server.skiff(&["image", "import", "--data-dir", &data, archive]).trim(), "docker.io/library/box:1");
    let row = list().lines().nth(1).map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    assert_eq!(row.as_deref(), Some("docker.io/library/box 1"));
    server.skiff(&["image", "rm", "--data-dir", &data, "box:1"]);
    assert_eq!(list().lines().count(), 1, "only the header is left");
    let out =
        server.command(skiff()).args(["image", "import", "--data-dir", &data, "/dev/null"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.starts_with("skiff: ") && said.contains("/dev/null"), "{said}");
}
