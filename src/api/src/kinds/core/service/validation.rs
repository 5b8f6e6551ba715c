//! `ValidateService` and `ValidateServiceUpdate`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::net;
use crate::kinds::tree::{entries, has, items, number, some, text};
use crate::{kinds::metadata, names};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const MODE: &str = "service.kubernetes.io/topology-mode";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const SET_ONCE: &str = "may not change once set";

/// `validateService`; what was accepted in `old` may stay.
pub(super) fn validate(service: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&service["spec"], &Path::root("spec"));
    let was = old.map_or(&Value::Null, |o| &o["spec"]);
    let annotation = |key: &str| service["metadata"]["annotations"].get(key).and_then(Value::as_str);
    if let (Some(mode), Some(hints)) = (annotation(MODE), annotation(HINTS))
        && mode != hints
    {
        let (metadata, detail) =
            (Path::root("metadata"), format!("must match annotations[{HINTS}] when both are specified"));
        errors.push(Error::invalid(&metadata.child("annotations").key(MODE), mode, detail));
    }
    let (kind, ports, headless) = (text(spec, "type"), items(spec, "ports"), is_headless(spec));
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => validate_external_name(&mut errors, path, spec),
        _ => {}
    }
    let at_ports = path.child("ports");
    validate_ports(&mut errors, &at_ports, ports);
    metadata::labels(&mut errors, &path.child("selector"), entries(spec, "selector"));
    validate_affinity(&mut errors, path, spec);
    validate_cluster_ips(&mut errors, path, spec, was);
    let (external, kept) = (path.child("externalIPs"), items(was, "externalIPs"));
    for (i, ip) in items(spec, "externalIPs").iter().enumerate() {
        let (at, text) = (external.index(i), ip.as_str().unwrap_or_default());
        if kept.contains(ip) || net::ip(&mut errors, &at, text).is_some() {
            net::endpoint_ip(&mut errors, &at, text);
        }
    }
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), ""));
    } else if !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    validate_given_ports(&mut errors, &at_ports, ports, kind);
    validate_load_balancer(&mut errors, path, service, old);
    validate_traffic_policies(&mut errors, path, spec);
    errors
}

fn is_headless(spec: &Value) -> bool {
    match items(spec, "clusterIPs") {
        [] => text(spec, "clusterIP") == "None",
        [one] => one == "None",
        _ => false,
    }
}

fn validate_external_name(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
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
    let (host, at) = (text(spec, "externalName"), path.child("externalName"));
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(names::dns_subdomain(host, false).into_iter().map(|e| Error::invalid(&at, host, e)));
    }
}

/// `validateServicePort`
fn validate_ports(errors: &mut Vec<Error>, path: &Path, ports: &[Value]) {
    for (i, port) in ports.iter().enumerate() {
        let path = &path.index(i);
        let (name, at) = (text(port, "name"), path.child("name"));
        if !name.is_empty() {
            errors.extend(names::dns_label(name, false).into_iter().map(|e| Error::invalid(&at, name, e)));
            if ports[..i].iter().any(|p| text(p, "name") == name) {
                errors.push(Error::duplicate(&at, name));
            }
        } else if ports.len() > 1 {
            errors.push(Error::required(&at, ""));
        }
        net::port_number(errors, &path.child("port"), number(port, "port"));
        net::protocol(errors, &path.child("protocol"), text(port, "protocol"));
        target_port(errors, &path.child("targetPort"), &port["targetPort"]);
        if let Some(app) = some(port, "appProtocol").and_then(Value::as_str) {
            let wrong = names::qualified_name(app);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("appProtocol"), app, e)));
        }
    }
}

