//! `fieldRef` and `resourceFieldRef`: the pod's own values as text, for variables and downward API files.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceFieldSelector};

use super::spec::containers;
use crate::quantity::{milli, milli_of};
use crate::{Error, Result};

/// What a pod's fields are read from beside the pod itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    /// Thousandths and bytes, where a container has no limit of its own.
    pub node_milli_cpu: i64,
    pub node_memory_bytes: i64,
}

/// Upstream's `fieldpath.ExtractFieldPathAsString` and the kubelet's `podFieldSelectorRuntimeValue`.
pub(crate) fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String> {
    let m = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    if let Some((base, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match base {
            "metadata.labels" => &m.labels,
            "metadata.annotations" => &m.annotations,
            _ => return Err(Error::config(format!("fieldPath {path:?} does not support subscript"))),
        };
        return Ok(map.as_ref().and_then(|l| l.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&m.name),
        "metadata.namespace" => text(&m.namespace),
        "metadata.uid" => text(&m.uid),
        "metadata.labels" => format_map(m.labels.as_ref()),
        "metadata.annotations" => format_map(m.annotations.as_ref()),
        "spec.nodeName" => spec.map(|s| text(&s.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => spec.map(|s| text(&s.service_account_name)).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(Error::config(format!("unsupported fieldPath: {path}"))),
    })
}

fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", go_quote(v))).collect();
    lines.join("\n")
}

/// Go's `%q` for text.
fn go_quote(s: &str) -> String {
    let mut out = String::from('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `own` is the container that asks, where the selector names none.
pub(crate) fn resource(spec: &PodSpec, facts: &Facts, own: &str, r: &ResourceFieldSelector) -> Result<String> {
    let name = r.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let all = containers(spec);
    let c = all
        .iter()
        .find(|c| c.container.name == name)
        .ok_or_else(|| Error::config(format!("container {name} not found")))?;
    let (list, key) = r
        .resource
        .split_once('.')
        .ok_or_else(|| Error::config(format!("unsupported container resource : {}", r.resource)))?;
    let resources = c.container.resources.as_ref();
    let limits = resources.and_then(|r| r.limits.as_ref());
    let value = match list {
        "limits" => milli_of(limits, key).filter(|v| *v > 0).unwrap_or(match key {
            "cpu" => facts.node_milli_cpu,
            "memory" => facts.node_memory_bytes.saturating_mul(1000),
            _ => 0,
        }),
        "requests" => milli_of(resources.and_then(|r| r.requests.as_ref()), key).unwrap_or(0),
        _ => return Err(Error::config(format!("unsupported container resource : {}", r.resource))),
    };
    let divisor = r.divisor.as_ref().and_then(milli).filter(|d| *d > 0).unwrap_or(1000);
    let divided = (i128::from(value) + divisor - 1) / divisor;
    Ok(divided.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use serde_json::json;

    #[test]
    fn fields_read_as_upstreams() {
        let pod = Pod::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "1", "b": "x\"y"}, "annotations": {"k/x": "v"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [{"name": "c",
                "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}]}
        }))
        .unwrap();
        let facts = Facts {
            pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()],
            host_ips: vec!["192.168.0.1".into()],
            node_milli_cpu: 2000,
            node_memory_bytes: 1 << 30,
        };
        for (path, want) in [
            ("metadata.name", "p"),
            ("metadata.labels", "a=\"1\"\nb=\"x\\\"y\""),
            ("metadata.labels['a']", "1"),
            ("metadata.annotations['k/x']", "v"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            ("status.hostIP", "192.168.0.1"),
            ("spec.nodeName", "node"),
        ] {
            assert_eq!(field(&pod, &facts, path).unwrap(), want, "{path}");
        }
        assert!(field(&pod, &facts, "spec.x").is_err());
        let spec = pod.spec.unwrap();
        for (what, divisor, want) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("limits.memory", Some("1Mi"), "64"),
            ("requests.cpu", Some("1m"), "250"),
            ("limits.ephemeral-storage", None, "0"),
        ] {
            let r = ResourceFieldSelector {
                resource: what.into(),
                divisor: divisor.map(|d| api::k8s_openapi::apimachinery::pkg::api::resource::Quantity(d.into())),
                ..Default::default()
            };
            assert_eq!(resource(&spec, &facts, "c", &r).unwrap(), want, "{what}");
        }
    }
}
