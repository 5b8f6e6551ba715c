//! Services. The API server's allocator, which runs as admission, gives and keeps cluster IPs and node ports.

mod table;
mod validation;

use serde_json::{Value, json};

use crate::field;
use crate::kinds::tree::{child, items, items_mut, made, or, or_zero, text};
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
            let points = child(service, "status").and_then(|s| child(s, "loadBalancer"));
            for point in points.map(|b| items_mut(b, "ingress")).unwrap_or_default() {
                if !text(point, "ip").is_empty() {
                    or(point, "ipMode", "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        set(service, "status", Some(json!({"loadBalancer": {}})));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "status");
        let (spec, was) = (&new["spec"], &old["spec"]);
        let stale = text(was, "type") == "ExternalName"
            && text(spec, "type") != "ExternalName"
            && spec["externalName"] == was["externalName"];
        if let (true, Some(spec)) = (stale, new.get_mut("spec")) {
            set(spec, "externalName", None);
        }
    }

    fn validate(&self, service: &Value) -> Vec<field::Error> {
        validation::validate(service, None)
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        validation::validate_update(new, old)
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        validation::validate_status(new, old)
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
        s["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "a"}]}});
        Service.default(&mut s);
        assert_eq!(
            s["status"]["loadBalancer"]["ingress"],
            json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"hostname": "a"}])
        );
        assert_eq!(s["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(s["spec"]["allocateLoadBalancerNodePorts"], true);
    }
}
