//! Network policies.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::net::{self, PROTOCOLS};
use crate::kinds::table::{name, selector};
use crate::kinds::tree::{has, items, items_mut, made, number, or, some, text};
use crate::kinds::workload::validate_label_selector;
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = made(policy, "spec") else { return };
        or(spec, "podSelector", json!({}));
        if items(spec, "policyTypes").is_empty() {
            let egress = !items(spec, "egress").is_empty();
            spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        }
        for list in ["ingress", "egress"] {
            for rule in items_mut(spec, list) {
                for port in items_mut(rule, "ports") {
                    or(port, "protocol", "TCP");
                }
            }
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, policy: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&policy["spec"], &Path::root("spec"));
        validate_label_selector(&mut errors, &path.child("podSelector"), &spec["podSelector"]);
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            let root = path.child(list);
            for (i, rule) in items(spec, list).iter().enumerate() {
                let path = root.index(i);
                let ports = path.child("ports");
                for (j, port) in items(rule, "ports").iter().enumerate() {
                    validate_port(&mut errors, &ports.index(j), port);
                }
                let at = path.child(peers);
                for (j, peer) in items(rule, peers).iter().enumerate() {
                    validate_peer(&mut errors, &at.index(j), peer);
                }
            }
        }
        let types = path.child("policyTypes");
        if items(spec, "policyTypes").len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(field::Error::invalid(&types, spec["policyTypes"].clone(), detail));
        }
        for (i, kind) in items(spec, "policyTypes").iter().filter_map(Value::as_str).enumerate() {
            if !matches!(kind, "Ingress" | "Egress") {
                errors.push(field::Error::not_supported(&types.index(i), kind, &["Egress", "Ingress"]));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Pod-Selector", "string"), AGE] }
    }
    fn cells(&self, policy: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(policy), selector(&policy["spec"]["podSelector"]), age(policy, now_seconds)]
    }
}

/// `ValidateNetworkPolicyPort`
fn validate_port(errors: &mut Vec<field::Error>, path: &Path, port: &Value) {
    let (protocol, end, at) = (text(port, "protocol"), number(port, "endPort"), path.child("endPort"));
    if !PROTOCOLS.contains(&protocol) {
        errors.push(field::Error::not_supported(&path.child("protocol"), protocol, PROTOCOLS));
    }
    match &port["port"] {
        Value::Number(n) => {
            let n = n.as_i64().unwrap_or_default();
            net::port_number(errors, &path.child("port"), n);
            if has(port, "endPort") && end < n {
                errors.push(field::Error::invalid(&at, n, "must be greater than or equal to `port`"));
            }
            if has(port, "endPort") {
                net::port_number(errors, &at, end);
            }
        }
        Value::String(name) => {
            let wrong = names::port_name(name);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("port"), name.as_str(), e)));
            if has(port, "endPort") {
                errors.push(field::Error::invalid(&at, end, "may not be specified when `port` is non-numeric"));
            }
        }
        _ if has(port, "endPort") => {
            errors.push(field::Error::invalid(&at, end, "may not be specified when `port` is not specified"));
        }
        _ => {}
    }
}

/// `ValidateNetworkPolicyPeer`
fn validate_peer(errors: &mut Vec<field::Error>, path: &Path, peer: &Value) {
    let selectors = ["podSelector", "namespaceSelector"];
    for key in selectors {
        validate_label_selector(errors, &path.child(key), &peer[key]);
    }
    let selects = selectors.iter().any(|k| has(peer, k));
    match some(peer, "ipBlock") {
        None if !selects => errors.push(field::Error::required(path, "must specify a peer")),
        Some(_) if selects => {
            errors.push(field::Error::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        Some(block) => {
            let path = path.child("ipBlock");
            let (cidr, at) = (text(block, "cidr"), path.child("cidr"));
            if cidr.is_empty() {
                return errors.push(field::Error::required(&at, ""));
            }
            let Some(whole) = net::cidr(errors, &at, cidr) else { return };
            let list = path.child("except");
            for (i, except) in items(block, "except").iter().filter_map(Value::as_str).enumerate() {
                let at = list.index(i);
                let Some(part) = net::cidr(errors, &at, except) else { continue };
                if !whole.contains(&part) || whole.prefix_len() >= part.prefix_len() {
                    errors.push(field::Error::invalid(&at, except, "must be a strict subset of `cidr`"));
                }
            }
        }
        None => {}
    }
}
