//! `describe pod`

use api::Value;

use super::template::{containers, tolerations};
use super::volumes;
use super::writer::{Out, time};
use crate::objects::{list, text};

pub fn describe(w: &mut Out, o: &Value) {
    w.name(o);
    w.namespace(o);
    if let Some(priority) = o["spec"]["priority"].as_i64() {
        w.field(0, "Priority", priority.to_string());
    }
    w.some(0, "Priority Class Name", text(o, "/spec/priorityClassName"));
    w.some(0, "Runtime Class Name", text(o, "/spec/runtimeClassName"));
    w.some(0, "Service Account", text(o, "/spec/serviceAccountName"));
    match text(o, "/spec/nodeName") {
        "" => w.field(0, "Node", "<none>"),
        node => w.field(0, "Node", format!("{node}/{}", text(o, "/status/hostIP"))),
    }
    if let started @ [_, ..] = text(o, "/status/startTime").as_bytes() {
        w.field(0, "Start Time", time(&String::from_utf8_lossy(started)));
    }
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    match text(o, "/metadata/deletionTimestamp").parse::<jiff::Timestamp>() {
        Ok(deleted) if !matches!(text(o, "/status/phase"), "Failed" | "Succeeded") => {
            let lasts = jiff::Timestamp::now().as_second() - deleted.as_second();
            w.field(
                0,
                "Status",
                format!(
                    "Terminating (lasts {})",
                    if lasts < 0 { "<invalid>".into() } else { api::human_duration(lasts) }
                ),
            );
            let grace = o["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            w.field(0, "Termination Grace Period", format!("{grace}s"));
        }
        _ => w.field(0, "Status", text(o, "/status/phase")),
    }
    w.some(0, "Reason", text(o, "/status/reason"));
    w.some(0, "Message", text(o, "/status/message"));
    let seccomp = text(o, "/spec/securityContext/seccompProfile/type");
    w.some(0, "SeccompProfile", seccomp);
    if seccomp == "Localhost" {
        w.field(0, "LocalhostProfile", text(o, "/spec/securityContext/seccompProfile/localhostProfile"));
    }
    w.field(0, "IP", text(o, "/status/podIP"));
    let ips = list(o, "/status/podIPs");
    if ips.is_empty() {
        w.field(0, "IPs", "<none>");
    } else {
        w.put(0, "IPs:");
        ips.iter().for_each(|ip| w.field(1, "IP", text(ip, "/ip")));
    }
    if let Some(owner) = list(o, "/metadata/ownerReferences").iter().find(|r| r["controller"] == true) {
        w.field(0, "Controlled By", format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
    }
    w.some(0, "NominatedNodeName", text(o, "/status/nominatedNodeName"));
    if !list(o, "/spec/initContainers").is_empty() {
        containers(w, 0, "Init Containers", &o["spec"]["initContainers"], &o["status"]["initContainerStatuses"]);
    }
    containers(w, 0, "Containers", &o["spec"]["containers"], &o["status"]["containerStatuses"]);
    if !list(o, "/spec/ephemeralContainers").is_empty() {
        containers(
            w,
            0,
            "Ephemeral Containers",
            &o["spec"]["ephemeralContainers"],
            &o["status"]["ephemeralContainerStatuses"],
        );
    }
    let gates = list(o, "/spec/readinessGates");
    if !gates.is_empty() {
        w.put(0, "Readiness Gates:");
        w.put(1, "Type\tStatus");
        for gate in gates {
            let kind = text(gate, "/conditionType");
            let found = list(o, "/status/conditions").iter().find(|c| text(c, "/type") == kind);
            w.put(1, format!("{kind}\t{} ", found.map_or("<none>", |c| text(c, "/status"))));
        }
    }
    let conditions = list(o, "/status/conditions");
    if !conditions.is_empty() {
        w.put(0, "Conditions:");
        w.put(1, "Type\tStatus");
        conditions.iter().for_each(|c| w.put(1, format!("{} \t{} ", text(c, "/type"), text(c, "/status"))));
    }
    volumes::describe(w, 0, &o["spec"]["volumes"]);
    w.field(0, "QoS Class", text(o, "/status/qosClass"));
    w.labels(0, "Node-Selectors", &o["spec"]["nodeSelector"]);
    tolerations(w, 0, &o["spec"]["tolerations"]);
    for c in list(o, "/spec/topologySpreadConstraints") {
        let selector = super::writer::selector(&c["labelSelector"]);
        let skew = c["maxSkew"].as_i64().unwrap_or(0);
        w.field(
            0,
            "Topology Spread Constraints",
            format!(
                "{}:{} when max skew {skew} is exceeded for selector {selector}",
                text(c, "/topologyKey"),
                text(c, "/whenUnsatisfiable")
            ),
        );
    }
}
