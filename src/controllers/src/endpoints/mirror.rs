//! EndpointSlices from Endpoints that somebody else writes, for services without selector: upstream's `endpointslicemirroring`.

use std::net::IpAddr;

use api::{Object, Value};
use serde_json::json;

use super::members::Port;
use super::slices::Group;

pub const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Old leader locks are Endpoints too.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Whether these Endpoints are to be mirrored, if their service has no selector.
pub fn wanted(endpoints: &Object) -> bool {
    let skip = endpoints.meta().labels.get(SKIP).is_some_and(|v| &**v == "true");
    !skip && endpoints.tree()["metadata"]["annotations"][LEADER].is_null()
}

/// One group a subset and IP family.
pub fn groups(endpoints: &Object) -> Vec<Group> {
    let tree = endpoints.tree();
    let mut groups = Vec::new();
    for subset in tree["subsets"].as_array().into_iter().flatten() {
        let ports: Vec<Port> = subset["ports"].as_array().into_iter().flatten().filter_map(port).collect();
        for family in ["IPv4", "IPv6"] {
            let of = |key: &str, ready: bool| {
                let all = subset[key].as_array().cloned().unwrap_or_default();
                all.into_iter().filter_map(move |a| endpoint(&a, family, ready)).collect::<Vec<_>>()
            };
            let mut all = of("addresses", true);
            all.extend(of("notReadyAddresses", false));
            if !all.is_empty() {
                groups.push(Group { address_type: family, ports: ports.clone(), endpoints: all });
            }
        }
    }
    groups
}

fn port(v: &Value) -> Option<Port> {
    Some(Port {
        name: v["name"].as_str().unwrap_or("").into(),
        protocol: v["protocol"].as_str().unwrap_or("TCP").into(),
        port: i32::try_from(v["port"].as_i64()?).ok()?,
        app_protocol: v["appProtocol"].as_str().map(Into::into),
    })
}

fn endpoint(address: &Value, family: &str, ready: bool) -> Option<Value> {
    let ip: IpAddr = address["ip"].as_str()?.parse().ok()?;
    if ip.is_ipv6() != (family == "IPv6") {
        return None;
    }
    let mut e = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for key in ["hostname", "nodeName", "targetRef"] {
        if !address[key].is_null() {
            e[key] = address[key].clone();
        }
    }
    Some(e)
}
