//! Services. Cluster IPs and node ports are given by the API server's allocators, before validation.

mod table;
mod validation;

use serde_json::{Value, json};

use crate::field;
use crate::kinds::tree::{has, items, items_mut, made, or, or_zero, text};
use crate::strategy::{Column, copy, set};
use crate::{Strategy, names};

pub(super) struct Service;

impl Strategy for Service {
    fn default(&self, service: &mut Value) {
        let Some(spec) = made(service, "spec") else { return };
        or_zero(spec, "sessionAffinity", "None");
        or_zero(spec, "type", "ClusterIP");
        match text(spec, "sessionAffinity") {
            "None" => set(spec, "sessionAffinityConfig", None),
            "ClientIP"
                if spec["sessionAffinityConfig"]["clientIP"].get("timeoutSeconds").is_none_or(Value::is_null) =>
            {
                spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
            }
            _ => {}
        }
        for port in items_mut(spec, "ports") {
            or_zero(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or(json!(0));
            or_zero(port, "targetPort", number);
        }
        let kind = text(spec, "type").to_owned();
        if externally_accessible(spec) {
            or_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            or(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            or(spec, "allocateLoadBalancerNodePorts", true);
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        set(service, "status", Some(json!({"loadBalancer": {}})));
        drop_type_dependent(service, None);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "status");
        keep_allocated(new, old);
        drop_type_dependent(new, Some(old));
    }

    fn validate(&self, service: &Value) -> Vec<field::Error> {
        validation::validate(service)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        validation::validate_update(new, old)
    }

    /// `RelaxedServiceNameValidation` is on in v1.36: a label may start with a digit.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }
    fn cells(&self, service: &Value, now_seconds: i64) -> Vec<Value> {
        table::cells(service, now_seconds)
    }
}

fn externally_accessible(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !items(spec, "externalIPs").is_empty(),
        _ => false,
    }
}

/// `patchAllocatedValues`: what an update leaves out and the server once allocated stays as it is.
fn keep_allocated(new: &mut Value, old: &Value) {
    let (kind, was) = (text(&new["spec"], "type").to_owned(), text(&old["spec"], "type"));
    let Some(spec) = new.get_mut("spec") else { return };
    let has_ip = |kind: &str| matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer");
    if has_ip(&kind) && has_ip(was) {
        if text(spec, "clusterIP").is_empty() {
            copy(spec, &old["spec"], "clusterIP");
        }
        if items(spec, "clusterIPs").is_empty() && spec["clusterIP"] == old["spec"]["clusterIP"] {
            copy(spec, &old["spec"], "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if !has(spec, key) {
                copy(spec, &old["spec"], key);
            }
        }
    }
    let has_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if has_ports(&kind) && has_ports(was) {
        let key = |p: &Value| (text(p, "protocol").to_owned(), p["port"].as_i64());
        for port in items_mut(spec, "ports") {
            let before = items(&old["spec"], "ports").iter().find(|p| key(p) == key(port));
            if let Some(node_port) = before.and_then(|p| p.get("nodePort")) {
                or_zero(port, "nodePort", node_port.clone());
            }
        }
        if text(spec, "externalTrafficPolicy") == "Local" && text(&old["spec"], "externalTrafficPolicy") == "Local" {
            let before = old["spec"].get("healthCheckNodePort").cloned().unwrap_or(Value::Null);
            if !before.is_null() {
                or_zero(spec, "healthCheckNodePort", before);
            }
        }
    }
}

/// `dropTypeDependentFields`: a change of type takes along what only the old type had, unless the client changed that
/// as well.
fn drop_type_dependent(new: &mut Value, old: Option<&Value>) {
    let Some(old) = old.map(|o| &o["spec"]) else { return };
    let Some(spec) = new.get_mut("spec") else { return };
    let kind = text(spec, "type").to_owned();
    let was = text(old, "type");
    let needs_ip = |k: &str| matches!(k, "ClusterIP" | "NodePort" | "LoadBalancer");
    if needs_ip(was) && !needs_ip(&kind) && spec["clusterIP"] == old["clusterIP"] {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            set(spec, key, None);
        }
    }
    let node_port = |k: &str| matches!(k, "NodePort" | "LoadBalancer");
    let ports = |s: &Value| items(s, "ports").iter().map(|p| p.get("nodePort").cloned()).collect::<Vec<_>>();
    if node_port(was) && !node_port(&kind) && ports(spec) == ports(old) {
        for port in items_mut(spec, "ports") {
            set(port, "nodePort", None);
        }
    }
    let load_balancer = |k: &str| k == "LoadBalancer";
    if load_balancer(was) && !load_balancer(&kind) {
        for key in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
            if spec.get(key) == old.get(key) {
                set(spec, key, None);
            }
        }
    }
    if was == "ExternalName" && kind != "ExternalName" && spec.get("externalName") == old.get("externalName") {
        set(spec, "externalName", None);
    }
    if !externally_accessible(spec) && spec.get("externalTrafficPolicy") == old.get("externalTrafficPolicy") {
        set(spec, "externalTrafficPolicy", None);
    }
    if spec.get("healthCheckNodePort") == old.get("healthCheckNodePort")
        && !(load_balancer(&kind) && text(spec, "externalTrafficPolicy") == "Local")
    {
        set(spec, "healthCheckNodePort", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_get_upstreams_defaults() {
        let mut s = json!({"spec": {"ports": [{"port": 80}]}});
        Service.default(&mut s);
        assert_eq!(
            s["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
        );
        let mut s = json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": []}});
        Service.default(&mut s);
        assert_eq!(s["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
        assert_eq!(s["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(s["spec"]["allocateLoadBalancerNodePorts"], true);
    }

    #[test]
    fn what_was_allocated_stays_unless_the_type_changes() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
        Service.prepare_update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        Service.prepare_update(&mut new, &old);
        assert!(new["spec"]["ports"][0].get("nodePort").is_none());
        assert!(new["spec"].get("externalTrafficPolicy").is_none());
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        Service.prepare_update(&mut new, &old);
        assert!(new["spec"].get("clusterIP").is_none());
    }
}