/// Ports of nodes, and that none is given twice.
fn validate_given_ports(errors: &mut Vec<Error>, path: &Path, ports: &[Value], kind: &str) {
    let of = |port: &Value, key: &str| (text(port, "protocol").to_owned(), number(port, key));
    for (i, _) in ports.iter().enumerate().filter(|(_, p)| kind == "ClusterIP" && number(p, "nodePort") != 0) {
        errors.push(Error::forbidden(&path.index(i).child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
    }
    for (i, port) in ports.iter().enumerate() {
        let key = of(port, "nodePort");
        if key.1 != 0 && ports[..i].iter().any(|p| of(p, "nodePort") == key) {
            errors.push(Error::duplicate(&path.index(i).child("nodePort"), key.1));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let key = of(port, "port");
        if ports[..i].iter().any(|p| of(p, "port") == key) {
            errors.push(Error::duplicate(&path.index(i), shown_port(&key.0, key.1)));
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
    let (config, at) = (&spec["sessionAffinityConfig"], path.child("sessionAffinityConfig"));
    if affinity.is_empty() {
        errors.push(Error::required(&path.child("sessionAffinity"), ""));
    } else if !supported.contains(&affinity) {
        errors.push(Error::not_supported(&path.child("sessionAffinity"), affinity, supported));
    } else if affinity == "None" {
        if !config.is_null() {
            errors.push(Error::forbidden(&at, "must not be set when session affinity is None"));
        }
    } else {
        let detail = "when session affinity type is ClientIP";
        let client = at.child("clientIP");
        let at_timeout = client.child("timeoutSeconds");
        match some(config, "clientIP").map(|c| some(c, "timeoutSeconds").and_then(Value::as_i64)) {
            _ if config.is_null() => errors.push(Error::required(&at, detail)),
            None => errors.push(Error::required(&client, detail)),
            Some(None) => errors.push(Error::required(&at_timeout, detail)),
            Some(Some(timeout)) if !(1..=86400).contains(&timeout) => {
                let detail = "must be greater than 0 and less than 86400";
                errors.push(Error::invalid(&at_timeout, timeout, detail));
            }
            Some(Some(_)) => {}
        }
    }
}

/// `ValidateServiceClusterIPsRelatedFields`
fn validate_cluster_ips(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: &Value) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (ips, first, at) = (items(spec, "clusterIPs"), text(spec, "clusterIP"), path.child("clusterIPs"));
    let shown = || spec["clusterIPs"].clone();
    if first.is_empty() && !ips.is_empty() {
        errors.push(Error::invalid(&at, shown(), "must be empty when `clusterIP` is not specified"));
    } else if ips.first().is_some_and(|ip| ip != first) {
        errors.push(Error::invalid(&at, shown(), "first value must match `clusterIP`"));
    }
    let (families, list) = (items(spec, "ipFamilies"), path.child("ipFamilies"));
    for (i, family) in families.iter().enumerate() {
        let name = family.as_str().unwrap_or_default();
        if !matches!(name, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&list.index(i), name, &["IPv4", "IPv6"]));
        }
        if families[..i].contains(family) {
            errors.push(Error::duplicate(&list.index(i), name));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    let policies = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if has(spec, "ipFamilyPolicy") && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("ipFamilyPolicy"), policy, policies));
    }
    let mut invalid = false;
    let only = [Value::from(first)];
    let given = if ips.is_empty() && !first.is_empty() { &only } else { ips };
    for (i, ip) in given.iter().enumerate() {
        if i == 0 && ip == "None" {
            if given.len() > 1 {
                invalid = true;
                errors.push(Error::invalid(&at, shown(), "'None' must be the first and only value"));
            }
        } else if !items(was, "clusterIPs").contains(ip) {
            invalid |= net::ip(errors, &at.index(i), ip.as_str().unwrap_or_default()).is_none();
        }
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(&at, shown(), "may only hold up to 2 values"));
    }
    if invalid {
        return;
    }
    let is_v6 = |ip: &Value| ip.as_str().and_then(net::sloppy).is_some_and(|ip| ip.is_ipv6());
    if ips.len() > 1 && (ips.iter().all(is_v6) || !ips.iter().any(is_v6)) {
        errors.push(Error::invalid(&at, shown(), "may specify no more than one IP for each IP family"));
    }
    for (i, (ip, family)) in ips.iter().zip(families).enumerate().filter(|_| !is_headless(spec)) {
        let family = family.as_str().unwrap_or_default();
        if matches!((family, is_v6(ip)), ("IPv4", true) | ("IPv6", false)) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(Error::invalid(&at.index(i), ip.clone(), detail));
        }
    }
}

