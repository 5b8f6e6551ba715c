//! Service CIDRs and the IP addresses in them. The allocator keeps its own account; these are what clients see of it.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::net;
use crate::kinds::table::name;
use crate::kinds::tree::{items, same, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({})));
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let cidrs = items(&object["spec"], "cidrs");
        let spec = Path::root("spec");
        let path = spec.child("cidrs");
        let wrong = |detail: &str| vec![field::Error::invalid(&path, object["spec"].clone(), detail)];
        let networks: Vec<&str> = cidrs.iter().filter_map(Value::as_str).collect();
        match networks.as_slice() {
            [] => return vec![field::Error::required(&path, "at least one CIDR required")],
            [_] => {}
            [a, b] => {
                let six = |n: &str| net::sloppy_cidr(n).map(|n| n.addr().is_ipv6());
                if !matches!((six(a), six(b)), (Some(x), Some(y)) if x != y) {
                    return wrong(
                        "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
                    );
                }
            }
            _ => return wrong("may only hold up to 2 values"),
        }
        for (i, cidr) in networks.iter().enumerate() {
            let parsed = net::cidr(&mut errors, &path.index(i), cidr);
            if let Some(plain) = parsed.map(|n| n.to_string()).filter(|n| n != cidr) {
                let detail = format!("must be in canonical form (\"{plain}\")");
                errors.push(field::Error::invalid(&path.index(i), *cidr, detail));
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["spec"]["cidrs"], &old["spec"]["cidrs"]) {
            return Vec::new();
        }
        let spec = Path::root("spec");
        vec![field::Error::invalid(&spec.child("cidrs"), new["spec"]["cidrs"].clone(), "field is immutable")]
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("CIDRs", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let cidrs: Vec<&str> = items(&object["spec"], "cidrs").iter().filter_map(Value::as_str).collect();
        vec![name(object), cidrs.join(",").into(), age(object, now_seconds)]
    }
}

pub(super) struct IpAddress;

impl Strategy for IpAddress {
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        net::canonical_ip(name).into_iter().collect()
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (parent, spec) = (&object["spec"]["parentRef"], Path::root("spec"));
        let path = spec.child("parentRef");
        if parent.is_null() {
            return vec![field::Error::required(&path, "")];
        }
        let group = text(parent, "group");
        if !group.is_empty() {
            let wrong = names::dns_subdomain(group, false);
            errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child("group"), group, e)));
        }
        for key in ["resource", "name", "namespace"] {
            match text(parent, key) {
                "" if key == "namespace" => {}
                "" => errors.push(field::Error::required(&path.child(key), "")),
                value => {
                    let wrong = names::path_segment(value, false);
                    errors.extend(wrong.iter().map(|e| field::Error::invalid(&path.child(key), value, e)));
                }
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["spec"]["parentRef"], &old["spec"]["parentRef"]) {
            return Vec::new();
        }
        let spec = Path::root("spec");
        vec![field::Error::invalid(&spec.child("parentRef"), new["spec"]["parentRef"].clone(), "field is immutable")]
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("ParentRef", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let parent = &object["spec"]["parentRef"];
        let shown: Vec<&str> = ["group", "resource", "namespace", "name"]
            .into_iter()
            .map(|k| text(parent, k))
            .filter(|t| !t.is_empty())
            .collect();
        vec![name(object), shown.join("/").into(), age(object, now_seconds)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn networks_and_addresses_are_checked_in_upstreams_words() {
        for (cidrs, want) in [
            (json!(["10.0.0.0/8", "fd00::/64"]), ""),
            (json!([]), "spec.cidrs: Required value: at least one CIDR required"),
            (
                json!(["10.0.0.0/8", "11.0.0.0/8"]),
                r#"spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/8","11.0.0.0/8"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#,
            ),
            (
                json!(["a", "b", "c"]),
                r#"spec.cidrs: Invalid value: {"cidrs":["a","b","c"]}: may only hold up to 2 values"#,
            ),
            (
                json!(["10.0.0.1/8"]),
                r#"spec.cidrs[0]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length"#,
            ),
            (
                json!(["FD00::/64"]),
                r#"spec.cidrs[0]: Invalid value: "FD00::/64": must be in canonical form ("fd00::/64")"#,
            ),
        ] {
            assert_eq!(problems(&ServiceCidr, json!({"spec": {"cidrs": cidrs}})).join("; "), want);
        }
        for (parent, want) in [
            (json!({"resource": "services", "name": "a", "namespace": "b"}), ""),
            (
                json!({"resource": "a/b"}),
                r#"spec.parentRef.resource: Invalid value: "a/b": may not contain '/'; spec.parentRef.name: Required value"#,
            ),
            (
                json!({"resource": "services", "name": "a", "namespace": ".."}),
                r#"spec.parentRef.namespace: Invalid value: "..": may not be '..'"#,
            ),
        ] {
            assert_eq!(problems(&IpAddress, json!({"spec": {"parentRef": parent}})).join("; "), want);
        }
        assert_eq!(IpAddress.validate_name("2001:DB8::1", false), [r#"must be in canonical form ("2001:db8::1")"#]);
    }
}
