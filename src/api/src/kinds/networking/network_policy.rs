//! Network policies.

use std::collections::HashSet;

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
            return errors;
        }
        for (i, kind) in items(spec, "policyTypes").iter().filter_map(Value::as_str).enumerate() {
            if !matches!(kind, "Ingress" | "Egress") {
                errors.push(field::Error::not_supported(&types.index(i), kind, &["Ingress", "Egress"]));
            }
        }
        errors
    }
    /// Networks that were taken when they were written in other ways may stay.
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        let known: HashSet<&str> = networks(&old["spec"]).collect();
        let of_old = |e: &field::Error| {
            let value = e.message.strip_prefix("Invalid value: \"").and_then(|m| m.split_once('"'));
            value.is_some_and(|(value, detail)| known.contains(value) && detail.starts_with(": must not have "))
        };
        errors.retain(|e| !of_old(e));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Pod-Selector", "string"), AGE] }
    }
    fn cells(&self, policy: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(policy), selector(&policy["spec"]["podSelector"]), age(policy, now_seconds)]
    }
}

/// All that is written as a network in a policy.
fn networks(spec: &Value) -> impl Iterator<Item = &str> {
    let peers = [("ingress", "from"), ("egress", "to")]
        .into_iter()
        .flat_map(move |(list, peers)| items(spec, list).iter().flat_map(move |rule| items(rule, peers)));
    peers.flat_map(|peer| {
        let block = &peer["ipBlock"];
        items(block, "except").iter().chain([&block["cidr"]]).filter_map(Value::as_str)
    })
}

/// `ValidateNetworkPolicyPort`
fn validate_port(errors: &mut Vec<field::Error>, path: &Path, port: &Value) {
    let (protocol, end, at) = (text(port, "protocol"), number(port, "endPort"), path.child("endPort"));
    if !PROTOCOLS.contains(&protocol) {
        let known = &["TCP", "UDP", "SCTP"];
        errors.push(field::Error::not_supported(&path.child("protocol"), protocol, known));
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
            if has(port, "endPort") {
                errors.push(field::Error::invalid(&at, end, "may not be specified when `port` is non-numeric"));
            }
            let wrong = names::port_name(name);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("port"), name.as_str(), e)));
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
            net::cidr(errors, &at, cidr);
            let Some(whole) = net::sloppy_cidr(cidr) else { return };
            let list = path.child("except");
            for (i, except) in items(block, "except").iter().filter_map(Value::as_str).enumerate() {
                let at = list.index(i);
                net::cidr(errors, &at, except);
                let Some(part) = net::sloppy_cidr(except) else { continue };
                if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
                    errors.push(field::Error::invalid(&at, except, "must be a strict subset of `cidr`"));
                }
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let rule = |rule: Value| json!({"spec": {"ingress": [rule]}});
        let block = |block: Value| rule(json!({"from": [{ "ipBlock": block }]}));
        for (policy, want) in [
            (block(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]})), ""),
            (
                block(json!({"cidr": "10.0.0.1/8", "except": ["11.0.0.0/8"]})),
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length; \
                 spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (rule(json!({"from": [{}]})), "spec.ingress[0].from[0]: Required value: must specify a peer"),
            (
                rule(json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]})),
                "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
            ),
            (
                rule(json!({"ports": [{"protocol": "X", "port": "Y", "endPort": 5}]})),
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"X\": supported values: \"TCP\", \"UDP\", \"SCTP\"; \
                 spec.ingress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is non-numeric; \
                 spec.ingress[0].ports[0].port: Invalid value: \"Y\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-); \
                 spec.ingress[0].ports[0].port: Invalid value: \"Y\": must contain at least one letter (a-z)",
            ),
            (
                json!({"spec": {"policyTypes": ["X"]}}),
                "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\"",
            ),
            (
                json!({"spec": {"policyTypes": ["X", "Y", "Z"]}}),
                "spec.policyTypes: Invalid value: [\"X\",\"Y\",\"Z\"]: may not specify more than two policyTypes",
            ),
        ] {
            assert_eq!(problems(&NetworkPolicy, policy).join("; "), want);
        }
        let old = block(json!({"cidr": "10.0.0.1/8"}));
        assert_eq!(NetworkPolicy.check_update(&old, &old), []);
        assert_eq!(NetworkPolicy.check_update(&block(json!({"cidr": "10.0.0.2/8"})), &old).len(), 1);
    }
}
