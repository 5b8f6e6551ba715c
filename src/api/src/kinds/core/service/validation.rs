//! `ValidateService` and `ValidateServiceUpdate`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::net;
use crate::kinds::tree::{entries, has, items, number, some, text};
use crate::{kinds::metadata, names};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn validate(service: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&service["spec"], &Path::root("spec"));
    let kind = text(spec, "type");
    let ports = items(spec, "ports");
    let headless = text(spec, "clusterIP") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" if headless => errors.push(may_not_be_none(path, kind)),
        "NodePort" if headless => errors.push(may_not_be_none(path, kind)),
        "ExternalName" => {
            let given = !items(spec, "clusterIPs").is_empty() || !text(spec, "clusterIP").is_empty();
            for (field, present) in [
                ("clusterIPs", given),
                ("ipFamilies", !items(spec, "ipFamilies").is_empty()),
                ("ipFamilyPolicy", has(spec, "ipFamilyPolicy")),
            ] {
                if present {
                    errors.push(Error::forbidden(&path.child(field), "may not be set for ExternalName services"));
                }
            }
            let host = text(spec, "externalName").trim_end_matches('.');
            if host.is_empty() {
                errors.push(Error::required(&path.child("externalName"), ""));
            } else {
                let wrong = names::dns_subdomain(host, false);
                errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("externalName"), host, e)));
            }
        }
        _ => {}
    }
    validate_ports(&mut errors, &path.child("ports"), ports, kind);
    metadata::labels(&mut errors, &path.child("selector"), entries(spec, "selector"));
    validate_affinity(&mut errors, path, spec);
    validate_cluster_ips(&mut errors, path, spec);
    let external = path.child("externalIPs");
    for (i, ip) in items(spec, "externalIPs").iter().enumerate() {
        net::endpoint_ip(&mut errors, &external.index(i), ip.as_str().unwrap_or_default());
    }
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), ""));
    } else if !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    validate_load_balancer(&mut errors, path, spec, kind);
    validate_traffic_policies(&mut errors, path, spec);
    errors
}

fn may_not_be_none(path: &Path, kind: &str) -> Error {
    let detail = format!("may not be set to 'None' for {kind} services");
    Error::invalid(&path.child("clusterIPs").index(0), "None", detail)
}

fn validate_ports(errors: &mut Vec<Error>, path: &Path, ports: &[Value], kind: &str) {
    let mut names_seen: Vec<&str> = Vec::new();
    let mut seen: Vec<(&str, i64)> = Vec::new();
    let mut node_ports: Vec<(&str, i64)> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = &path.index(i);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(Error::required(&path.child("name"), ""));
            }
        } else {
            let wrong = names::dns_label(name, false);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("name"), name, e)));
            if names_seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            names_seen.push(name);
        }
        let (number_, protocol) = (number(port, "port"), text(port, "protocol"));
        net::port_number(errors, &path.child("port"), number_);
        net::protocol(errors, &path.child("protocol"), protocol);
        target_port(errors, &path.child("targetPort"), &port["targetPort"]);
        if seen.contains(&(protocol, number_)) {
            errors.push(Error::duplicate(path, shown_port(protocol, number_)));
        }
        seen.push((protocol, number_));
        let node_port = number(port, "nodePort");
        if node_port != 0 {
            if kind == "ClusterIP" {
                let detail = format!("may not be used when `type` is '{kind}'");
                errors.push(Error::forbidden(&path.child("nodePort"), &detail));
            } else if node_ports.contains(&(protocol, node_port)) {
                errors.push(Error::duplicate(&path.child("nodePort"), node_port));
            }
            node_ports.push((protocol, node_port));
        }
        if let Some(app) = some(port, "appProtocol").and_then(Value::as_str) {
            let wrong = names::qualified_name(app);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("appProtocol"), app, e)));
        }
    }
}

fn shown_port(protocol: &str, port: i64) -> Value {
    serde_json::json!({"port": port, "protocol": protocol})
}

/// A number or the name of a container's port.
fn target_port(errors: &mut Vec<Error>, path: &Path, target: &Value) {
    match target {
        Value::Number(n) => net::port_number(errors, path, n.as_i64().unwrap_or_default()),
        Value::String(s) => {
            errors.extend(names::port_name(s).into_iter().map(|e| Error::invalid(path, s.as_str(), e)));
        }
        _ => {}
    }
}

fn validate_affinity(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let affinity = text(spec, "sessionAffinity");
    let supported = &["ClientIP", "None"];
    let config = path.child("sessionAffinityConfig");
    if affinity.is_empty() {
        errors.push(Error::required(&path.child("sessionAffinity"), ""));
    } else if !supported.contains(&affinity) {
        errors.push(Error::not_supported(&path.child("sessionAffinity"), affinity, supported));
    } else if affinity == "ClientIP" {
        let timeout = number(&spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds");
        if !(1..=86400).contains(&timeout) {
            let client = config.child("clientIP");
            let detail = "must be greater than 0 and less than 86400";
            errors.push(Error::invalid(&client.child("timeoutSeconds"), timeout, detail));
        }
    } else if has(spec, "sessionAffinityConfig") {
        errors.push(Error::forbidden(&config, "must not be set when session affinity is None"));
    }
}

fn validate_cluster_ips(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let ips = items(spec, "clusterIPs");
    let first = text(spec, "clusterIP");
    let path_ips = path.child("clusterIPs");
    if let Some(head) = ips.first().and_then(Value::as_str)
        && head != first
    {
        errors.push(Error::invalid(&path_ips.index(0), head, "first value must match `clusterIP`"));
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(&path_ips, spec["clusterIPs"].clone(), "may only hold up to 2 values"));
    }
    let all: Vec<&str> = if ips.is_empty() { vec![first] } else { ips.iter().filter_map(Value::as_str).collect() };
    for (i, ip) in all.iter().enumerate().filter(|(_, ip)| !ip.is_empty()) {
        if *ip == "None" {
            if all.len() > 1 {
                errors.push(Error::invalid(&path_ips.index(i), *ip, "'None' must be the first and only value"));
            }
            continue;
        }
        net::ip(errors, &path_ips.index(i), ip);
    }
    let families = path.child("ipFamilies");
    for (i, family) in items(spec, "ipFamilies").iter().enumerate() {
        let family = family.as_str().unwrap_or_default();
        if !matches!(family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&families.index(i), family, &["IPv4", "IPv6"]));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    let policies = &["SingleStack", "PreferDualStack", "RequireDualStack"];
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("ipFamilyPolicy"), policy, policies));
    }
}

