//! The `subsets` of Endpoints: upstream's `endpoints_controller.go` and `RepackSubsets`.

use std::collections::BTreeMap;

use api::Value;
use api::k8s_openapi::api::core::v1::ServiceSpec;
use serde_json::json;

use super::members::{Member, Port, is_headless, publishes_unready};

/// Addresses beyond are left out, and the object says so.
const MAX: usize = 1000;

/// The subsets, and whether some did not fit. Addresses with the same ports and readiness share one subset.
pub fn subsets(spec: &ServiceSpec, members: &[Member]) -> (Vec<Value>, bool) {
    let publish = publishes_unready(spec);
    let portless = spec.ports.as_ref().is_none_or(Vec::is_empty) && is_headless(spec);
    let taken = members.iter().filter(|m| (publish || !m.terminating) && (portless || !m.ports.is_empty()));
    let mut taken: Vec<&Member> = taken.collect();
    // the ready first, so that those are left out last
    taken.sort_by_key(|m| (!(publish || m.serving), m.ip.clone()));
    let truncated = taken.len() > MAX;
    taken.truncate(MAX);
    let mut groups: BTreeMap<Vec<Port>, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for m in taken {
        let mut ports = m.ports.clone();
        ports.sort();
        let (ready, unready) = groups.entry(ports).or_default();
        if publish || m.serving { ready.push(address(m)) } else { unready.push(address(m)) }
    }
    let subsets = groups.into_iter().map(|(ports, (ready, unready))| {
        let mut subset = json!({});
        for (key, list) in [("addresses", ready), ("notReadyAddresses", unready)] {
            if !list.is_empty() {
                subset[key] = Value::Array(list);
            }
        }
        let ports: Vec<Value> = ports.iter().map(port).collect();
        if !ports.is_empty() {
            subset["ports"] = Value::Array(ports);
        }
        subset
    });
    (subsets.collect(), truncated)
}

fn port(p: &Port) -> Value {
    let mut v = p.value();
    // unnamed ports have no name here, and an empty one in slices
    if p.name.is_empty()
        && let Some(o) = v.as_object_mut()
    {
        o.remove("name");
    }
    v
}

fn address(m: &Member) -> Value {
    let mut a = json!({"ip": m.ip, "targetRef": m.target});
    for (key, value) in [("nodeName", &m.node), ("hostname", &m.hostname)] {
        if let Some(v) = value {
            a[key] = json!(v);
        }
    }
    a
}
