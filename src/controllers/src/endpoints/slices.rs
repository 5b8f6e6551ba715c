//! EndpointSlices of a service as a pure function: what is wanted against what is there. Upstream's `endpointslice/reconciler.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{Object, Value};
use serde_json::{Map, json};

use super::members::{Member, Port};

/// Endpoints in one slice: `--max-endpoints-per-slice`.
pub const MAX: usize = 100;
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Slices that are alike but for their endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub address_type: &'static str,
    pub ports: Vec<Port>,
    /// As trees; the address identifies an endpoint.
    pub endpoints: Vec<Value>,
}

/// What to write. Updates carry the resource version they are based on.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<Value>,
    pub update: Vec<Value>,
    pub delete: Vec<Arc<Object>>,
}

/// One endpoint as a tree. `zone` is that of its node.
pub fn endpoint(member: &Member, publish_unready: bool, zone: Option<&str>) -> Value {
    let ready = publish_unready || (member.serving && !member.terminating);
    let mut e = json!({
        "addresses": [member.ip], "targetRef": member.target,
        "conditions": {"ready": ready, "serving": member.serving, "terminating": member.terminating},
    });
    for (key, value) in [("nodeName", member.node.as_deref()), ("hostname", member.hostname.as_deref()), ("zone", zone)]
    {
        if let Some(v) = value {
            e[key] = json!(v);
        }
    }
    e
}

/// Groups members by their ports, since named ports may differ from pod to pod.
pub fn grouped(
    address_type: &'static str,
    members: &[Member],
    publish_unready: bool,
    zone: impl Fn(&str) -> Option<String>,
) -> Vec<Group> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Value>> = BTreeMap::new();
    for m in members {
        let zone = m.node.as_deref().and_then(&zone);
        groups.entry(m.ports.clone()).or_default().push(endpoint(m, publish_unready, zone.as_deref()));
    }
    groups.into_iter().map(|(ports, endpoints)| Group { address_type, ports, endpoints }).collect()
}

fn identity(e: &Value) -> String {
    format!("{}|{}", e["addresses"][0].as_str().unwrap_or(""), e["targetRef"]["uid"].as_str().unwrap_or(""))
}

fn ports_key(address_type: &Value, ports: &Value) -> String {
    let mut each: Vec<String> = ports
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| format!("{}/{}/{}/{}", p["name"], p["protocol"], p["port"], p["appProtocol"]))
        .collect();
    each.sort();
    format!("{address_type}:{}", each.join(","))
}

/// A slice without endpoints; `template` holds `metadata`.
fn empty(template: &Value, address_type: &str, ports: &Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": template["metadata"],
        "addressType": address_type, "ports": ports, "endpoints": []})
}

/// `family`: of the slice that stands for no endpoints. `template`: the metadata of new slices: `generateName`, labels, owner. Existing slices keep what they have as far as
/// it is still wanted; new endpoints go where something changes anyway, then into the fullest slice with room for them
/// all, then into new ones.
pub fn plan(mut groups: Vec<Group>, family: &'static str, existing: &[Arc<Object>], template: &Value) -> Plan {
    let mut plan = Plan::default();
    let mut by_ports: HashMap<String, Vec<(Arc<Object>, Value)>> = HashMap::new();
    for object in existing {
        let tree = object.tree();
        by_ports.entry(ports_key(&tree["addressType"], &tree["ports"])).or_default().push((object.clone(), tree));
    }
    // there is always a slice, so that consumers see that the service has no endpoints
    let placeholder = groups.iter().all(|g| g.endpoints.is_empty());
    if placeholder {
        groups = vec![Group { address_type: family, ports: Vec::new(), endpoints: Vec::new() }];
    }
    for group in groups {
        let ports = Value::Array(group.ports.iter().map(Port::value).collect());
        let mine = by_ports.remove(&ports_key(&json!(group.address_type), &ports)).unwrap_or_default();
        one_group(group, &ports, mine, template, placeholder, &mut plan);
    }
    plan.delete.extend(by_ports.into_values().flatten().map(|(object, _)| object));
    plan.reuse();
    plan
}

impl Plan {
    /// A slice that would go becomes one that would be made: one write instead of two, and no moment without.
    fn reuse(&mut self) {
        let mut rest = Vec::new();
        for mut tree in std::mem::take(&mut self.create) {
            let same_type = |o: &Arc<Object>| o.tree()["addressType"] == tree["addressType"];
            let Some(at) = self.delete.iter().position(same_type) else {
                rest.push(tree);
                continue;
            };
            let mut old = self.delete.remove(at).tree();
            set_metadata(&mut old, &json!({"metadata": tree["metadata"]}));
            (old["ports"], old["endpoints"]) = (tree["ports"].take(), tree["endpoints"].take());
            self.update.push(old);
        }
        self.create = rest;
    }
}

