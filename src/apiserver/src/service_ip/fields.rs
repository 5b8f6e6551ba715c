//! What a Service's IP fields become before anything is allocated: inherited on update, dropped with the type they belong to,
//! families filled in. Upstream's `patchAllocatedValues`, `normalizeClusterIPs`, `dropTypeDependentFields`, `initIPFamilyFields`.

use api::Value;
use api::field::{Error, Path};
use serde_json::{Map, json};

pub type Spec = Map<String, Value>;

pub fn text<'a>(spec: &'a Spec, key: &str) -> &'a str {
    spec.get(key).and_then(Value::as_str).unwrap_or_default()
}
pub fn list<'a>(spec: &'a Spec, key: &str) -> &'a [Value] {
    spec.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
pub fn number(v: &Value, key: &str) -> i64 {
    v.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn kind(spec: &Spec) -> &str {
    match text(spec, "type") {
        "" => "ClusterIP",
        t => t,
    }
}
pub fn needs_ip(spec: &Spec) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}
pub fn is_headless(spec: &Spec) -> bool {
    text(spec, "clusterIP") == "None" || list(spec, "clusterIPs").first().is_some_and(|v| v == "None")
}
/// May have node ports; whether they are given without being asked for is [`wants_node_ports`].
fn needs_node_port(spec: &Spec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}
pub fn wants_node_ports(spec: &Spec) -> bool {
    kind(spec) == "NodePort"
        || (kind(spec) == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)))
}
pub fn needs_health_port(spec: &Spec) -> bool {
    kind(spec) == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn same(new: &Spec, old: &Spec, key: &str) -> bool {
    new.get(key).unwrap_or(&Value::Null) == old.get(key).unwrap_or(&Value::Null)
}

/// Brings `new` into the form from which addresses and ports are allocated.
pub fn prepare(new: &mut Spec, old: Option<&Spec>, families: &[&'static str]) -> Vec<Error> {
    match old {
        Some(old) => {
            inherit(new, old);
            normalize(new, old);
            drop_foreign(new, old);
        }
        None => {
            let ip = text(new, "clusterIP").to_owned();
            if !ip.is_empty() && list(new, "clusterIPs").is_empty() {
                new.insert("clusterIPs".into(), json!([ip]));
            }
        }
    }
    set_families(new, old, families)
}

/// Values that an update leaves out and that cannot change anyway.
fn inherit(new: &mut Spec, old: &Spec) {
    if needs_ip(old) && needs_ip(new) {
        if text(new, "clusterIP").is_empty()
            && list(new, "clusterIPs").is_empty()
            && let Some(ip) = old.get("clusterIP")
        {
            new.insert("clusterIP".into(), ip.clone());
        }
        if list(new, "clusterIPs").is_empty() && same(new, old, "clusterIP") && !list(old, "clusterIPs").is_empty() {
            new.insert("clusterIPs".into(), old["clusterIPs"].clone());
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        inherit_node_ports(new, old);
    }
    if needs_health_port(old) && needs_health_port(new) {
        let none = new.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0) == 0;
        if let (true, Some(port)) = (none, old.get("healthCheckNodePort")) {
            new.insert("healthCheckNodePort".into(), port.clone());
        }
    }
}

/// By the ports' names, unless the value is already used for another port.
fn inherit_node_ports(new: &mut Spec, old: &Spec) {
    let ports = |s: &Spec| -> Vec<i64> { list(s, "ports").iter().map(|p| number(p, "nodePort")).collect() };
    let (before, after) = (ports(old), ports(new));
    let mut used: Vec<i64> = before.into_iter().filter(|p| *p != 0 && after.contains(p)).collect();
    for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            continue;
        }
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let known =
            list(old, "ports").iter().find(|p| p.get("name").and_then(Value::as_str).unwrap_or_default() == name);
        let value = known.map_or(0, |p| number(p, "nodePort"));
        if value != 0 && !used.contains(&value) {
            port.insert("nodePort".into(), json!(value));
            used.push(value);
        }
    }
}

/// Keeps `clusterIP` and `clusterIPs` together where a client changed only one.
fn normalize(new: &mut Spec, old: &Spec) {
    if same(new, old, "clusterIP") || !same(new, old, "clusterIPs") {
        if list(old, "clusterIPs").is_empty()
            && list(new, "clusterIPs").is_empty()
            && !text(new, "clusterIP").is_empty()
        {
            new.insert("clusterIPs".into(), json!([text(new, "clusterIP")]));
        }
        return;
    }
    match text(new, "clusterIP").to_owned() {
        ip if ip.is_empty() => drop(new.remove("clusterIPs")),
        ip => drop(new.insert("clusterIPs".into(), json!([ip]))),
    }
}

