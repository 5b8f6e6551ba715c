//! `printPod`.

use serde_json::Value;

use crate::kinds::table::{NONE, name, or_none, timestamp};
use crate::kinds::tree::{flag, has, items, number, some, text};
use crate::strategy::{AGE, Column, NAME, age, human_duration};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", "string"),
    Column::new("Status", "string"),
    Column::new("Restarts", "string"),
    AGE,
    Column::wide("IP", "string"),
    Column::wide("Node", "string"),
    Column::wide("Nominated Node", "string"),
    Column::wide("Readiness Gates", "string"),
];

pub(super) fn cells(pod: &Value, now_seconds: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let shown = Shown::of(pod);
    let restarts = match shown.last_restart {
        Some(at) if shown.restarts != 0 => {
            format!("{} ({} ago)", shown.restarts, human_duration(now_seconds - at))
        }
        _ => shown.restarts.to_string(),
    };
    let gates = items(spec, "readinessGates");
    let passed = gates.iter().filter(|g| is_true(status, text(g, "conditionType"))).count();
    let ip = items(status, "podIPs").first().map_or("", |ip| text(ip, "ip"));
    vec![
        name(pod),
        format!("{}/{}", shown.ready, shown.total).into(),
        shown.reason.into(),
        restarts.into(),
        age(pod, now_seconds),
        or_none(if ip.is_empty() { text(status, "podIP") } else { ip }),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        if gates.is_empty() { NONE.into() } else { format!("{passed}/{}", gates.len()).into() },
    ]
}

fn is_true(status: &Value, condition: &str) -> bool {
    items(status, "conditions").iter().any(|c| text(c, "type") == condition && text(c, "status") == "True")
}

#[derive(Default)]
struct Shown {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
}

/// `ExitCode:1`, `Signal:9`, or what the runtime said.
fn ended(terminated: &Value) -> String {
    match (text(terminated, "reason"), number(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

impl Shown {
    fn of(pod: &Value) -> Shown {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let mut shown = Shown { total: items(spec, "containers").len(), ..Shown::default() };
        shown.reason =
            [text(status, "reason"), text(status, "phase")].into_iter().find(|r| !r.is_empty()).unwrap_or("").into();
        if items(status, "conditions")
            .iter()
            .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated")
        {
            shown.reason = "SchedulingGated".into();
        }
        let sidecars = shown.init_containers(spec, status);
        if let Some((restarts, last)) = sidecars {
            (shown.restarts, shown.last_restart) = (restarts, last);
            shown.containers(status);
        }
        if has(&pod["metadata"], "deletionTimestamp") {
            if text(status, "reason") == "NodeLost" {
                shown.reason = "Unknown".into();
            } else if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
                shown.reason = "Terminating".into();
            }
        }
        shown
    }

    fn count(&mut self, container: &Value) {
        self.restarts += number(container, "restartCount");
        self.last_restart = self.last_restart.max(finished(container));
    }

    /// Restarts of the sidecars, if the init containers do not say how the pod is.
    fn init_containers(&mut self, spec: &Value, status: &Value) -> Option<(i64, Option<i64>)> {
        let inits = items(spec, "initContainers");
        let is_sidecar =
            |name: &str| inits.iter().any(|c| text(c, "name") == name && text(c, "restartPolicy") == "Always");
        self.total += inits.iter().filter(|c| text(c, "restartPolicy") == "Always").count();
        let mut sidecars = Shown::default();
        let mut initializing = false;
        for (i, container) in items(status, "initContainerStatuses").iter().enumerate() {
            self.count(container);
            let sidecar = is_sidecar(text(container, "name"));
            if sidecar {
                sidecars.count(container);
            }
            let state = &container["state"];
            let waiting = text(&state["waiting"], "reason");
            match some(state, "terminated") {
                Some(t) if number(t, "exitCode") == 0 => continue,
                _ if sidecar && flag(container, "started") => {
                    self.ready += usize::from(flag(container, "ready"));
                    continue;
                }
                Some(t) => self.reason = format!("Init:{}", ended(t)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => self.reason = format!("Init:{waiting}"),
                None => self.reason = format!("Init:{i}/{}", inits.len()),
            }
            initializing = true;
            break;
        }
        (!initializing || is_true(status, "Initialized")).then_some((sidecars.restarts, sidecars.last_restart))
    }

    fn containers(&mut self, status: &Value) {
        let mut running = false;
        for container in items(status, "containerStatuses").iter().rev() {
            self.count(container);
            let state = &container["state"];
            let waiting = text(&state["waiting"], "reason");
            if !waiting.is_empty() {
                self.reason = waiting.into();
            } else if let Some(t) = some(state, "terminated") {
                self.reason = ended(t);
            } else if flag(container, "ready") && has(state, "running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(status, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
}

fn finished(container: &Value) -> Option<i64> {
    timestamp(&container["lastState"]["terminated"]["finishedAt"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_read_as_upstreams() {
        let running = json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
        let completed = json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let cases = [
            (json!({"phase": "Pending"}), ["0/1", "Pending", "0"]),
            (json!({"phase": "Running", "containerStatuses": [running]}), ["1/1", "Running", "0"]),
            (
                json!({"phase": "Running", "containerStatuses": [{"restartCount": 3, "ready": false,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"finishedAt": "1970-01-01T00:00:10Z"}}}]}),
                ["0/1", "CrashLoopBackOff", "3 (90s ago)"],
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}),
                ["0/1", "Init:0/0", "0"],
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
                ["0/1", "Init:ExitCode:3", "0"],
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]),
            (
                json!({"phase": "Running", "containerStatuses": [running, completed],
                    "conditions": [{"type": "Ready", "status": "True"}]}),
                ["1/1", "Running", "0"],
            ),
            (json!({"phase": "Running", "containerStatuses": [running, completed]}), ["1/1", "NotReady", "0"]),
        ];
        for (status, want) in cases {
            let mut pod = json!({"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:40Z"},
                "spec": {"containers": [{"name": "a"}]}, "status": status});
            let row = cells(&pod, 100);
            assert_eq!(row.len(), COLUMNS.len());
            assert_eq!([&row[1], &row[2], &row[3]], want.each_ref(), "{pod}");
            assert_eq!(row[4], "60s");
            pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:50Z");
            let gone = if pod["status"]["phase"] == "Failed" { "Evicted" } else { "Terminating" };
            assert_eq!(cells(&pod, 100)[2], gone);
        }
    }
}