fn validate_load_balancer(errors: &mut Vec<Error>, path: &Path, service: &Value, old: Option<&Value>) {
    let spec = &service["spec"];
    let balanced = text(spec, "type") == "LoadBalancer";
    let ranges = items(spec, "loadBalancerSourceRanges");
    let annotation = |s: &Value| s["metadata"]["annotations"].get(RANGES).and_then(Value::as_str).map(str::to_owned);
    if !ranges.is_empty() {
        let at = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(Error::forbidden(&at, BALANCED));
        }
        let trimmed = |s: &Value| s.as_str().unwrap_or_default().trim().to_owned();
        let kept: Vec<String> =
            old.map_or(&[][..], |o| items(&o["spec"], "loadBalancerSourceRanges")).iter().map(trimmed).collect();
        for (i, range) in ranges.iter().map(trimmed).enumerate().filter(|(_, r)| !kept.contains(r)) {
            net::cidr(errors, &at.index(i), &range);
        }
    } else if let Some(value) = annotation(service) {
        let metadata = Path::root("metadata");
        let at = metadata.child("annotations");
        let at = at.key(RANGES);
        if !balanced {
            errors.push(Error::forbidden(&at, BALANCED));
        }
        if old.and_then(annotation).as_ref() != Some(&value) && !value.trim().is_empty() {
            for range in value.split(',') {
                net::cidr(errors, &at, range.trim());
            }
        }
    }
    match (balanced, has(spec, "allocateLoadBalancerNodePorts")) {
        (false, true) => errors.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), BALANCED)),
        (true, false) => errors.push(Error::required(&Path::root("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
    validate_class(errors, path, spec, None);
}

/// `validateLoadBalancerClassField`
fn validate_class(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: Option<&Value>) {
    let (at, class) = (path.child("loadBalancerClass"), some(spec, "loadBalancerClass"));
    let balanced = |s: &Value| text(s, "type") == "LoadBalancer";
    if was.is_some_and(|was| balanced(was) && balanced(spec) && some(was, "loadBalancerClass") != class) {
        errors.push(Error::invalid(&at, class.cloned().unwrap_or_default(), SET_ONCE));
    }
    let Some(class) = class.and_then(Value::as_str) else { return };
    if balanced(spec) {
        errors.extend(names::qualified_name(class).into_iter().map(|e| Error::invalid(&at, class, e)));
    } else {
        errors.push(Error::forbidden(&at, BALANCED));
    }
}

fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
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
    // none yet is none that the allocator has given
    let (health, at) = (number(spec, "healthCheckNodePort"), path.child("healthCheckNodePort"));
    if health != 0 && needs_health_check(spec) {
        net::port_number(errors, &at, health);
    } else if health != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&at, health, detail));
    }
    let at = path.child("internalTrafficPolicy");
    match some(spec, "internalTrafficPolicy").and_then(Value::as_str) {
        Some(internal) if !supported.contains(&internal) => {
            errors.push(Error::not_supported(&at, internal, supported));
        }
        None if matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer") => {
            errors.push(Error::required(&at, ""));
        }
        _ => {}
    }
    if let Some(distribution) = some(spec, "trafficDistribution").and_then(Value::as_str) {
        let known = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !known.contains(&distribution) {
            errors.push(Error::not_supported(&path.child("trafficDistribution"), distribution, known));
        }
    }
}

