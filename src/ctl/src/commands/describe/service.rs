//! `describe service`

use api::Value;

use super::writer::{Out, joined, plain, selector};
use crate::error::Result;
use crate::objects::{list, text};
use crate::session::Session;

pub async fn describe(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    w.name(o);
    w.namespace(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    w.field(0, "Type", text(o, "/spec/type"));
    w.some(0, "IP Family Policy", text(o, "/spec/ipFamilyPolicy"));
    if !list(o, "/spec/ipFamilies").is_empty() {
        w.field(0, "IP Families", joined(&o["spec"]["ipFamilies"], ","));
    } else {
        w.field(0, "IP Families", "<none>");
    }
    w.field(0, "IP", text(o, "/spec/clusterIP"));
    let ips = list(o, "/spec/clusterIPs");
    w.field(0, "IPs", if ips.is_empty() { "<none>".into() } else { joined(&o["spec"]["clusterIPs"], ",") });
    if !list(o, "/spec/externalIPs").is_empty() {
        w.field(0, "External IPs", joined(&o["spec"]["externalIPs"], ","));
    }
    w.some(0, "Desired LoadBalancer IP", text(o, "/spec/loadBalancerIP"));
    w.some(0, "External Name", text(o, "/spec/externalName"));
    let ingress: Vec<String> = list(o, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| match (text(i, "/ip"), text(i, "/hostname"), text(i, "/ipMode")) {
            ("", host, _) => host.to_owned(),
            (ip, _, "") => ip.to_owned(),
            (ip, _, mode) => format!("{ip} ({mode})"),
        })
        .collect();
    w.some(0, "LoadBalancer Ingress", &ingress.join(", "));
    let slices = slices(s, o).await;
    for p in list(o, "/spec/ports") {
        let port_name = match text(p, "/name") {
            "" => "<unset>",
            n => n,
        };
        w.put(0, format!("Port:\t{port_name}\t{}/{}", p["port"], text(p, "/protocol")));
        if let target @ (Value::Number(_) | Value::String(_)) = &p["targetPort"] {
            w.put(0, format!("TargetPort:\t{}/{}", plain(target), text(p, "/protocol")));
        }
        if let Some(node) = p["nodePort"].as_i64().filter(|n| *n != 0) {
            w.put(0, format!("NodePort:\t{port_name}\t{node}/{}", text(p, "/protocol")));
        }
        w.field(0, "Endpoints", endpoints(&slices, text(p, "/name")));
    }
    w.field(0, "Session Affinity", text(o, "/spec/sessionAffinity"));
    w.some(0, "External Traffic Policy", text(o, "/spec/externalTrafficPolicy"));
    w.some(0, "Internal Traffic Policy", text(o, "/spec/internalTrafficPolicy"));
    w.some(0, "TrafficDistribution", text(o, "/spec/trafficDistribution"));
    if let Some(port) = o["spec"]["healthCheckNodePort"].as_i64().filter(|p| *p != 0) {
        w.field(0, "HealthCheck NodePort", port.to_string());
    }
    if !list(o, "/spec/loadBalancerSourceRanges").is_empty() {
        w.field(0, "LoadBalancer Source Ranges", joined(&o["spec"]["loadBalancerSourceRanges"], ","));
    }
    Ok(())
}

/// The service's endpoint slices, or its endpoints in the same shape.
async fn slices(s: &Session, o: &Value) -> Vec<Value> {
    let (namespace, name) = (text(o, "/metadata/namespace"), text(o, "/metadata/name"));
    let label = format!("kubernetes.io/service-name={name}");
    let Ok(mapping) = s.mapping("endpointslices.v1.discovery.k8s.io").await else { return Vec::new() };
    match s.list(&mapping, namespace, &[("labelSelector", &label)]).await {
        Ok(all) => list(&all, "/items").to_vec(),
        Err(_) => Vec::new(),
    }
}

/// `10.42.0.3:80,10.42.0.4:80 + 2 more...`
fn endpoints(slices: &[Value], port: &str) -> String {
    if slices.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for slice in slices {
        let ports = list(slice, "/ports");
        let shown: Vec<&Value> = ports.iter().filter(|p| text(p, "/name") == port).collect();
        for e in list(slice, "/endpoints").iter().filter(|e| e["conditions"]["ready"] != false) {
            for address in list(e, "/addresses").iter().filter_map(Value::as_str) {
                let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                all.extend(shown.iter().map(|p| format!("{host}:{}", p["port"])));
            }
        }
    }
    match all.len() {
        0 => String::new(),
        1..=3 => all.join(","),
        n => format!("{} + {} more...", all[..3].join(","), n - 3),
    }
}

/// `describe endpoints`
pub fn endpoints_object(w: &mut Out, o: &Value) {
    w.name(o);
    w.namespace(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.put(0, "Subsets:");
    for subset in list(o, "/subsets") {
        let addresses = |key: &str| {
            let all: Vec<&str> = list(subset, key).iter().map(|a| text(a, "/ip")).collect();
            if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
        };
        w.field(1, "Addresses", addresses("/addresses"));
        w.field(1, "NotReadyAddresses", addresses("/notReadyAddresses"));
        let ports = list(subset, "/ports");
        if !ports.is_empty() {
            w.put(1, "Ports:");
            w.put(2, "Name\tPort\tProtocol");
            w.put(2, "----\t----\t--------");
            for p in ports {
                let name = if text(p, "/name").is_empty() { "<unset>" } else { text(p, "/name") };
                w.put(2, format!("{name}\t{}\t{}", p["port"], text(p, "/protocol")));
            }
        }
        w.put(0, "");
    }
}

/// `describe endpointslice`
pub fn endpoint_slice(w: &mut Out, o: &Value) {
    w.name(o);
    w.namespace(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "AddressType", text(o, "/addressType"));
    let or_unset = |t: &str| if t.is_empty() { "<unset>".to_owned() } else { t.to_owned() };
    let ports = list(o, "/ports");
    if ports.is_empty() {
        w.field(0, "Ports", "<unset>");
    } else {
        w.put(0, "Ports:");
        w.put(1, "Name\tPort\tProtocol");
        w.put(1, "----\t----\t--------");
        for p in ports {
            let port = p["port"].as_i64().map_or_else(|| "<unset>".to_owned(), |p| p.to_string());
            w.put(1, format!("{}\t{port}\t{}", or_unset(text(p, "/name")), text(p, "/protocol")));
        }
    }
    let endpoints = list(o, "/endpoints");
    if endpoints.is_empty() {
        w.field(0, "Endpoints", "<none>");
        return;
    }
    w.put(0, "Endpoints:");
    for e in endpoints {
        w.put(1, format!("- Addresses:\t{}", joined(&e["addresses"], ", ")));
        w.put(2, "Conditions:");
        w.field(3, "Ready", e["conditions"]["ready"].as_bool().map_or_else(|| "<unset>".to_owned(), |b| b.to_string()));
        w.field(2, "Hostname", or_unset(text(e, "/hostname")));
        if e["targetRef"].is_object() {
            w.field(2, "TargetRef", format!("{}/{}", text(e, "/targetRef/kind"), text(e, "/targetRef/name")));
        }
        w.field(2, "NodeName", or_unset(text(e, "/nodeName")));
        w.field(2, "Zone", or_unset(text(e, "/zone")));
    }
}