/// What belonged to the old type and was not touched goes with it.
fn drop_foreign(new: &mut Spec, old: &Spec) {
    let drop_same = |new: &mut Spec, keys: &[&str]| {
        for key in keys {
            if same(new, old, key) {
                new.remove(*key);
            }
        }
    };
    if needs_ip(old) && !needs_ip(new) {
        if same(new, old, "clusterIPs") {
            drop_same(new, &["clusterIP", "clusterIPs"]);
        }
        drop_same(new, &["ipFamilies", "ipFamilyPolicy"]);
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        drop_same(new, &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if needs_health_port(old) && !needs_health_port(new) {
        drop_same(new, &["healthCheckNodePort"]);
    }
    if needs_node_port(old) && !needs_node_port(new) {
        drop_same(new, &["externalTrafficPolicy"]);
        let ports = |s: &Spec| -> Vec<i64> { list(s, "ports").iter().map(|p| number(p, "nodePort")).collect() };
        if ports(old) == ports(new) {
            for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                port.as_object_mut().map(|p| p.remove("nodePort"));
            }
        }
    }
}

/// `ipFamilyPolicy` and `ipFamilies` from what is said, what the addresses are, and what the cluster has.
fn set_families(spec: &mut Spec, old: Option<&Spec>, cluster: &[&'static str]) -> Vec<Error> {
    let (Some(primary), true) = (cluster.first(), needs_ip(spec)) else { return Vec::new() };
    let root = Path::root("spec");
    let mut families: Vec<String> =
        list(spec, "ipFamilies").iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
    let mut policy = text(spec, "ipFamilyPolicy").to_owned();
    let other = |f: &str| if f == "IPv6" { "IPv4" } else { "IPv6" };
    let alone = spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty);
    let mut errors = Vec::new();

    if is_headless(spec) && alone {
        // its endpoints come from elsewhere and may be of any family
        if families.is_empty() {
            families.push((*primary).into());
        }
        if families.len() < 2 && policy != "SingleStack" {
            families.push(other(&families[0]).into());
        }
        if policy.is_empty() {
            policy = "RequireDualStack".into();
        }
    } else {
        let ips: Vec<String> = list(spec, "clusterIPs").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        if policy.is_empty() {
            policy = if ips.len() == 2 || families.len() == 2 { "RequireDualStack" } else { "SingleStack" }.into();
        }
        if policy == "RequireDualStack" && cluster.len() < 2 {
            let why = "this cluster is not configured for dual-stack services";
            errors.push(Error::invalid(&root.child("ipFamilyPolicy"), policy.as_str(), why));
        }
        for (i, ip) in ips.iter().enumerate() {
            if let (true, Ok(ip)) = (families.len() == i, ip.parse::<std::net::IpAddr>()) {
                families.push(if ip.is_ipv6() { "IPv6" } else { "IPv4" }.into());
            }
        }
        if families.is_empty() {
            families.push((*primary).into());
        }
        if policy == "SingleStack" && old.is_some_and(|o| text(o, "ipFamilyPolicy") != "SingleStack") {
            // a downgrade releases what is second, if the client left both lists as they were
            families.truncate(1);
            if ips.len() == 2 {
                spec.insert("clusterIPs".into(), json!([ips[0]]));
            }
        }
        if policy != "SingleStack" && families.len() == 1 && cluster.len() == 2 {
            families.push(other(&families[0]).into());
        }
        for (i, family) in families.iter().enumerate().filter(|(_, f)| !cluster.contains(&f.as_str())) {
            let path = root.child("ipFamilies");
            errors.push(Error::invalid(&path.index(i), family.as_str(), "not configured on this cluster"));
        }
    }
    spec.insert("ipFamilies".into(), json!(families));
    spec.insert("ipFamilyPolicy".into(), json!(policy));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(v: Value) -> Spec {
        v.as_object().cloned().unwrap()
    }
    fn prepared(new: Value, old: Option<Value>, families: &[&'static str]) -> (Value, Vec<String>) {
        let mut new = spec(new);
        let errors = prepare(&mut new, old.map(spec).as_ref(), families);
        (Value::Object(new), errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn families_follow_policy_and_cluster() {
        let v4 = &["IPv4"][..];
        for (new, cluster, families, policy) in [
            (json!({}), v4, json!(["IPv4"]), "SingleStack"),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), v4, json!(["IPv4"]), "PreferDualStack"),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                &["IPv4", "IPv6"],
                json!(["IPv4", "IPv6"]),
                "PreferDualStack",
            ),
            (json!({"clusterIP": "None"}), v4, json!(["IPv4", "IPv6"]), "RequireDualStack"),
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), v4, json!(["IPv4"]), "SingleStack"),
            (json!({"clusterIP": "fd00::1"}), &["IPv4", "IPv6"], json!(["IPv6"]), "SingleStack"),
        ] {
            let (got, errors) = prepared(new.clone(), None, cluster);
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!((&got["ipFamilies"], &got["ipFamilyPolicy"]), (&families, &json!(policy)), "{new}");
        }
        let (_, errors) = prepared(json!({"ipFamilyPolicy": "RequireDualStack"}), None, v4);
        assert_eq!(
            errors,
            [
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
            ]
        );
        let (external, _) = prepared(json!({"type": "ExternalName"}), None, v4);
        assert_eq!(external, json!({"type": "ExternalName"}));
    }

    #[test]
    fn an_update_inherits_what_it_leaves_out() {
        let old = json!({"type": "NodePort", "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}]});
        let new = json!({"type": "NodePort", "ports": [{"name": "a", "port": 81}, {"name": "b", "port": 82}]});
        let (got, _) = prepared(new, Some(old.clone()), &["IPv4"]);
        assert_eq!(got["clusterIPs"], json!(["10.43.0.5"]));
        assert_eq!(got["ports"][0]["nodePort"], 30001);
        assert_eq!(got["ports"][1].get("nodePort"), None);

        let mut to_plain = old.clone();
        to_plain["type"] = json!("ClusterIP");
        let (got, _) = prepared(to_plain, Some(old.clone()), &["IPv4"]);
        assert_eq!(got["ports"][0].get("nodePort"), None);
        assert_eq!(got["clusterIP"], "10.43.0.5");

        let mut to_name = old.clone();
        to_name["type"] = json!("ExternalName");
        let (got, _) = prepared(to_name, Some(old), &["IPv4"]);
        assert_eq!((got.get("clusterIP"), got.get("clusterIPs")), (None, None));
    }
}
