//! A namespace's LimitRanges: defaults for containers, bounds for containers, pods and claims. Upstream's
//! `plugin/pkg/admission/limitranger`.

use std::cmp::Ordering;
use std::sync::Arc;

use api::kinds::pod;
use api::quantity::Quantity;
use api::{Status, Value};
use async_trait::async_trait;
use serde_json::{Map, json};

use super::tree::{items, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const CONTAINERS: [(&str, &str); 2] = [("containers", "container"), ("initContainers", "init container")];

pub struct LimitRanger {
    lookup: Arc<dyn Lookup>,
}

impl LimitRanger {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        LimitRanger { lookup }
    }

    /// The items of all LimitRanges of the namespace.
    fn limits(&self, namespace: &str) -> Vec<Value> {
        let ranges = self.lookup.list("limitranges", namespace);
        ranges.iter().flat_map(|r| items(&r.tree(), "/spec/limits").to_vec()).collect()
    }
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }
    fn handles(&self, a: &Attributes) -> bool {
        (is(a, "", "pods") || is(a, "", "persistentvolumeclaims"))
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }

    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.attributes.resource == "pods" && write.operation() == Operation::Create {
            for limit in self.limits(&write.attributes.namespace).iter().filter(|l| l["type"] == "Container") {
                set_defaults(write.object, limit);
            }
        }
        Ok(())
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let pod = write.attributes.resource == "pods";
        if write.operation() == Operation::Delete || (pod && write.operation() == Operation::Update) {
            return Ok(());
        }
        let mut errors = Vec::new();
        for limit in self.limits(&write.attributes.namespace) {
            if pod {
                check_pod(write.object, &limit, &mut errors);
            } else if limit["type"] == "PersistentVolumeClaim" {
                check_claim(write.object, &limit, &mut errors);
            }
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(write.refuse(one)),
            many => Err(write.refuse(format!("[{}]", many.join(", ")))),
        }
    }
}