/// `ValidateServiceUpdate`
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::root("spec");
    let (spec, was) = (&new["spec"], &old["spec"]);
    if [spec, was].iter().all(|s| text(s, "type") != "ExternalName") {
        let (headless, was_headless) = (is_headless(spec), is_headless(was));
        if !(headless && was_headless) {
            kept_ips(&mut errors, &path, spec, was);
        }
        if !headless && !was_headless {
            kept_families(&mut errors, &path, spec, was);
        }
    }
    validate_class(&mut errors, &path, spec, Some(was));
    if needs_health_check(spec)
        && needs_health_check(was)
        && number(spec, "healthCheckNodePort") != number(was, "healthCheckNodePort")
    {
        errors.push(Error::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors.extend(validate(new, Some(old)));
    errors
}

fn must_release(errors: &mut Vec<Error>, path: &Path, spec: &Value, what: &str) {
    if text(spec, "ipFamilyPolicy") != "SingleStack" {
        let policy = spec.get("ipFamilyPolicy").cloned().unwrap_or_default();
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.push(Error::invalid(&path.child("ipFamilyPolicy"), policy, detail));
    }
}

/// `validateUpgradeDowngradeClusterIPs`: an address once given stays; a second one may come and go.
fn kept_ips(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: &Value) {
    let (now, before, at) = (items(spec, "clusterIPs"), items(was, "clusterIPs"), path.child("clusterIPs"));
    let shown = || spec.get("clusterIPs").cloned().unwrap_or_default();
    if now.len() == before.len() {
        for (i, _) in now.iter().zip(before).enumerate().filter(|(_, (n, o))| n != o) {
            errors.push(Error::invalid(&at.index(i), shown(), SET_ONCE));
        }
        return;
    }
    if now.is_empty() {
        errors.push(Error::invalid(&at.index(0), shown(), "primary clusterIP can not be unset"));
    }
    if now.first().zip(before.first()).is_some_and(|(n, o)| n != o) {
        errors.push(Error::invalid(&at.index(0), shown(), SET_ONCE));
    }
    if now.len() == 1 && before.len() > 1 {
        must_release(errors, path, spec, "clusterIP");
    }
}

/// `validateUpgradeDowngradeIPFamilies`
fn kept_families(errors: &mut Vec<Error>, path: &Path, spec: &Value, was: &Value) {
    let (now, before, list) = (items(spec, "ipFamilies"), items(was, "ipFamilies"), path.child("ipFamilies"));
    let shown = |key: &str| spec.get(key).cloned().unwrap_or_default();
    let at = list.index(0);
    if now.len() == before.len() {
        for _ in now.iter().zip(before).filter(|(n, o)| n != o) {
            errors.push(Error::invalid(&at, shown("ipFamilies"), SET_ONCE));
        }
        return;
    }
    if now.len() < before.len() && items(spec, "clusterIPs").is_empty() {
        errors.push(Error::invalid(&at, shown("ipFamilies"), "primary ipFamily can not be unset"));
    }
    if now.first().zip(before.first()).is_some_and(|(n, o)| n != o) {
        // upstream shows the addresses
        errors.push(Error::invalid(&at, shown("clusterIPs"), SET_ONCE));
    }
    if now.len() == 1 && before.len() > 1 {
        must_release(errors, path, spec, "ipFamily");
    }
}

/// `ValidateLoadBalancerStatus`
pub(super) fn validate_status(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let points = |of: &Value| items(&of["status"]["loadBalancer"], "ingress").to_vec();
    let (status, now) = (Path::root("status"), points(new));
    let path = status.child("loadBalancer");
    let path = path.child("ingress");
    if text(&new["spec"], "type") != "LoadBalancer" {
        if !now.is_empty() {
            errors.push(Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        }
        return errors;
    }
    let kept = points(old);
    for (i, point) in now.iter().enumerate() {
        let at = path.index(i);
        let (ip, mode, host) = (text(point, "ip"), some(point, "ipMode"), text(point, "hostname"));
        if !ip.is_empty() && !kept.iter().any(|o| text(o, "ip") == ip) {
            net::ip(&mut errors, &at.child("ip"), ip);
        }
        let (at_mode, modes) = (at.child("ipMode"), &["Proxy", "VIP"]);
        match mode.map(|m| m.as_str().unwrap_or_default()) {
            None if !ip.is_empty() => errors.push(Error::required(&at_mode, "must be specified when `ip` is set")),
            Some(_) if ip.is_empty() => {
                errors.push(Error::forbidden(&at_mode, "may not be specified when `ip` is not set"));
            }
            Some(mode) if !modes.contains(&mode) => errors.push(Error::not_supported(&at_mode, mode, modes)),
            _ => {}
        }
        if !host.is_empty() {
            let at = at.child("hostname");
            errors.extend(names::dns_subdomain(host, false).into_iter().map(|e| Error::invalid(&at, host, e)));
            if net::sloppy(host).is_some() {
                errors.push(Error::invalid(&at, host, "must be a DNS name, not an IP address"));
            }
        }
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
        validate(&service, None).iter().map(ToString::to_string).collect()
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

    #[test]
    fn what_is_wrong_is_all_that_is_said() {
        for (spec, want) in [
            (
                json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "a"}], "externalIPs": ["010.0.0.1", "127.0.0.1"]}),
                r#"spec.ports[1].name: Duplicate value: "a"; spec.externalIPs[0]: Invalid value: "010.0.0.1": must not have leading 0s; spec.externalIPs[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128); spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}"#.to_owned(),
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "name": "a", "nodePort": 30000}, {"port": 2, "name": "b", "nodePort": 30000}]}),
                "spec.ports[1].nodePort: Duplicate value: 30000".into(),
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1}], "clusterIP": "None", "clusterIPs": ["None"]}),
                r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#.into(),
            ),
            (
                json!({"type": "ExternalName", "externalName": "a..", "ipFamilyPolicy": "SingleStack"}),
                format!("spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services; spec.externalName: Invalid value: \"a.\": {}", names::dns_subdomain("a.", false)[0]),
            ),
            (
                json!({"ports": [{"port": 1}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2", "10.0.0.3", "10.0.0.4"], "ipFamilies": ["IPv4", "IPv4"]}),
                r#"spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3","10.0.0.4"]: first value must match `clusterIP`; spec.ipFamilies[1]: Duplicate value: "IPv4"; spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3","10.0.0.4"]: may only hold up to 2 values; spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3","10.0.0.4"]: may specify no more than one IP for each IP family"#.into(),
            ),
            (
                json!({"ports": [{"port": 1}], "clusterIP": "None", "clusterIPs": ["None", "x"]}),
                r#"spec.clusterIPs: Invalid value: ["None","x"]: 'None' must be the first and only value; spec.clusterIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#.into(),
            ),
            (
                json!({"ports": [{"port": 1}], "clusterIP": "::1", "clusterIPs": ["::1"], "ipFamilies": ["IPv4"]}),
                r#"spec.clusterIPs[0]: Invalid value: "::1": expected an IPv4 value as indicated by `ipFamilies[0]`"#.into(),
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"port": 1}], "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.0.0.1/8"], "loadBalancerClass": "a b"}),
                format!(r#"spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length; spec.loadBalancerClass: Invalid value: "a b": {}"#, names::qualified_name("a b")[0]),
            ),
            (
                json!({"ports": [{"port": 1}], "loadBalancerClass": "x", "trafficDistribution": "x"}),
                r#"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'; spec.trafficDistribution: Unsupported value: "x": supported values: "PreferClose", "PreferSameZone", "PreferSameNode""#.into(),
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"port": 1}], "externalTrafficPolicy": "Local", "healthCheckNodePort": 70000}),
                "spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive".into(),
            ),
        ] {
            assert_eq!(texts(&spec).join("; "), want, "{spec}");
        }
        let service = json!({"metadata": {"annotations": {MODE: "Auto", HINTS: "auto", RANGES: "10.0.0.0/8,x"}},
            "spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ports": [{"port": 1, "targetPort": 1, "protocol": "TCP"}]}});
        assert_eq!(
            validate(&service, None).iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                format!(
                    "metadata.annotations[{MODE}]: Invalid value: \"Auto\": must match annotations[{HINTS}] when both are specified"
                ),
                format!("metadata.annotations[{RANGES}]: Forbidden: may only be used when `type` is 'LoadBalancer'"),
                format!(
                    "metadata.annotations[{RANGES}]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                ),
            ]
        );
    }

    #[test]
    fn addresses_stay_and_the_second_may_go() {
        let service = |spec: Value| {
            let mut service = json!({"spec": {"ports": [{"port": 1}]}});
            service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            Service.default(&mut service);
            service
        };
        let ips = |ips: &[&str], policy: &str| {
            let families: Vec<&str> = ips.iter().map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" }).collect();
            json!({"clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families, "ipFamilyPolicy": policy})
        };
        let (one, two) = (ips(&["10.0.0.1"], "SingleStack"), ips(&["10.0.0.1", "fd00::1"], "PreferDualStack"));
        let balanced = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
        for (old, new, want) in [
            (&one, &two, ""),
            (&two, &one, ""),
            (
                &two,
                &ips(&["10.0.0.1"], "PreferDualStack"),
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP; spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily",
            ),
            (
                &one,
                &ips(&["10.0.0.2"], "SingleStack"),
                "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",
            ),
            (
                &two,
                &ips(&["fd00::1"], "SingleStack"),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: may not change once set; spec.ipFamilies[0]: Invalid value: [\"fd00::1\"]: may not change once set",
            ),
            (
                &one,
                &json!({"clusterIP": "None", "clusterIPs": ["None"]}),
                "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
            ),
            (
                &json!({"clusterIP": "010.0.0.1", "clusterIPs": ["010.0.0.1"]}),
                &json!({"clusterIP": "010.0.0.1", "clusterIPs": ["010.0.0.1"]}),
                "",
            ),
            (&balanced("x"), &balanced("y"), "spec.loadBalancerClass: Invalid value: \"y\": may not change once set"),
            (
                &json!({"type": "LoadBalancer"}),
                &balanced("y"),
                "spec.loadBalancerClass: Invalid value: \"y\": may not change once set",
            ),
        ] {
            let errors = Service.check_update(&service(new.clone()), &service(old.clone()));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want, "{old} {new}");
        }
    }

    #[test]
    fn the_points_of_load_balancers_are_checked() {
        let check = |kind: &str, points: Value, before: Value| {
            let of = |points: Value| json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": points}}});
            let errors = Service.validate_status_update(&of(points), &of(before));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let at = "status.loadBalancer.ingress";
        for (points, want) in [
            (json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"hostname": "a.b"}]), String::new()),
            (
                json!([{"ip": "10.0.0.1"}]),
                format!("{at}[0].ipMode: Required value: must be specified when `ip` is set"),
            ),
            (
                json!([{"ipMode": "VIP"}, {"ip": "x", "ipMode": "y"}]),
                format!(
                    "{at}[0].ipMode: Forbidden: may not be specified when `ip` is not set; {at}[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); {at}[1].ipMode: Unsupported value: \"y\": supported values: \"Proxy\", \"VIP\""
                ),
            ),
            (
                json!([{"hostname": "10.0.0.1"}]),
                format!("{at}[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"),
            ),
        ] {
            assert_eq!(check("LoadBalancer", points.clone(), json!([])), want, "{points}");
        }
        let old = json!([{"ip": "010.0.0.1", "ipMode": "VIP"}]);
        assert_eq!(check("LoadBalancer", old.clone(), old.clone()), "");
        assert_eq!(
            check("ClusterIP", old, json!([])),
            format!("{at}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")
        );
    }
}
