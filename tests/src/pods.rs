//! Pods of the test image, and what to do with them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::{Cx, SOON, until};

/// A container `c` that runs a shell script.
pub fn container(script: &str) -> Value {
    json!({"name": "c", "image": "box:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script]})
}

/// A pod with one such container; `more` is merged into its spec.
pub fn pod(name: &str, script: &str, more: Value) -> Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container(script)]});
    merge(&mut spec, more);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// JSON merge patch, without removals.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True")
}

/// The status of one of an object's conditions.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|c| c["type"] == kind)?["status"].as_str()
}

/// What came out of a command in a container.
#[derive(Debug)]
pub struct Exec {
    pub out: String,
    pub err: String,
    /// 0, the exit code, or -1 for another failure, which `status` tells
    pub code: i32,
    pub status: Value,
}

impl Cx {
    pub async fn create_pod(&self, pod: Value) -> Value {
        self.api.post(&self.core("pods"), pod).await
    }

    /// Creates it and waits until it is ready.
    pub async fn ready_pod(&self, pod: Value) -> Value {
        let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
        self.create_pod(pod).await;
        self.pod_when("is ready", &name, is_ready).await
    }

    pub async fn pod_when(&self, what: &str, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.api.wait(what, &self.core(&format!("pods/{name}")), SOON, is).await
    }

    /// Runs it to its end: what it logged.
    pub async fn output_of(&self, mut pod: Value) -> String {
        pod["spec"]["restartPolicy"] = "Never".into();
        let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
        self.create_pod(pod).await;
        let done =
            self.pod_when("ends", &name, |p| ["Succeeded", "Failed"].iter().any(|f| p["status"]["phase"] == *f)).await;
        let log = self.log(&name, "").await;
        assert_eq!(done["status"]["phase"], "Succeeded", "{log}\n{}", done["status"]);
        log
    }

    pub async fn log(&self, pod: &str, query: &str) -> String {
        self.api.text(&self.core(&format!("pods/{pod}/log?{query}"))).await
    }

    pub async fn log_has(&self, pod: &str, text: &str) {
        self.log_has_within(pod, text, SOON).await;
    }

    pub async fn log_has_within(&self, pod: &str, text: &str, deadline: Duration) {
        until(&format!("{pod} logs {text:?}"), deadline, async || {
            let reply = self.api.try_get(&self.core(&format!("pods/{pod}/log"))).await;
            let log = reply.body.as_str().map_or_else(|| reply.body.to_string(), str::to_owned);
            if reply.code.is_success() && log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// `kubectl exec POD -- COMMAND`, over a WebSocket.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Exec {
        self.exec_in(pod, "c", command).await
    }

    pub async fn exec_in(&self, pod: &str, container: &str, command: &[&str]) -> Exec {
        let pods: kube::Api<Pod> = kube::Api::namespaced(self.api.kube.clone(), &self.ns);
        let how = AttachParams::default().container(container).stdin(false);
        let mut process =
            pods.exec(pod, command.iter().copied(), &how).await.unwrap_or_else(|e| panic!("exec {command:?}: {e}"));
        let mut out = process.stdout().expect("asked for");
        let mut err = process.stderr().expect("asked for");
        let status = process.take_status().expect("once");
        let (mut o, mut e) = (String::new(), String::new());
        let (a, b, status) = tokio::join!(out.read_to_string(&mut o), err.read_to_string(&mut e), status);
        a.and(b).expect("text");
        let status = status.expect("the server says how it ended");
        let status = json!({"status": status.status, "reason": status.reason, "message": status.message,
            "causes": status.details.map(|d| d.causes.into_iter().flatten().map(|c| json!([c.reason, c.message])).collect::<Vec<_>>())});
        let cause = status["causes"][0][1].as_str().and_then(|c| c.parse().ok());
        let code = if status["status"] == "Success" { 0 } else { cause.unwrap_or(-1) };
        Exec { out: o, err: e, code, status }
    }

    /// The output of a shell line in a pod, which must succeed.
    pub async fn sh(&self, pod: &str, script: &str) -> String {
        let done = self.exec(pod, &["sh", "-c", script]).await;
        assert_eq!(done.code, 0, "{script}: {done:?}");
        done.out.trim_end().to_owned()
    }

    /// The same, until its output is as wanted.
    pub async fn sh_until(&self, pod: &str, script: &str, deadline: Duration, is: impl Fn(&str) -> bool) -> String {
        until(&format!("{pod}: {script}"), deadline, async || {
            let done = self.exec(pod, &["sh", "-c", script]).await;
            if done.code == 0 && is(done.out.trim_end()) {
                Ok(done.out.trim_end().to_owned())
            } else {
                Err(format!("{done:?}"))
            }
        })
        .await
    }
}
