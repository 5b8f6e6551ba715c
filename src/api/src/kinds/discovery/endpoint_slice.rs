//! Endpoint slices.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::metadata::labels;
use crate::kinds::net;
use crate::kinds::table::{at_most_three, name};
use crate::kinds::tree::{entries, has, items, items_mut, or, some, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct EndpointSlice;

const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

impl Strategy for EndpointSlice {
    fn default(&self, slice: &mut Value) {
        for port in items_mut(slice, "ports") {
            or(port, "name", "");
            or(port, "protocol", "TCP");
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, slice: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let kind = text(slice, "addressType");
        let at = Path::root("addressType");
        if kind.is_empty() {
            errors.push(field::Error::required(&at, ""));
        } else if !TYPES.contains(&kind) {
            errors.push(field::Error::not_supported(&at, kind, TYPES));
        }
        let (list, endpoints) = (Path::root("endpoints"), items(slice, "endpoints"));
        if endpoints.len() > 1000 {
            errors.push(field::Error::too_many(&list, endpoints.len(), 1000));
        } else {
            for (i, endpoint) in endpoints.iter().enumerate() {
                addresses(&mut errors, &list.index(i), endpoint, kind);
                placed(&mut errors, &list.index(i), endpoint);
            }
        }
        ports(&mut errors, &Path::root("ports"), items(slice, "ports"));
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if new["addressType"] == old["addressType"] {
            return Vec::new();
        }
        vec![field::Error::invalid(&Path::root("addressType"), new["addressType"].clone(), "field is immutable")]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("AddressType", "string"),
                Column::new("Ports", "string"),
                Column::new("Endpoints", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, slice: &Value, now_seconds: i64) -> Vec<Value> {
        let ports: Vec<String> = items(slice, "ports").iter().map(shown_port).collect();
        let addresses: Vec<String> = items(slice, "endpoints")
            .iter()
            .flat_map(|e| items(e, "addresses"))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        vec![
            name(slice),
            text(slice, "addressType").into(),
            at_most_three(&ports),
            at_most_three(&addresses),
            age(slice, now_seconds),
        ]
    }
}

fn addresses(errors: &mut Vec<field::Error>, path: &Path, endpoint: &Value, kind: &str) {
    let (addresses, path) = (items(endpoint, "addresses"), path.child("addresses"));
    if addresses.is_empty() {
        errors.push(field::Error::required(&path, "must contain at least 1 address"));
    } else if addresses.len() > 100 {
        errors.push(field::Error::too_many(&path, addresses.len(), 100));
    }
    for (j, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(j);
        match kind {
            "IPv4" | "IPv6" => {
                let Some(ip) = net::ip(errors, &path, address) else { continue };
                if ip.is_ipv4() != (kind == "IPv4") {
                    let detail = format!("must be a valid {kind} address");
                    errors.push(field::Error::invalid(&path, address, detail));
                }
                net::endpoint_ip(errors, &path, address);
            }
            "FQDN" => full_name(errors, &path, address),
            // it is said of the type already
            _ => {}
        }
    }
}

/// `IsFullyQualifiedDomainName`
fn full_name(errors: &mut Vec<field::Error>, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.push(field::Error::required(path, ""));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns_subdomain(name, false);
    if !wrong.is_empty() {
        return errors.push(field::Error::invalid(path, name, wrong.join(",")));
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        return errors.push(field::Error::invalid(path, name, detail));
    }
    for label in name.split('.') {
        let wrong = names::dns_label(label, false);
        if !wrong.is_empty() {
            errors.push(field::Error::invalid(path, label, wrong.join(",")));
        }
    }
}

fn ports(errors: &mut Vec<field::Error>, list: &Path, ports: &[Value]) {
    if ports.len() > 20_000 {
        return errors.push(field::Error::too_many(list, ports.len(), 20_000));
    }
    let mut seen = std::collections::HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = list.index(i);
        let its_name = text(port, "name");
        if !its_name.is_empty() {
            let wrong = names::dns_label(its_name, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("name"), its_name, e)));
        }
        if !seen.insert(its_name) {
            errors.push(field::Error::duplicate(&path.child("name"), its_name));
        }
        if let Some(n) = some(port, "port").and_then(Value::as_i64) {
            net::port_number(errors, &path.child("port"), n);
        }
        net::protocol(errors, &path.child("protocol"), text(port, "protocol"));
        if let Some(app) = some(port, "appProtocol").and_then(Value::as_str) {
            let wrong = names::qualified_name(app);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("appProtocol"), app, e)));
        }
    }
}

