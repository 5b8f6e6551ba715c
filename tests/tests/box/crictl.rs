//! `skiff crictl`: the node's containers, beside a running server.

use std::process::{Output, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::machine::skiff;
use tests::pods::pod;
use tests::{Cx, SOON, until};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: shows, streams, stops)
}

fn run(cx: &Cx, args: &[&str]) -> Output {
    let mut command = cx.server.command(skiff());
    command.args(["crictl", "--data-dir", &cx.server.data()]).args(args).stdin(Stdio::null());
    command.output().expect("skiff runs")
}

/// What it prints; it must succeed.
fn crictl(cx: &Cx, args: &[&str]) -> String {
    let out = run(cx, args);
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{args:?}: {}\n{stdout}{stderr}", out.status);
    stdout.into_owned()
}

/// It must fail so; what it says.
fn refused(cx: &Cx, args: &[&str]) -> String {
    let out = run(cx, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn json_of(cx: &Cx, args: &[&str]) -> Value {
    serde_json::from_str(&crictl(cx, args)).expect("JSON")
}

/// The id of the container that runs in this test's namespace.
fn container(cx: &Cx, more: &[&str]) -> String {
    let namespace = format!("^{}$", cx.ns);
    crictl(cx, &[&["ps", "-q", "--namespace", &namespace], more].concat()).trim().to_owned()
}

fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect()
}

async fn shows(cx: Cx) {
    let ready = cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let namespace = format!("^{}$", cx.ns);
    let id = container(&cx, &[]);
    assert_eq!(ready["status"]["containerStatuses"][0]["containerID"], format!("skiff://{id}").as_str());

    let listed = crictl(&cx, &["ps", "--namespace", &namespace]);
    let lines: Vec<Vec<&str>> = listed.lines().map(columns).collect();
    assert_eq!(lines[0], ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"]);
    let line = &lines[1];
    assert_eq!((line[0], line[3], line[4], line[5]), (&id[..13], "Running", "c", "0"), "{listed}");
    assert_eq!((line[7], line[8]), ("p", cx.ns.as_str()), "{listed}");
    for (flags, found) in [
        (["--name", "^c$"], true),
        (["--name", "other"], false),
        (["--label", "io.kubernetes.pod.name=p"], true),
        (["--state", "exited"], false),
        (["--image", "box:1"], true),
        (["--pod", line[6]], true),
    ] {
        assert_eq!(container(&cx, &flags) == id, found, "{flags:?}");
    }
    let listed = json_of(&cx, &["ps", "-o", "json", "--id", &id]);
    assert_eq!(listed["containers"][0]["state"], "CONTAINER_RUNNING");

    let pods = crictl(&cx, &["pods", "--namespace", &namespace]);
    let lines: Vec<Vec<&str>> = pods.lines().map(columns).collect();
    assert_eq!(lines[0], ["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"]);
    assert_eq!((lines[1][0], lines[1][2], lines[1][3], lines[1][4]), (line[6], "Ready", "p", cx.ns.as_str()), "{pods}");

    let images = crictl(&cx, &["images"]);
    let lines: Vec<Vec<&str>> = images.lines().map(columns).collect();
    assert_eq!(lines[0], ["IMAGE", "TAG", "IMAGE ID", "SIZE"]);
    assert!(lines.iter().any(|l| l[..3] == ["docker.io/library/box", "1", line[1]]), "{images}");

    let seen = json_of(&cx, &["inspect", &id[..10]]);
    assert_eq!((&seen["status"]["id"], &seen["status"]["metadata"]["name"]), (&json!(id), &json!("c")));
    assert_eq!(seen["info"]["runtimeSpec"]["process"]["args"][0], "sh", "{seen}");
    let seen = json_of(&cx, &["inspectp", line[6]]);
    assert_eq!(seen["status"]["network"]["ip"], ready["status"]["podIP"]);
    let seen = json_of(&cx, &["inspecti", "box:1"]);
    assert_eq!(seen["status"]["repoTags"][0], "docker.io/library/box:1");

    let stats = crictl(&cx, &["stats", &id]);
    assert_eq!(columns(stats.lines().nth(1).unwrap_or_default())[..2], [&id[..13], "c"], "{stats}");
    assert!(crictl(&cx, &["statsp", "--id", line[6]]).contains(line[6]));
    assert_eq!(json_of(&cx, &["info"])["status"]["conditions"][0]["type"], "RuntimeReady");
    assert!(crictl(&cx, &["version"]).contains("RuntimeName:  skiff"));

    for what in [["inspect", "no-such"], ["logs", "no-such"], ["inspectp", "no-such"]] {
        let said = refused(&cx, &what);
        assert!(said.contains("with ID starting with no-such not found"), "{said}");
    }
    assert!(refused(&cx, &["rm", &id]).contains("is running, please stop it first"));
    assert!(refused(&cx, &["rmp", line[6]]).contains("is running, please stop it first"));
    let nowhere = cx.server.command(skiff()).args(["crictl", "--data-dir", "/var/tmp/no-skiff-here", "ps"]).output();
    assert!(String::from_utf8_lossy(&nowhere.expect("skiff runs").stderr).contains("no skiff has run on this node"));
}

async fn streams(cx: Cx) {
    cx.ready_pod(pod("p", "echo one; echo two; exec sleep 1000", json!({}))).await;
    cx.log_has("p", "two").await;
    let id = container(&cx, &[]);
    assert_eq!(crictl(&cx, &["logs", &id]), "one\ntwo\n");
    assert_eq!(crictl(&cx, &["logs", "--tail", "1", &id]), "two\n");
    let stamped = crictl(&cx, &["logs", "-t", "--since", "1h", &id]);
    assert!(stamped.lines().all(|l| l.starts_with("20") && l.contains('T')), "{stamped}");

    assert_eq!(crictl(&cx, &["exec", &id, "echo", "-n", "said"]), "said");
    let failing = run(&cx, &["exec", &id[..12], "sh", "-c", "echo bad >&2; exit 7"]);
    assert_eq!((failing.status.code(), String::from_utf8_lossy(&failing.stderr).as_ref()), (Some(7), "bad\n"));
    // what is not read ends neither the command nor its caller
    let mut command = cx.server.command("sh");
    command.args(["-c", "yes | \"$0\" crictl --data-dir \"$1\" exec -i \"$2\" sh -c 'exit 3'"]).arg(skiff());
    let out = command.args([&cx.server.data(), &id]).output().expect("sh runs");
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
    let mut command = cx.server.command("sh");
    command.args(["-c", "\"$0\" crictl --data-dir \"$1\" inspect \"$2\" | true"]).arg(skiff());
    let out = command.args([&cx.server.data(), &id]).output().expect("sh runs");
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut command = cx.server.command("sh");
    command.args(["-c", "echo in | \"$0\" crictl --data-dir \"$1\" exec -i \"$2\" cat"]).arg(skiff());
    let out = command.args([&cx.server.data(), &id]).output().expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "in\n", "{}", String::from_utf8_lossy(&out.stderr));
}

async fn stops(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let first = container(&cx, &[]);
    assert_eq!(crictl(&cx, &["stop", &first]).trim(), first);
    // the kubelet starts it again
    cx.pod_when("runs again", "p", |p| {
        p["status"]["containerStatuses"][0]["restartCount"] == 1 && tests::pods::is_ready(p)
    })
    .await;
    let second = container(&cx, &[]);
    assert!(second != first && !second.is_empty(), "{second}");
    let line = crictl(&cx, &["ps", "--id", &second]);
    assert_eq!(columns(line.lines().nth(1).unwrap_or_default())[5], "1", "{line}");

    // the exited one can go
    assert!(container(&cx, &["-a"]).contains(&first));
    assert_eq!(crictl(&cx, &["rm", &first]).trim(), first);
    assert_eq!(container(&cx, &["-a"]), second);

    // a stopped pod is made anew, in another sandbox
    let namespace = format!("^{}$", cx.ns);
    let before = crictl(&cx, &["pods", "-q", "--namespace", &namespace, "--state", "ready"]).trim().to_owned();
    assert_eq!(crictl(&cx, &["stopp", &before]).trim(), format!("Stopped sandbox {before}"));
    let after = until("the pod has another sandbox", SOON, async || {
        let now = crictl(&cx, &["pods", "-q", "--namespace", &namespace, "--state", "ready"]).trim().to_owned();
        if now.is_empty() || now == before { Err(now) } else { Ok(now) }
    })
    .await;
    cx.pod_when("runs in it", "p", |p| {
        p["status"]["containerStatuses"][0]["restartCount"] == 2 && tests::pods::is_ready(p)
    })
    .await;
    assert!(crictl(&cx, &["ps", "--pod", &after]).contains("Running"));
}