/// `mergePodResourceRequirements`: what a container does not say, the limit says for it; an annotation tells.
fn set_defaults(pod: &mut Value, limit: &Value) {
    let mut notes: Vec<String> = Vec::new();
    let Some(spec) = object(pod, "spec") else { return };
    for (key, called) in CONTAINERS {
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = text(container, "/name").to_owned();
            let Some(resources) = object(container, "resources") else { continue };
            let mut fill = |kind: &str, defaults: &Value| {
                let Some(defaults) = defaults.as_object().filter(|d| !d.is_empty()) else { return Vec::new() };
                let list = resources.entry(kind).or_insert(Value::Null);
                if list.is_null() {
                    *list = json!({});
                }
                let Some(list) = list.as_object_mut() else { return Vec::new() };
                let missing: Vec<_> = defaults.iter().filter(|(k, _)| !list.contains_key(*k)).collect();
                missing.iter().for_each(|(k, v)| drop(list.insert((*k).clone(), (*v).clone())));
                let mut names: Vec<String> = missing.into_iter().map(|(k, _)| k.clone()).collect();
                names.sort();
                names
            };
            for (set, what) in
                [(fill("requests", &limit["defaultRequest"]), "request"), (fill("limits", &limit["default"]), "limit")]
            {
                if !set.is_empty() {
                    notes.push(format!("{} {what} for {called} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty()
        && let Some(metadata) = object(pod, "metadata")
    {
        let mut annotations = metadata.remove("annotations").filter(Value::is_object).unwrap_or_else(|| json!({}));
        annotations[ANNOTATION] = json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
        metadata.insert("annotations".into(), annotations);
    }
}

fn quantities(list: &Value) -> Vec<(&str, Quantity)> {
    let list = list.as_object().into_iter().flatten();
    list.filter_map(|(k, v)| Some((k.as_str(), Quantity::from_tree(v).ok()?))).collect()
}

fn find(list: &[(&str, Quantity)], name: &str) -> Option<Quantity> {
    list.iter().find(|(n, _)| *n == name).map(|(_, q)| *q)
}

type List<'a> = Vec<(&'a str, Quantity)>;

/// What one container, or the whole pod, asks for.
struct Asked<'a> {
    requests: List<'a>,
    limits: List<'a>,
}

fn check_pod(tree: &Value, limit: &Value, errors: &mut Vec<String>) {
    match limit["type"].as_str() {
        Some("Container") => {
            for container in CONTAINERS.iter().flat_map(|(key, _)| items(tree, &format!("/spec/{key}"))) {
                let resources = &container["resources"];
                let asked =
                    Asked { requests: quantities(&resources["requests"]), limits: quantities(&resources["limits"]) };
                check("Container", limit, &asked, errors);
            }
        }
        Some("Pod") => {
            let asked = {
                let total = |which| pod::resources(tree, which).into_iter().collect();
                Asked { requests: total("requests"), limits: total("limits") }
            };
            check("Pod", limit, &asked, errors);
        }
        _ => {}
    }
}

fn check(kind: &str, limit: &Value, asked: &Asked, errors: &mut Vec<String>) {
    for (name, bound) in quantities(&limit["min"]) {
        errors.extend(minimum(kind, name, bound, asked));
    }
    for (name, bound) in quantities(&limit["max"]) {
        errors.extend(maximum(kind, name, bound, asked));
    }
    for (name, bound) in quantities(&limit["maxLimitRequestRatio"]) {
        errors.extend(ratio(kind, name, bound, asked));
    }
}

fn minimum(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {bound}");
    match (find(&asked.requests, name), find(&asked.limits, name)) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {bound}");
    match (find(&asked.requests, name), find(&asked.limits, name)) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if limit > bound => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if request > bound => Some(format!("{head}, but request is {request}")),
        _ => None,
    }
}

fn ratio(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {bound}");
    let (request, limit) = (find(&asked.requests, name), find(&asked.limits, name));
    let Some(request) = request.filter(|q| !q.is_zero()) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|q| !q.is_zero()) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    let observed = limit.nanos() as f64 / request.nanos() as f64;
    match observed.partial_cmp(&(bound.nanos() as f64 / 1e9)) {
        Some(Ordering::Greater) => Some(format!("{head}, but provided ratio is {observed:.6}")),
        _ => None,
    }
}

/// `PersistentVolumeClaimValidateLimitFunc`
fn check_claim(claim: &Value, limit: &Value, errors: &mut Vec<String>) {
    let kind = "PersistentVolumeClaim";
    let none = Value::Object(Map::new());
    let requests = quantities(claim.pointer("/spec/resources/requests").unwrap_or(&none));
    for (name, bound) in quantities(&limit["min"]) {
        let head = format!("minimum {name} usage per {kind} is {bound}");
        match find(&requests, name) {
            None => errors.push(format!("{head}.  No request is specified")),
            Some(q) if q < bound => errors.push(format!("{head}, but request is {q}")),
            _ => {}
        }
    }
    for (name, bound) in quantities(&limit["max"]) {
        let head = format!("maximum {name} usage per {kind} is {bound}");
        match find(&requests, name) {
            None => errors.push(format!("{head}.  No request is specified")),
            Some(q) if q > bound => errors.push(format!("{head}, but request is {q}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;
    use crate::lookup::fake::Cluster;

    fn fixture(limits: Value) -> (LimitRanger, Attributes) {
        let cluster = Arc::new(Cluster::default());
        let range = json!({"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": [limits]}});
        cluster.put("limitranges", range);
        (LimitRanger::new(cluster), attributes("pods", "ns", &User::system("t")))
    }
    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[tokio::test]
    async fn defaults_fill_the_gaps_and_say_so() {
        let (plugin, a) = fixture(json!({"type": "Container",
            "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}));
        let admitted = run(&plugin, &a, pod(json!({"limits": {"cpu": "1"}})), None).await.unwrap();
        assert_eq!(
            admitted["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            admitted["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
    }

    #[tokio::test]
    async fn bounds_are_kept_in_upstreams_words() {
        for (limits, resources, why) in [
            (
                json!({"type": "Container", "min": {"cpu": "50m"}}),
                json!({"requests": {"cpu": "10m"}}),
                Some("minimum cpu usage per Container is 50m, but request is 10m"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({}),
                Some("maximum cpu usage per Container is 1.  No limit is specified"),
            ),
            (
                json!({"type": "Pod", "max": {"memory": "1Gi"}}),
                json!({"limits": {"memory": "2Gi"}}),
                Some("maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
                Some("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
            ),
            (
                json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "1"}}),
                json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}),
                None,
            ),
        ] {
            let (plugin, a) = fixture(limits);
            let got = run(&plugin, &a, pod(resources), None).await.err().map(|e| e.message);
            assert_eq!(got, why.map(|w| format!("pods \"p\" is forbidden: {w}")));
        }
    }
}