fn one_group(
    group: Group,
    ports: &Value,
    mine: Vec<(Arc<Object>, Value)>,
    template: &Value,
    placeholder: bool,
    plan: &mut Plan,
) {
    let mut wanted: BTreeMap<String, Value> = group.endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    // (object, tree, endpoints, changed)
    let mut slices = Vec::new();
    for (object, tree) in mine {
        let (mut kept, mut changed) = (Vec::new(), !has_metadata(&tree, template));
        for old in tree["endpoints"].as_array().into_iter().flatten() {
            match wanted.remove(&identity(old)) {
                Some(new) => {
                    changed |= new != *old;
                    kept.push(new);
                }
                None => changed = true,
            }
        }
        slices.push((object, tree, kept, changed));
    }
    let mut rest: Vec<Value> = wanted.into_values().collect();
    for (_, _, kept, _) in slices.iter_mut().filter(|s| s.3 && !s.2.is_empty()) {
        let room = MAX.saturating_sub(kept.len()).min(rest.len());
        kept.extend(rest.drain(..room));
    }
    if !rest.is_empty() && rest.len() < MAX {
        let fits = slices.iter_mut().filter(|s| s.2.len() + rest.len() <= MAX).max_by_key(|s| s.2.len());
        if let Some(slice) = fits {
            slice.2.append(&mut rest);
            slice.3 = true;
        }
    }
    let mut spare = placeholder && rest.is_empty();
    for (object, mut tree, kept, changed) in slices {
        if kept.is_empty() && !std::mem::take(&mut spare) {
            plan.delete.push(object);
        } else if changed {
            tree["endpoints"] = Value::Array(kept);
            set_metadata(&mut tree, template);
            plan.update.push(tree);
        }
    }
    for chunk in rest.chunks(MAX) {
        let mut slice = empty(template, group.address_type, ports);
        slice["endpoints"] = Value::Array(chunk.to_vec());
        plan.create.push(slice);
    }
    if spare {
        plan.create.push(empty(template, group.address_type, ports));
    }
}

fn has_metadata(tree: &Value, template: &Value) -> bool {
    ["labels", "ownerReferences"].iter().all(|k| tree["metadata"][k] == template["metadata"][k])
}

fn set_metadata(tree: &mut Value, template: &Value) {
    for key in ["labels", "ownerReferences"] {
        tree["metadata"][key] = template["metadata"][key].clone();
    }
}

/// The labels of a slice: those of what it is made from, and what it is for.
pub fn labels(of: &Object, service: &str, managed_by: &str, headless: bool) -> Value {
    let ours = |k: &str| matches!(k, SERVICE_NAME | MANAGED_BY | HEADLESS);
    let mut labels: Map<String, Value> =
        of.meta().labels.iter().filter(|(k, _)| !ours(k)).map(|(k, v)| (k.to_string(), json!(v))).collect();
    labels.insert(SERVICE_NAME.into(), json!(service));
    labels.insert(MANAGED_BY.into(), json!(managed_by));
    if headless {
        labels.insert(HEADLESS.into(), json!(""));
    }
    Value::Object(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Draft;

    fn members(range: std::ops::Range<usize>) -> Vec<Member> {
        let port = Port { name: "".into(), protocol: "TCP".into(), port: 80, app_protocol: None };
        range
            .map(|i| Member {
                ip: format!("10.0.{}.{}", i / 250, i % 250),
                ports: vec![port.clone()],
                serving: true,
                terminating: false,
                node: None,
                hostname: None,
                target: json!({"uid": format!("u{i}")}),
            })
            .collect()
    }
    fn applied(plan: Plan, existing: &mut Vec<Arc<Object>>) -> (usize, usize, usize) {
        let counts = (plan.create.len(), plan.update.len(), plan.delete.len());
        let gone: Vec<String> = plan.delete.iter().map(|o| o.name().to_owned()).collect();
        existing.retain(|o| !gone.contains(&o.name().to_owned()));
        for tree in plan.update {
            let name = tree["metadata"]["name"].as_str().unwrap().to_owned();
            existing.retain(|o| o.name() != name);
            existing.push(Arc::new(Draft::encode(&tree).unwrap().at(2)));
        }
        for (i, mut tree) in plan.create.into_iter().enumerate() {
            tree["metadata"]["name"] = json!(format!("s{}-{i}", existing.len()));
            existing.push(Arc::new(Draft::encode(&tree).unwrap().at(1)));
        }
        counts
    }
    fn sizes(existing: &[Arc<Object>]) -> Vec<usize> {
        let mut all: Vec<_> = existing.iter().map(|o| o.tree()["endpoints"].as_array().unwrap().len()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn slices_stay_put_and_few_are_written() {
        let template = json!({"metadata": {"generateName": "s-", "labels": {"a": "b"}, "ownerReferences": []}});
        let mut have = Vec::new();
        let mut to = |members: Vec<Member>| {
            let groups = grouped("IPv4", &members, false, |_| None);
            let counts = applied(plan(groups, "IPv4", &have, &template), &mut have);
            (counts, sizes(&have))
        };
        assert_eq!(to(Vec::new()), ((1, 0, 0), vec![0]));
        assert_eq!(to(Vec::new()), ((0, 0, 0), vec![0]));
        assert_eq!(to(members(0..250)), ((2, 1, 0), vec![50, 100, 100]));
        assert_eq!(to(members(0..250)), ((0, 0, 0), vec![50, 100, 100]));
        // one more goes into the slice that has room
        assert_eq!(to(members(0..251)), ((0, 1, 0), vec![51, 100, 100]));
        let mut changed = members(0..251);
        changed[7].serving = false;
        assert_eq!(to(changed), ((0, 1, 0), vec![51, 100, 100]));
        assert_eq!(to(members(0..1)).1, [1]);
        assert_eq!(to(Vec::new()).1, [0]);
    }

    #[test]
    fn conditions_follow_the_pod_and_the_service() {
        let mut m = members(0..1).remove(0);
        for (serving, terminating, publish, want) in [
            (true, false, false, true),
            (true, true, false, false),
            (false, false, false, false),
            (false, true, true, true),
        ] {
            (m.serving, m.terminating) = (serving, terminating);
            let e = endpoint(&m, publish, None);
            assert_eq!(e["conditions"], json!({"ready": want, "serving": serving, "terminating": terminating}));
        }
    }
}
