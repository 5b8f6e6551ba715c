//! Endpoints.

use serde_json::Value;

use super::super::net;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{NONE, name};
use crate::kinds::tree::{items, items_mut, number, or_zero, same, some, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in items_mut(object, "subsets") {
            for port in items_mut(subset, "ports") {
                or_zero(port, "protocol", "TCP");
            }
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let root = Path::root("subsets");
        for (i, subset) in items(object, "subsets").iter().enumerate() {
            let path = root.index(i);
            if items(subset, "addresses").is_empty() && items(subset, "notReadyAddresses").is_empty() {
                errors.push(field::Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
            }
            for list in ["addresses", "notReadyAddresses"] {
                let path = path.child(list);
                for (j, address) in items(subset, list).iter().enumerate() {
                    let path = path.index(j);
                    let ip = text(address, "ip");
                    net::ip(&mut errors, &path.child("ip"), ip);
                    let host = text(address, "hostname");
                    if !host.is_empty() {
                        let wrong = names::dns_label(host, false);
                        errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child("hostname"), host, e)));
                    }
                    if let Some(node) = some(address, "nodeName").and_then(Value::as_str) {
                        let wrong = names::dns_subdomain(node, false);
                        errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child("nodeName"), node, e)));
                    }
                    net::endpoint_ip(&mut errors, &path.child("ip"), ip);
                }
            }
            let ports = items(subset, "ports");
            let path = path.child("ports");
            for (j, port) in ports.iter().enumerate() {
                let path = path.index(j);
                let its_name = text(port, "name");
                if its_name.is_empty() {
                    if ports.len() > 1 {
                        errors.push(field::Error::required(&path.child("name"), ""));
                    }
                } else {
                    let wrong = names::dns_label(its_name, false);
                    errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child("name"), its_name, e)));
                }
                net::port_number(&mut errors, &path.child("port"), number(port, "port"));
                net::protocol(&mut errors, &path.child("protocol"), text(port, "protocol"));
                if let Some(of) = some(port, "appProtocol").and_then(Value::as_str) {
                    let wrong = names::qualified_name(of);
                    errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child("appProtocol"), of, e)));
                }
            }
        }
        errors
    }

    /// What is there already may stay as it is.
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["subsets"], &old["subsets"]) { Vec::new() } else { self.validate(new) }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Endpoints", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(object), shown(object).into(), age(object, now_seconds)]
    }
}

/// `formatEndpoints`: at most three.
fn shown(object: &Value) -> String {
    let subsets = items(object, "subsets");
    if subsets.is_empty() {
        return NONE.into();
    }
    let all: Vec<String> = subsets
        .iter()
        .flat_map(|s| {
            let addresses = items(s, "addresses");
            let bare = items(s, "ports").is_empty();
            let lone = addresses.iter().filter(move |_| bare).map(|a| text(a, "ip").to_owned());
            let ported = items(s, "ports")
                .iter()
                .flat_map(move |p| addresses.iter().map(move |a| net::host_port(text(a, "ip"), number(p, "port"))));
            lone.chain(ported)
        })
        .collect();
    let more = if all.len() > 3 { format!(" + {} more...", all.len() - 3) } else { String::new() };
    all.iter().take(3).cloned().collect::<Vec<_>>().join(",") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_once_it_changes() {
        let of = |host: &str| {
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": host}],
                "ports": [{"port": 80, "protocol": "TCP", "appProtocol": host}]}]})
        };
        assert!(Endpoints.validate(&of("a")).is_empty());
        let fields: Vec<String> = Endpoints.validate(&of("_")).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["subsets[0].addresses[0].nodeName", "subsets[0].ports[0].appProtocol"]);
        assert!(Endpoints.check_update(&of("_"), &of("_")).is_empty());
        assert_eq!(Endpoints.check_update(&of("_"), &of("a")).len(), 2);
    }

    #[test]
    fn an_address_is_one_to_send_to() {
        let of = |ip: &str| Endpoints.validate(&json!({"subsets": [{"addresses": [{"ip": ip}]}]}));
        let texts = |ip: &str| of(ip).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert_eq!(texts("10.0.0.1"), "");
        assert_eq!(
            texts("x"),
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); \
             subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address"
        );
        assert_eq!(
            texts("0.0.0.0"),
            r#"subsets[0].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)"#
        );
    }

    #[test]
    fn three_are_shown_and_the_rest_counted() {
        let address = |n: u8| json!({"ip": format!("10.0.0.{n}")});
        let mut e =
            json!({"subsets": [{"addresses": [address(1), address(2)], "ports": [{"port": 80}, {"port": 81}]}]});
        assert_eq!(shown(&e), "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...");
        e["subsets"][0]["ports"] = json!([]);
        assert_eq!(shown(&e), "10.0.0.1,10.0.0.2");
        assert_eq!(shown(&json!({})), "<none>");
    }
}
