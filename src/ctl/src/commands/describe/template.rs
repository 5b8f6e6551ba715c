//! Containers and pod templates.

use api::Value;

use super::volumes;
use super::writer::{Out, joined, plain, time};
use crate::objects::{list, text};

/// A pod template by itself, as `rollout history --revision` shows it: with its tabs.
pub fn pod_template(template: &Value) -> String {
    let mut w = Out::default();
    describe(&mut w, template);
    w.raw()
}

/// `Pod Template:` of a workload.
pub fn describe(w: &mut Out, template: &Value) {
    w.put(0, "Pod Template:");
    if template.is_null() {
        w.put(1, "<unset>");
        return;
    }
    let (meta, spec) = (&template["metadata"], &template["spec"]);
    w.labels(1, "Labels", &meta["labels"]);
    if meta["annotations"].as_object().is_some_and(|a| !a.is_empty()) {
        w.annotations(1, &meta["annotations"]);
    }
    w.some(1, "Service Account", text(spec, "/serviceAccountName"));
    if !list(spec, "/initContainers").is_empty() {
        containers(w, 1, "Init Containers", &spec["initContainers"], &Value::Null);
    }
    containers(w, 1, "Containers", &spec["containers"], &Value::Null);
    volumes::describe(w, 1, &spec["volumes"]);
    for c in list(spec, "/topologySpreadConstraints") {
        let selector = super::writer::selector(&c["labelSelector"]);
        let skew = c["maxSkew"].as_i64().unwrap_or(0);
        w.field(
            1,
            "Topology Spread Constraints",
            format!(
                "{}:{} when max skew {skew} is exceeded for selector {selector}",
                text(c, "/topologyKey"),
                text(c, "/whenUnsatisfiable")
            ),
        );
    }
    w.some(1, "Priority Class Name", text(spec, "/priorityClassName"));
    w.labels(1, "Node-Selectors", &spec["nodeSelector"]);
    tolerations(w, 1, &spec["tolerations"]);
}

pub fn tolerations(w: &mut Out, level: usize, v: &Value) {
    let all: Vec<String> = v.as_array().into_iter().flatten().map(toleration).collect();
    let all = if all.is_empty() { vec!["<none>".to_owned()] } else { all };
    for (i, line) in all.iter().enumerate() {
        if i == 0 { w.field(level, "Tolerations", line) } else { w.put(level, format!("\t{line}")) }
    }
}

fn toleration(t: &Value) -> String {
    let mut line = text(t, "/key").to_owned();
    if let value @ [_, ..] = text(t, "/value").as_bytes() {
        line += &format!("={}", String::from_utf8_lossy(value));
    }
    if let effect @ [_, ..] = text(t, "/effect").as_bytes() {
        line += &format!(":{}", String::from_utf8_lossy(effect));
    }
    if text(t, "/operator") == "Exists" && text(t, "/value").is_empty() {
        line += if text(t, "/key").is_empty() && text(t, "/effect").is_empty() { "op=Exists" } else { " op=Exists" };
    }
    if let Some(seconds) = t["tolerationSeconds"].as_i64() {
        line += &format!(" for {seconds}s");
    }
    line
}

/// `Containers:` with their states, where there are some.
pub fn containers(w: &mut Out, level: usize, label: &str, all: &Value, statuses: &Value) {
    let none = all.as_array().is_none_or(Vec::is_empty);
    w.put(level, if none { format!("{label}: <none>") } else { format!("{label}:") });
    for c in all.as_array().into_iter().flatten() {
        let name = text(c, "/name");
        let status = statuses.as_array().into_iter().flatten().find(|s| text(s, "/name") == name);
        // a template's containers stand one space further right, their fields do not: kubectl's layout
        w.put(1, if level == 0 { format!("{name}:") } else { format!(" {name}:") });
        container(w, 2, c, status);
    }
}

fn container(w: &mut Out, level: usize, c: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        w.field(level, "Container ID", text(status, "/containerID"));
    }
    w.field(level, "Image", text(c, "/image"));
    if let Some(status) = status {
        w.field(level, "Image ID", text(status, "/imageID"));
    }
    let ports: Vec<String> =
        list(c, "/ports").iter().map(|p| format!("{}/{}", p["containerPort"], protocol(p))).collect();
    let host: Vec<String> =
        list(c, "/ports").iter().map(|p| format!("{}/{}", p["hostPort"].as_i64().unwrap_or(0), protocol(p))).collect();
    let many = ports.len() > 1;
    let shown = |p: &[String]| if p.is_empty() { "<none>".to_owned() } else { p.join(", ") };
    w.field(level, if many { "Ports" } else { "Port" }, shown(&ports));
    w.field(level, if many { "Host Ports" } else { "Host Port" }, shown(&host));
    w.some(level, "SeccompProfile", text(c, "/securityContext/seccompProfile/type"));
    for (label, key) in [("Command", "command"), ("Args", "args")] {
        let words = list(c, &format!("/{key}"));
        if !words.is_empty() {
            w.put(level, format!("{label}:"));
            for line in words.iter().flat_map(|v| v.as_str().unwrap_or_default().split('\n')) {
                w.put(level + 1, line);
            }
        }
    }
    if let Some(status) = status {
        state(w, level, "State", &status["state"]);
        if status["lastState"].as_object().is_some_and(|l| !l.is_empty()) {
            state(w, level, "Last State", &status["lastState"]);
        }
        w.field(level, "Ready", if status["ready"] == true { "True" } else { "False" });
        w.field(level, "Restart Count", status["restartCount"].to_string());
    }
    for (label, key) in [("Limits", "limits"), ("Requests", "requests")] {
        if let Some(all) = c["resources"][key].as_object().filter(|a| !a.is_empty()) {
            w.put(level, format!("{label}:"));
            all.iter().for_each(|(k, v)| w.field(level + 1, k, plain(v)));
        }
    }
    for (label, key) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
        if c[key].is_object() {
            w.field(level, label, probe(&c[key]));
        }
    }
    environment(w, level, c);
    mounts(w, level, c);
}