/// The node, topology and host of an endpoint, and for which zones and nodes it is meant.
fn placed(errors: &mut Vec<field::Error>, path: &Path, endpoint: &Value) {
    let named = |errors: &mut Vec<field::Error>, key: &str, rule: fn(&str, bool) -> Vec<String>| {
        if let Some(value) = some(endpoint, key).and_then(Value::as_str) {
            let wrong = rule(value, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), value, e)));
        }
    };
    named(errors, "nodeName", names::dns_subdomain);
    let (at, count) = (path.child("deprecatedTopology"), entries(endpoint, "deprecatedTopology").count());
    if count > 16 {
        errors.push(field::Error::too_many(&at, count, 16));
    }
    labels(errors, &at, entries(endpoint, "deprecatedTopology"));
    named(errors, "hostname", names::dns_label);
    let hints = path.child("hints");
    for (key, rule) in [
        ("forZones", names::label_value as fn(&str) -> Vec<String>),
        ("forNodes", |node| names::dns_subdomain(node, false)),
    ] {
        let (all, list) = (items(&endpoint["hints"], key), hints.child(key));
        if all.len() > 8 {
            return errors.push(field::Error::too_many(&list, all.len(), 8));
        }
        for (i, hint) in all.iter().enumerate() {
            let (its_name, at) = (text(hint, "name"), list.index(i));
            if all[..i].iter().any(|h| text(h, "name") == its_name) {
                errors.push(field::Error::duplicate(&at.child("name"), its_name));
            }
            let wrong = rule(its_name);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at.child("name"), its_name, e)));
        }
    }
}

fn shown_port(port: &Value) -> String {
    match port["port"].as_i64() {
        Some(n) => n.to_string(),
        None if has(port, "name") => text(port, "name").into(),
        None => "*".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let slice = |kind: &str, endpoint: Value| {
            problems(&EndpointSlice, json!({"addressType": kind, "endpoints": [endpoint]})).join("; ")
        };
        for (kind, endpoint, want) in [
            (
                "IPv4",
                json!({"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n"}]}}),
                "",
            ),
            ("FQDN", json!({"addresses": ["a.b."]}), ""),
            (
                "IPv4",
                json!({"addresses": ["fd00::1"]}),
                r#"endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address"#,
            ),
            (
                "FQDN",
                json!({"addresses": ["a"]}),
                r#"endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated by dots"#,
            ),
            (
                "IPv4",
                json!({"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}),
                r#"endpoints[0].hints.forZones[1].name: Duplicate value: "a""#,
            ),
        ] {
            assert_eq!(slice(kind, endpoint), want);
        }
        let topology: Value = (0..17).map(|i| (format!("k{i}"), Value::from(""))).collect();
        assert_eq!(
            slice("IPv4", json!({"addresses": ["10.0.0.1"], "deprecatedTopology": topology})),
            "endpoints[0].deprecatedTopology: Too many: 17: must have at most 16 items"
        );
        let bad = slice(
            "IPv4",
            json!({"addresses": ["10.0.0.1"], "hints": {"forNodes": [{"name": "_"}], "forZones": [{"name": "-"}]}}),
        );
        assert!(
            bad.contains("forZones[0].name: Invalid value: \"-\": a valid label must be")
                && bad.contains("forNodes[0].name: Invalid value: \"_\": a lowercase RFC 1123 subdomain"),
            "{bad}"
        );
        assert_eq!(
            problems(&EndpointSlice, json!({"addressType": "x", "endpoints": [{"addresses": ["?"]}]})),
            [r#"addressType: Unsupported value: "x": supported values: "FQDN", "IPv4", "IPv6""#]
        );
    }
}
