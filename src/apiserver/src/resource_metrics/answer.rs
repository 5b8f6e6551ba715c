//! The objects of the group and their table.

use api::{Object, Value};
use serde_json::json;

use super::fetch::Summary;
use super::{GROUP, Resource, VERSION};

/// `cpu` and `memory`; `None` where they are not known.
fn usage(of: &Value) -> Option<Value> {
    let cores = of["cpu"]["usageNanoCores"].as_u64()?;
    let bytes = of["memory"]["workingSetBytes"].as_u64()?;
    let kibibytes = bytes / 1024;
    let memory = if kibibytes == 0 { bytes.to_string() } else { format!("{kibibytes}Ki") };
    let cpu = if cores == 0 { "0".to_owned() } else { format!("{cores}n") };
    Some(json!({"cpu": cpu, "memory": memory}))
}

/// Go's `Duration.String` of whole seconds, and of what is less in thousandths.
fn window(milliseconds: u64) -> String {
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let seconds = format!("{}s", rest as f64 / 1000.0);
    if minutes > 0 { format!("{minutes}m{seconds}") } else { seconds }
}

fn object(resource: Resource, of: &Object, time: &Value, summary: &Summary) -> Value {
    let labels: serde_json::Map<String, Value> =
        of.meta().labels.iter().map(|(k, v)| (k.to_string(), Value::from(&**v))).collect();
    let mut metadata = json!({"name": of.name(), "creationTimestamp": time});
    if resource == Resource::Pods {
        metadata["namespace"] = of.namespace().into();
    }
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    json!({"kind": resource.kind(), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata,
        "timestamp": time, "window": window(summary.window_milliseconds)})
}

pub(super) fn node(of: &Object, summary: &Summary) -> Option<Value> {
    let its = summary.node();
    let mut tree = object(Resource::Nodes, of, &its["cpu"]["time"], summary);
    tree["usage"] = usage(its)?;
    Some(tree)
}

pub(super) fn pod(of: &Object, summary: &Summary) -> Option<Value> {
    let its = summary.pod(of.uid())?;
    let containers = its["containers"].as_array()?;
    let measured = containers.iter().filter_map(|c| Some(json!({"name": c["name"], "usage": usage(c)?})));
    let mut tree = object(Resource::Pods, of, &its["cpu"]["time"], summary);
    tree["containers"] = measured.collect::<Vec<_>>().into();
    Some(tree)
}

pub(super) fn list(resource: Resource, items: Vec<Value>) -> Value {
    let kind = format!("{}List", resource.kind());
    json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items})
}

/// As metrics-server's `addPodMetricsToTable` has it.
pub(super) fn table(resource: Resource, items: &[Value]) -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str| json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0});
    let columns = [
        column("Name", "string", "name", "Name of the resource"),
        column("cpu", "string", "quantity", ""),
        column("memory", "string", "quantity", ""),
        column("Window", "string", "duration", ""),
    ];
    let sum = |item: &Value, key: &str, suffix: &str| -> Value {
        let all: Vec<&Value> = match resource {
            Resource::Nodes => vec![&item["usage"]],
            Resource::Pods => item["containers"].as_array().into_iter().flatten().map(|c| &c["usage"]).collect(),
        };
        let number = |u: &&Value| u[key].as_str().and_then(|t| t.trim_end_matches(suffix).parse::<u64>().ok());
        format!("{}{suffix}", all.iter().filter_map(number).sum::<u64>()).into()
    };
    let row = |item: &Value| {
        let object =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]});
        let cells = [
            item["metadata"]["name"].clone(),
            sum(item, "cpu", "n"),
            sum(item, "memory", "Ki"),
            item["window"].clone(),
        ];
        json!({"cells": cells, "object": object})
    };
    let rows: Vec<Value> = items.iter().map(row).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Draft;

    fn summary() -> Summary {
        let use_of = |nanos: u64, bytes: u64| json!({"cpu": {"time": "2026-01-01T00:00:00Z", "usageNanoCores": nanos}, "memory": {"workingSetBytes": bytes}});
        let mut pod = use_of(3, 3 << 20);
        pod["podRef"] = json!({"uid": "u1"});
        pod["containers"] = json!([use_of(1_000_000, 1 << 20), use_of(2_000_000, 2 << 20)]);
        pod["containers"][0]["name"] = "a".into();
        pod["containers"][1]["name"] = "b".into();
        Summary::of(json!({"node": use_of(250_000_000, 1 << 30), "pods": [pod]}))
    }

    #[test]
    fn a_node_and_a_pod_are_shown_as_metrics_server_does() {
        let of = |tree: Value| Draft::encode(&tree).unwrap().at(1);
        let n = node(&of(json!({"metadata": {"name": "n1", "labels": {"a": "b"}}})), &summary()).unwrap();
        assert_eq!(n["usage"], json!({"cpu": "250000000n", "memory": "1048576Ki"}));
        assert_eq!((n["window"].as_str(), n["metadata"]["labels"]["a"].as_str()), (Some("15.3s"), Some("b")));
        let p = pod(&of(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u1"}})), &summary()).unwrap();
        assert_eq!(p["containers"][1], json!({"name": "b", "usage": {"cpu": "2000000n", "memory": "2048Ki"}}));
        assert_eq!(p["metadata"]["namespace"], "ns");
        let cells = &table(Resource::Pods, &[p])["rows"][0]["cells"];
        assert_eq!(*cells, json!(["p", "3000000n", "3072Ki", "15.3s"]));
        assert!(pod(&of(json!({"metadata": {"name": "q", "uid": "u2"}})), &summary()).is_none());
        assert_eq!(window(72_500), "1m12.5s");
    }
}