fn protocol(p: &Value) -> &str {
    match text(p, "/protocol") {
        "" => "TCP",
        p => p,
    }
}

fn state(w: &mut Out, level: usize, label: &str, v: &Value) {
    if let Some(r) = v.get("running") {
        w.field(level, label, "Running");
        w.field(level + 1, "Started", time(text(r, "/startedAt")));
    } else if let Some(t) = v.get("terminated") {
        w.field(level, label, "Terminated");
        w.some(level + 1, "Reason", text(t, "/reason"));
        w.some(level + 1, "Message", text(t, "/message"));
        w.field(level + 1, "Exit Code", t["exitCode"].to_string());
        if let Some(signal) = t["signal"].as_i64().filter(|s| *s > 0) {
            w.field(level + 1, "Signal", signal.to_string());
        }
        w.field(level + 1, "Started", time(text(t, "/startedAt")));
        w.field(level + 1, "Finished", time(text(t, "/finishedAt")));
    } else {
        w.field(level, label, "Waiting");
        w.some(level + 1, "Reason", text(v, "/waiting/reason"));
    }
}

fn probe(p: &Value) -> String {
    let n = |key: &str, default: i64| p[key].as_i64().unwrap_or(default);
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        n("initialDelaySeconds", 0),
        n("timeoutSeconds", 0),
        n("periodSeconds", 0),
        n("successThreshold", 0),
        n("failureThreshold", 0)
    );
    let what = if let Some(exec) = p.get("exec") {
        format!("exec [{}]", joined(&exec["command"], " ").replace("<none>", ""))
    } else if let Some(get) = p.get("httpGet") {
        let scheme = match text(get, "/scheme") {
            "" => "http".to_owned(),
            s => s.to_lowercase(),
        };
        format!("http-get {scheme}://{}:{}{}", text(get, "/host"), plain(&get["port"]), text(get, "/path"))
    } else if let Some(tcp) = p.get("tcpSocket") {
        format!("tcp-socket {}:{}", text(tcp, "/host"), plain(&tcp["port"]))
    } else if let Some(grpc) = p.get("grpc") {
        format!("grpc <pod>:{} {}", grpc["port"], text(grpc, "/service"))
    } else {
        "unknown".into()
    };
    format!("{what} {times}")
}

fn environment(w: &mut Out, level: usize, c: &Value) {
    let from = list(c, "/envFrom");
    if !from.is_empty() {
        w.put(level, "Environment Variables from:");
        for source in from {
            let (kind, r) = if source.get("configMapRef").is_some() {
                ("ConfigMap", &source["configMapRef"])
            } else {
                ("Secret", &source["secretRef"])
            };
            let prefix = match text(source, "/prefix") {
                "" => String::new(),
                p => format!(" with prefix '{p}'"),
            };
            w.put(level + 1, format!("{}\t{kind}{prefix}\tOptional: {}", text(r, "/name"), r["optional"] == true));
        }
    }
    let all = list(c, "/env");
    if all.is_empty() {
        w.field(level, "Environment", "<none>");
        return;
    }
    w.put(level, "Environment:");
    for e in all {
        let name = text(e, "/name");
        let Some(from) = e.get("valueFrom") else {
            for (i, line) in text(e, "/value").split('\n').enumerate() {
                w.put(level + 1, if i == 0 { format!("{name}:\t{line}") } else { format!("\t{line}") });
            }
            continue;
        };
        let source = if let Some(f) = from.get("fieldRef") {
            format!(" ({}:{})", text(f, "/apiVersion"), text(f, "/fieldPath"))
        } else if let Some(f) = from.get("resourceFieldRef") {
            format!(" ({})", text(f, "/resource"))
        } else {
            let (kind, r) = if from.get("secretKeyRef").is_some() {
                ("secret", &from["secretKeyRef"])
            } else {
                ("config map", &from["configMapKeyRef"])
            };
            let line = format!("<set to the key '{}' in {kind} '{}'>", text(r, "/key"), text(r, "/name"));
            w.put(level + 1, format!("{name}:\t{line}\tOptional: {}", r["optional"] == true));
            continue;
        };
        w.put(level + 1, format!("{name}:\t{source}"));
    }
}

fn mounts(w: &mut Out, level: usize, c: &Value) {
    let mut all: Vec<&Value> = list(c, "/volumeMounts").iter().collect();
    all.sort_by_key(|m| text(m, "/mountPath"));
    if all.is_empty() {
        w.field(level, "Mounts", "<none>");
    } else {
        w.put(level, "Mounts:");
    }
    for m in all {
        let mut flags = vec![if m["readOnly"] == true { "ro" } else { "rw" }.to_owned()];
        if let path @ [_, ..] = text(m, "/subPath").as_bytes() {
            flags.push(format!("path={:?}", String::from_utf8_lossy(path)));
        }
        w.put(level + 1, format!("{} from {} ({})", text(m, "/mountPath"), text(m, "/name"), flags.join(",")));
    }
    let devices = list(c, "/volumeDevices");
    if !devices.is_empty() {
        w.put(level, "Devices:");
        devices.iter().for_each(|d| w.put(level + 1, format!("{} from {}", text(d, "/devicePath"), text(d, "/name"))));
    }
}
