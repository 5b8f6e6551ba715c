//! `printService`.

use serde_json::Value;

use crate::kinds::table::{NONE, join, labels, name, or_none};
use crate::kinds::tree::{items, number, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Type", "string"),
    Column::new("Cluster-IP", "string"),
    Column::new("External-IP", "string"),
    Column::new("Port(s)", "string"),
    AGE,
    Column::wide("Selector", "string"),
];

pub(super) fn cells(service: &Value, now_seconds: i64) -> Vec<Value> {
    let spec = &service["spec"];
    let cluster_ip = items(spec, "clusterIPs").first().and_then(Value::as_str).unwrap_or(text(spec, "clusterIP"));
    let ports: Vec<String> = items(spec, "ports").iter().map(port).collect();
    vec![
        name(service),
        text(spec, "type").into(),
        or_none(cluster_ip),
        external_ips(service),
        or_none(&ports.join(",")),
        age(service, now_seconds),
        labels(spec, "selector"),
    ]
}

fn port(p: &Value) -> String {
    let (port, protocol) = (number(p, "port"), text(p, "protocol"));
    match number(p, "nodePort") {
        0 => format!("{port}/{protocol}"),
        node_port => format!("{port}:{node_port}/{protocol}"),
    }
}

fn external_ips(service: &Value) -> Value {
    let spec = &service["spec"];
    let given = || items(spec, "externalIPs").iter().filter_map(Value::as_str);
    match text(spec, "type") {
        "ClusterIP" | "NodePort" => join(given()),
        "LoadBalancer" => {
            let ingress = items(&service["status"]["loadBalancer"], "ingress");
            let mut all: Vec<&str> = ingress
                .iter()
                .map(|i| if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") })
                .filter(|a| !a.is_empty())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(given());
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        "ExternalName" => text(spec, "externalName").into(),
        _ => NONE.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_read_as_upstreams() {
        for (spec, want) in [
            (
                json!({"type": "NodePort", "clusterIP": "10.43.0.5", "selector": {"app": "x"},
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
                ["NodePort", "10.43.0.5", "<none>", "80:30080/TCP", "app=x"],
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.43.0.5", "ports": []}),
                ["LoadBalancer", "10.43.0.5", "<pending>", "<none>", "<none>"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                ["ExternalName", "<none>", "a.b", "<none>", "<none>"],
            ),
        ] {
            let row = cells(&json!({"metadata": {"name": "s"}, "spec": spec}), 0);
            assert_eq!([&row[1], &row[2], &row[3], &row[4], &row[6]], want.each_ref());
        }
    }
}
