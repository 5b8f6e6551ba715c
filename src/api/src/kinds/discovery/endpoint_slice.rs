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
        let list = Path::root("endpoints");
        if items(slice, "endpoints").len() > 1000 {
            errors.push(field::Error::too_many(&list, items(slice, "endpoints").len(), 1000));
        }
        for (i, endpoint) in items(slice, "endpoints").iter().enumerate() {
            let path = list.index(i);
            let (addresses, path) = (items(endpoint, "addresses"), path.child("addresses"));
            if addresses.is_empty() {
                errors.push(field::Error::required(&path, "must contain at least 1 address"));
            } else if addresses.len() > 100 {
                errors.push(field::Error::too_many(&path, addresses.len(), 100));
            }
            for (j, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
                let path = path.index(j);
                let family = address.parse::<std::net::IpAddr>().ok();
                let of_it = family.is_none_or(|ip| ip.is_ipv4() == (kind == "IPv4"));
                if kind != "FQDN" && !of_it {
                    let detail = format!("must be an {kind} address");
                    errors.push(field::Error::invalid(&path, address, detail));
                } else if kind == "FQDN" {
                    let wrong = names::dns_subdomain(address, false);
                    errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path, address, e)));
                } else {
                    net::endpoint_ip(&mut errors, &path, address);
                }
            }
        }
        for (i, endpoint) in items(slice, "endpoints").iter().enumerate() {
            placed(&mut errors, &list.index(i), endpoint);
        }
        let list = Path::root("ports");
        let ports = items(slice, "ports");
        if ports.len() > 20_000 {
            errors.push(field::Error::too_many(&list, ports.len(), 20_000));
        }
        for (i, port) in ports.iter().enumerate() {
            let path = list.index(i);
            let its_name = text(port, "name");
            if !its_name.is_empty() {
                let wrong = names::dns_label(its_name, false);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("name"), its_name, e)));
            }
            if ports[..i].iter().any(|p| text(p, "name") == its_name) {
                errors.push(field::Error::duplicate(&path.child("name"), its_name));
            }
            if let Some(n) = some(port, "port").and_then(Value::as_i64) {
                net::port_number(&mut errors, &path.child("port"), n);
            }
            net::protocol(&mut errors, &path.child("protocol"), text(port, "protocol"));
            if let Some(app) = some(port, "appProtocol").and_then(Value::as_str) {
                let wrong = names::qualified_name(app);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("appProtocol"), app, e)));
            }
        }
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

/// The host, node and zone of an endpoint, and for which zones and nodes it is meant.
fn placed(errors: &mut Vec<field::Error>, path: &Path, endpoint: &Value) {
    for (key, rule) in
        [("hostname", names::dns_label as fn(&str, bool) -> Vec<String>), ("nodeName", names::dns_subdomain)]
    {
        if let Some(value) = some(endpoint, key).and_then(Value::as_str) {
            let wrong = rule(value, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child(key), value, e)));
        }
    }
    let at = path.child("deprecatedTopology");
    labels(errors, &at, entries(endpoint, "deprecatedTopology"));
    let hints = path.child("hints");
    for key in ["forZones", "forNodes"] {
        let (all, list) = (items(&endpoint["hints"], key), hints.child(key));
        if all.len() > 8 {
            errors.push(field::Error::too_many(&list, all.len(), 8));
        }
        for (i, hint) in all.iter().enumerate() {
            let (its_name, at) = (text(hint, "name"), list.index(i));
            if its_name.is_empty() {
                errors.push(field::Error::required(&at.child("name"), ""));
            } else if all[..i].iter().any(|h| text(h, "name") == its_name) {
                errors.push(field::Error::duplicate(&at.child("name"), its_name));
            }
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
