//! Exec, attach, logs, port-forward: through the API server to the node and back.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use libtest_mimic::Trial;
use serde_json::json;
use tests::pods::pod;
use tests::{Cx, SOON};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: exec, stdin, terminal, attach, logs, previous_logs, port_forward, with_kubectl)
}

async fn exec(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let done = cx.exec("p", &["sh", "-c", "echo out; echo err >&2; exit 42"]).await;
    assert_eq!((done.out.as_str(), done.err.as_str(), done.code), ("out\n", "err\n", 42), "{done:?}");
    assert_eq!((&done.status["reason"], &done.status["causes"][0][0]), (&json!("NonZeroExitCode"), &json!("ExitCode")));
    let much = cx.exec("p", &["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"]).await;
    assert_eq!((much.code, much.out.lines().count()), (0, 20000));
    let none = cx.exec("p", &["/no/such/program"]).await;
    assert_ne!(none.code, 0, "{none:?}");
    // a pod that is not there
    let pods: kube::Api<Pod> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    assert!(pods.exec("none", ["true"], &AttachParams::default()).await.is_err());
}

async fn stdin(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let pods: kube::Api<Pod> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    let mut process = pods
        .exec("p", ["sh", "-c", "read a; echo $a; read b; echo $b"], &AttachParams::default().stdin(true).stderr(false))
        .await
        .expect("exec");
    let (mut input, mut output) = (process.stdin().expect("asked for"), process.stdout().expect("asked for"));
    let mut line = [0; 15];
    for _ in 0..2 {
        input.write_all(b"there and back\n").await.expect("it listens");
        tokio::time::timeout(SOON, output.read_exact(&mut line)).await.expect("in time").expect("it answers");
        assert_eq!(&line, b"there and back\n");
    }
    let status = tokio::time::timeout(SOON, process.take_status().expect("once")).await.expect("it ends");
    assert_eq!(status.and_then(|s| s.status).as_deref(), Some("Success"));
}

async fn terminal(cx: Cx) {
    cx.ready_pod(pod("p", "exec sleep 1000", json!({}))).await;
    let pods: kube::Api<Pod> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    let how = AttachParams::interactive_tty();
    let mut process = pods
        .exec("p", ["sh", "-c", "test -t 0 && echo a terminal; read line; echo got $line"], &how)
        .await
        .expect("exec");
    let (mut input, mut output) = (process.stdin().expect("asked for"), process.stdout().expect("asked for"));
    input.write_all(b"typed\n").await.expect("it listens");
    let mut all = String::new();
    tokio::time::timeout(SOON, output.read_to_string(&mut all)).await.expect("in time").expect("text");
    assert!(all.contains("a terminal\r\n") && all.contains("got typed\r\n"), "{all:?}");
}

async fn attach(cx: Cx) {
    let mut p = pod("p", "while read line; do echo heard $line; done; exec sleep 1000", json!({}));
    p["spec"]["containers"][0]["stdin"] = true.into();
    cx.ready_pod(p).await;
    let pods: kube::Api<Pod> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    let how = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = pods.attach("p", &how).await.expect("attach");
    let (mut input, mut output) = (process.stdin().expect("asked for"), process.stdout().expect("asked for"));
    input.write_all(b"me\n").await.expect("it listens");
    let mut line = [0; 9];
    tokio::time::timeout(SOON, output.read_exact(&mut line)).await.expect("in time").expect("it answers");
    assert_eq!(&line, b"heard me\n");
    cx.log_has("p", "heard me").await;
}

async fn logs(cx: Cx) {
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; while [ ! -e /go ]; do sleep 0.05; done; echo later; exit 0";
    cx.ready_pod(pod("p", script, json!({"restartPolicy": "Never"}))).await;
    cx.log_has("p", "oops").await;
    assert_eq!(cx.log("p", "tailLines=2").await, "line 5\noops\n");
    assert_eq!(cx.log("p", "limitBytes=6").await, "line 1");
    let stamped = cx.log("p", "timestamps=true&tailLines=1").await;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z oops\n"), "{stamped}");
    let mut follow = cx.api.lines(&cx.core("pods/p/log?follow=true&tailLines=1")).await;
    assert_eq!(follow.next().await.as_deref(), Some("oops"));
    cx.sh("p", "touch /go").await;
    assert_eq!(follow.next().await.as_deref(), Some("later"), "as it is written");
    assert_eq!(follow.next().await, None, "it ends with the container");
    cx.api.try_get(&cx.core("pods/p/log?container=none")).await.refused(400, "BadRequest");
}

async fn previous_logs(cx: Cx) {
    let script =
        "echo life $(cat /v/n 2>/dev/null); echo next > /v/n; while [ ! -e /die ]; do sleep 0.05; done; exit 1";
    let mut p = pod("p", script, json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    p["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    cx.ready_pod(p).await;
    cx.api.try_get(&cx.core("pods/p/log?previous=true")).await.refused(400, "BadRequest");
    cx.sh("p", "touch /die").await;
    cx.pod_when("is started again", "p", |p| p["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    cx.log_has("p", "life next").await;
    assert_eq!(cx.log("p", "previous=true").await, "life\n");
}

async fn port_forward(cx: Cx) {
    cx.ready_pod(pod("p", "echo forwarded > /www/index.html; exec httpd -f -p 8080 -h /www", json!({}))).await;
    let pods: kube::Api<Pod> = kube::Api::namespaced(cx.api.kube.clone(), &cx.ns);
    let text = tests::until("the port answers", SOON, async || {
        let mut forward = pods.portforward("p", &[8080]).await.map_err(|e| e.to_string())?;
        let mut stream = forward.take_stream(8080).expect("asked for");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.map_err(|e| e.to_string())?;
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await;
        if matches!(read, Ok(Ok(_))) && text.contains("200 OK") { Ok(text) } else { Err(format!("{read:?} {text}")) }
    })
    .await;
    assert!(text.ends_with("forwarded\n"), "{text}");
}

async fn with_kubectl(cx: Cx) {
    cx.ready_pod(pod("p", "echo logged; exec sleep 1000", json!({}))).await;
    let Some((ok, out)) = cx.kubectl(&["exec", "p", "--", "sh", "-c", "echo in; exit 5"]) else { return };
    assert!(!ok && out.contains("in\n") && out.contains("exit code 5"), "{out}");
    let line = format!("(echo one; echo two) | kubectl -n {} exec -i p -- cat", cx.ns);
    assert_eq!(
        tests::machine::succeed(cx.server.command("sh").args(["-c", &line])),
        "one\ntwo\n",
        "cat ends with its input"
    );
    let (ok, out) = cx.kubectl(&["logs", "p"]).unwrap();
    assert_eq!((ok, out.as_str()), (true, "logged\n"));
    let (ok, out) = cx.kubectl(&["get", "pods", "-o", "wide"]).unwrap();
    let row: Vec<&str> = out.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(ok && row[..4] == ["p", "1/1", "Running", "0"] && row[6] == "n1", "{out}");
    let (ok, out) = cx.kubectl(&["describe", "pod", "p"]).unwrap();
    assert!(ok && ["Scheduled", "Created", "Started"].iter().all(|r| out.contains(r)), "{out}");
}
