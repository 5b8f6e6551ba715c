//! Service CIDRs and the IP addresses in them. The allocator keeps its own account; these are what clients see of it.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{items, same, text};
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
        match cidrs.len() {
            0 => errors.push(field::Error::required(&path, "at least one CIDR required")),
            1 | 2 => {}
            _ => {
                let detail = "may only hold up to 2 values";
                errors.push(field::Error::invalid(&path, object["spec"]["cidrs"].clone(), detail));
            }
        }
        for (i, cidr) in cidrs.iter().filter_map(Value::as_str).enumerate() {
            if cidr.parse::<ipnet::IpNet>().is_err() {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                errors.push(field::Error::invalid(&path.index(i), cidr, detail));
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
        match name.parse::<std::net::IpAddr>() {
            Ok(ip) if ip.to_string() == name => Vec::new(),
            Ok(_) => vec!["must be a valid IP in canonical format".into()],
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
        }
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (parent, spec) = (&object["spec"]["parentRef"], Path::root("spec"));
        let path = spec.child("parentRef");
        if parent.is_null() {
            return vec![field::Error::required(&path, "")];
        }
        for key in ["resource", "name"] {
            if text(parent, key).is_empty() {
                errors.push(field::Error::required(&path.child(key), ""));
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