fn validate_load_balancer(errors: &mut Vec<Error>, path: &Path, spec: &Value, kind: &str) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if kind != "LoadBalancer" && has(spec, field) {
            errors.push(Error::forbidden(&path.child(field), only));
        }
    }
    if kind == "LoadBalancer" && !has(spec, "allocateLoadBalancerNodePorts") {
        errors.push(Error::required(&path.child("allocateLoadBalancerNodePorts"), ""));
    }
    let ranges = items(spec, "loadBalancerSourceRanges");
    let at = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.push(Error::forbidden(&at, only));
    }
    for (i, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        if range.trim().parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(Error::invalid(&at.index(i), range, detail));
        }
    }
}

fn validate_traffic_policies(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let supported = &["Cluster", "Local"];
    let external = text(spec, "externalTrafficPolicy");
    let at = path.child("externalTrafficPolicy");
    if super::externally_accessible(spec) {
        if external.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !supported.contains(&external) {
            errors.push(Error::not_supported(&at, external, supported));
        }
    } else if !external.is_empty() {
        errors.push(Error::invalid(&at, external, "may only be set for externally-accessible services"));
    }
    let health = number(spec, "healthCheckNodePort");
    if health != 0 && !(text(spec, "type") == "LoadBalancer" && external == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), health, detail));
    }
    if let Some(distribution) = some(spec, "trafficDistribution").and_then(Value::as_str) {
        let known = &["PreferClose", "PreferSameNode", "PreferSameZone"];
        if !known.contains(&distribution) {
            errors.push(Error::not_supported(&path.child("trafficDistribution"), distribution, known));
        }
    }
    if let Some(internal) = some(spec, "internalTrafficPolicy").and_then(Value::as_str)
        && !supported.contains(&internal)
    {
        errors.push(Error::not_supported(&path.child("internalTrafficPolicy"), internal, supported));
    }
}

pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    let (spec, was) = (&new["spec"], &old["spec"]);
    let (kind, kind_was) = (text(spec, "type"), text(was, "type"));
    // a cluster IP once given stays, unless the type came from or goes to ExternalName
    let given = text(was, "clusterIP");
    if kind != "ExternalName" && kind_was != "ExternalName" && !given.is_empty() {
        let at = path.child("clusterIPs");
        if text(spec, "clusterIP") != given {
            let value = if text(spec, "clusterIP").is_empty() { Value::Null } else { spec["clusterIP"].clone() };
            let value = if items(spec, "clusterIPs").is_empty() { value } else { spec["clusterIPs"].clone() };
            if items(spec, "clusterIPs").first() == items(was, "clusterIPs").first() {
                errors.push(Error::invalid(&path.child("clusterIP"), value, "field is immutable"));
            } else {
                errors.push(Error::invalid(&at.index(0), value, "may not change once set"));
            }
        }
    }
    if kind == "LoadBalancer" && kind_was == "LoadBalancer" && has(was, "loadBalancerClass") {
        let at = path.child("loadBalancerClass");
        if spec.get("loadBalancerClass") != was.get("loadBalancerClass") {
            errors.push(Error::invalid(&at, spec["loadBalancerClass"].clone(), "may not change once set"));
        }
    }
    let needs_check = |s: &Value| text(s, "type") == "LoadBalancer" && text(s, "externalTrafficPolicy") == "Local";
    if needs_check(spec)
        && needs_check(was)
        && number(spec, "healthCheckNodePort") != number(was, "healthCheckNodePort")
    {
        errors.push(Error::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;
    use crate::kinds::core::service::Service;
    use serde_json::json;

    fn texts(spec: &Value) -> Vec<String> {
        let mut service = json!({"spec": spec.clone()});
        Service.default(&mut service);
        validate(&service).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let good = json!({"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": "http"}]});
        assert_eq!(texts(&good), Vec::<String>::new());
        for (spec, want) in [
            (json!({}), "spec.ports: Required value"),
            (
                json!({"ports": [{"port": 0}]}),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}), "spec.ports[0].name: Required value"),
            (
                json!({"type": "X", "ports": [{"port": 1}]}),
                r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
            ),
            (
                json!({"ports": [{"port": 1, "protocol": "tcp"}]}),
                r#"spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP""#,
            ),
            (
                json!({"ports": [{"port": 1, "nodePort": 30000}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
            (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        ] {
            assert!(texts(&spec).iter().any(|t| t == want), "{spec}: {:?}", texts(&spec));
        }
    }
}
