//! Old versions that differ from the newest in a field or a default.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

fn spec(tree: &mut Value) -> Option<&mut Object> {
    tree.get_mut("spec")?.as_object_mut()
}

fn members<'a>(tree: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Object> {
    tree.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn or(o: &mut Object, key: &str, value: Value) {
    if o.get(key).is_none_or(Value::is_null) {
        o.insert(key.into(), value);
    }
}

fn rename(o: &mut Object, from: &str, to: &str) {
    if let Some(value) = o.remove(from) {
        o.insert(to.into(), value);
    }
}

/// The empty selector of a `policy/v1beta1` PodDisruptionBudget selects nothing, that of `v1` everything: upstream's label
/// tells them apart.
pub(super) mod budget {
    use super::*;

    const LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

    fn always(operator: &str) -> Value {
        json!({"matchExpressions": [{"key": LABEL, "operator": operator}]})
    }

    fn swap(tree: &mut Value, from: &Value, to: &Value) -> bool {
        match tree.pointer_mut("/spec/selector") {
            Some(selector) if selector == from => {
                *selector = to.clone();
                true
            }
            _ => false,
        }
    }

    pub fn to_v1(tree: &mut Value) {
        if !swap(tree, &json!({}), &always("Exists")) {
            swap(tree, &always("DoesNotExist"), &json!({}));
        }
    }
    pub fn from_v1(tree: &mut Value) {
        if !swap(tree, &json!({}), &always("DoesNotExist")) {
            swap(tree, &always("Exists"), &json!({}));
        }
    }
}

/// `discovery.k8s.io/v1beta1`: an endpoint's `topology` is now `zone`, `nodeName` and the rest.
pub(super) mod slice {
    use super::*;

    const ZONE: &str = "topology.kubernetes.io/zone";
    const HOST: &str = "kubernetes.io/hostname";

    pub fn to_v1(tree: &mut Value) {
        for endpoint in members(tree, "endpoints") {
            let Some(Value::Object(mut topology)) = endpoint.remove("topology") else { continue };
            endpoint.extend(topology.remove(ZONE).map(|z| ("zone".to_owned(), z)));
            if topology.get(HOST).is_some_and(|h| Some(h) == endpoint.get("nodeName")) {
                topology.remove(HOST);
            }
            if !topology.is_empty() {
                endpoint.insert("deprecatedTopology".into(), topology.into());
            }
        }
    }
    pub fn from_v1(tree: &mut Value) {
        for endpoint in members(tree, "endpoints") {
            let mut topology = match endpoint.remove("deprecatedTopology") {
                Some(Value::Object(topology)) => topology,
                _ => Map::new(),
            };
            topology.extend(endpoint.remove("zone").map(|z| (ZONE.to_owned(), z)));
            if let (Some(node), false) = (endpoint.get("nodeName"), topology.contains_key(HOST)) {
                topology.insert(HOST.into(), node.clone());
            }
            if !topology.is_empty() {
                endpoint.insert("topology".into(), topology.into());
            }
        }
    }
}

/// `rbac.authorization.k8s.io/v1alpha1`: a subject has an `apiVersion`, and the user `*` is everyone who is known.
pub(super) mod subjects {
    use super::*;

    const GROUP: &str = "rbac.authorization.k8s.io";

    pub fn to_v1(tree: &mut Value) {
        for subject in members(tree, "subjects") {
            subject.remove("apiVersion");
            let kind = subject.get("kind").and_then(Value::as_str).unwrap_or_default();
            if matches!(kind, "User" | "Group") {
                let all = kind == "User" && subject.get("name").is_some_and(|n| n == "*");
                subject.insert("apiGroup".into(), GROUP.into());
                if all {
                    subject.insert("kind".into(), "Group".into());
                    subject.insert("name".into(), "system:authenticated".into());
                }
            }
        }
    }
    pub fn from_v1(tree: &mut Value) {
        for subject in members(tree, "subjects") {
            subject.remove("apiGroup");
            let version = match subject.get("kind").and_then(Value::as_str) {
                Some("ServiceAccount") => "v1".to_owned(),
                _ => format!("{GROUP}/v1alpha1"),
            };
            subject.insert("apiVersion".into(), version.into());
        }
    }
}

/// `authorization.k8s.io/v1beta1`: another name of a list.
pub(super) mod review {
    use super::*;

    pub fn to_v1(tree: &mut Value) {
        rename(tree, "group", "groups");
    }
    pub fn from_v1(tree: &mut Value) {
        rename(tree, "groups", "group");
    }
    fn rename(tree: &mut Value, from: &str, to: &str) {
        if let Some(spec) = spec(tree)
            && let Some(groups) = spec.remove(from)
        {
            spec.insert(to.into(), groups);
        }
    }
}

/// `flowcontrol.apiserver.k8s.io`: shares had another name up to `v1beta2`, and no zero up to `v1beta3`.
pub(super) mod shares {
    use super::*;

    const OLD: &str = "assuredConcurrencyShares";
    const NEW: &str = "nominalConcurrencyShares";
    const ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

    pub fn to_v1(version: &str, tree: &mut Value) {
        let keeps_zero = tree.pointer("/metadata/annotations").is_some_and(|a| a.get(ZERO).is_some());
        let Some(limited) = spec(tree).and_then(|s| s.get_mut("limited")).and_then(Value::as_object_mut) else {
            return;
        };
        if version != "v1beta3" {
            rename(limited, OLD, NEW);
        }
        if limited.get(NEW).is_some_and(|n| n == 0) && !keeps_zero {
            limited.remove(NEW);
        }
        if let Some(annotations) = tree.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(ZERO);
        }
    }
    pub fn from_v1(version: &str, tree: &mut Value) {
        let Some(limited) = spec(tree).and_then(|s| s.get_mut("limited")).and_then(Value::as_object_mut) else {
            return;
        };
        let zero = limited.get(NEW).is_some_and(|n| n == 0);
        if version != "v1beta3" {
            rename(limited, NEW, OLD);
        }
        if zero && let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
            or(metadata, "annotations", json!({}));
            if let Some(annotations) = metadata["annotations"].as_object_mut() {
                annotations.insert(ZERO.into(), "".into());
            }
        }
    }
}

/// `resource.k8s.io/v1beta1`: what is now `exactly` stood in the request, and a device had its content in `basic`.
pub(super) mod devices {
    use super::*;

    const EXACTLY: [&str; 7] =
        ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

    /// The requests of a claim, or of a template of one.
    fn requests(tree: &mut Value) -> impl Iterator<Item = &mut Object> {
        let at = if tree.pointer("/spec/spec").is_some() { "/spec/spec/devices" } else { "/spec/devices" };
        tree.pointer_mut(at).into_iter().flat_map(|d| members(d, "requests"))
    }

    pub fn to_v1(tree: &mut Value) {
        for request in requests(tree) {
            let exactly: Object = EXACTLY.iter().filter_map(|k| Some(((*k).to_owned(), request.remove(*k)?))).collect();
            if !exactly.is_empty() {
                request.insert("exactly".into(), exactly.into());
            }
        }
        for device in tree.get_mut("spec").into_iter().flat_map(|s| members(s, "devices")) {
            if let Some(Value::Object(basic)) = device.remove("basic") {
                device.extend(basic);
            }
        }
    }
    pub fn from_v1(tree: &mut Value) {
        for request in requests(tree) {
            if let Some(Value::Object(exactly)) = request.remove("exactly") {
                request.extend(exactly);
            }
        }
        for device in tree.get_mut("spec").into_iter().flat_map(|s| members(s, "devices")) {
            let name = device.remove("name");
            let basic = std::mem::take(device);
            device.extend(name.map(|n| ("name".to_owned(), n)));
            device.insert("basic".into(), basic.into());
        }
    }
}

/// `certificates.k8s.io/v1beta1`: signer, usages and a condition's status could be left out.
pub(super) fn signing_request_to_v1(tree: &mut Value) {
    if let Some(spec) = spec(tree) {
        or(spec, "usages", json!(["digital signature", "key encipherment"]));
        let signer = signer(spec);
        or(spec, "signerName", signer.into());
    }
    if let Some(status) = tree.get_mut("status") {
        members(status, "conditions").for_each(|c| or(c, "status", "True".into()));
    }
}

/// `DefaultSignerNameFromSpec`; whether the subject is a node's is read off the request's bytes, where it stands in plain.
fn signer(spec: &Object) -> &'static str {
    let text = spec.get("request").and_then(Value::as_str).unwrap_or_default();
    let pem = STANDARD.decode(text).unwrap_or_default();
    let body: Vec<u8> = pem.split(|b| *b == b'\n').filter(|l| !l.starts_with(b"-----")).flatten().copied().collect();
    let der = STANDARD.decode(body).unwrap_or_default();
    let has = |name: &[u8]| der.windows(name.len()).any(|w| w == name);
    let usages = spec.get("usages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let used = |usage: &str| usages.iter().any(|u| u == usage);
    match has(b"system:nodes") && has(b"system:node:") {
        true if used("client auth") => "kubernetes.io/kube-apiserver-client-kubelet",
        true if used("server auth") => "kubernetes.io/kubelet-serving",
        _ => "kubernetes.io/legacy-unknown",
    }
}

/// On configurations whose webhooks do not say that they have no side effects, which only `v1beta1` allowed.
pub(crate) const SIDE_EFFECTS: &str = "deprecated.webhooks.side-effects";

/// The defaults that `admissionregistration.k8s.io/v1beta1` had.
pub(super) fn webhooks_to_v1(tree: &mut Value) {
    let mut unsaid = false;
    for hook in members(tree, "webhooks") {
        unsaid |= !hook.get("sideEffects").is_some_and(|s| s == "None" || s == "NoneOnDryRun");
        or(hook, "failurePolicy", "Ignore".into());
        or(hook, "matchPolicy", "Exact".into());
        or(hook, "sideEffects", "Unknown".into());
        or(hook, "timeoutSeconds", 30.into());
        or(hook, "admissionReviewVersions", json!(["v1beta1"]));
    }
    if let (true, Some(metadata)) = (unsaid, tree.get_mut("metadata").and_then(Value::as_object_mut)) {
        or(metadata, "annotations", json!({}));
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.insert(SIDE_EFFECTS.into(), "true".into());
        }
    }
}

pub(super) fn webhooks_from_v1(tree: &mut Value) {
    let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(SIDE_EFFECTS);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Convert = fn(&mut Value);

    #[test]
    fn there_and_back() {
        let cases: [(Convert, Convert, Value, Value); 11] = [
            (
                budget::to_v1,
                budget::from_v1,
                json!({"spec": {"selector": {}}}),
                json!({"spec": {"selector": {"matchExpressions": [
                    {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}]}}}),
            ),
            (
                budget::to_v1,
                budget::from_v1,
                json!({"spec": {"selector": {"matchExpressions": [
                    {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "DoesNotExist"}]}}}),
                json!({"spec": {"selector": {}}}),
            ),
            (
                slice::to_v1,
                slice::from_v1,
                json!({"endpoints": [{"nodeName": "n", "topology":
                    {"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "n", "x": "y"}}]}),
                json!({"endpoints": [{"nodeName": "n", "zone": "z", "deprecatedTopology": {"x": "y"}}]}),
            ),
            (
                subjects::to_v1,
                subjects::from_v1,
                json!({"subjects": [{"kind": "User", "name": "a", "apiVersion": "rbac.authorization.k8s.io/v1alpha1"},
                    {"kind": "ServiceAccount", "name": "b", "namespace": "c", "apiVersion": "v1"}]}),
                json!({"subjects": [{"kind": "User", "name": "a", "apiGroup": "rbac.authorization.k8s.io"},
                    {"kind": "ServiceAccount", "name": "b", "namespace": "c"}]}),
            ),
            (
                review::to_v1,
                review::from_v1,
                json!({"spec": {"user": "a", "group": ["g"]}}),
                json!({"spec": {"user": "a", "groups": ["g"]}}),
            ),
            (
                |t| shares::to_v1("v1beta2", t),
                |t| shares::from_v1("v1beta2", t),
                json!({"spec": {"limited": {"assuredConcurrencyShares": 5}}}),
                json!({"spec": {"limited": {"nominalConcurrencyShares": 5}}}),
            ),
            (
                |t| shares::to_v1("v1beta3", t),
                |t| shares::from_v1("v1beta3", t),
                json!({"metadata": {"annotations": {"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""}},
                    "spec": {"limited": {"nominalConcurrencyShares": 0}}}),
                json!({"metadata": {"annotations": {}}, "spec": {"limited": {"nominalConcurrencyShares": 0}}}),
            ),
            (
                devices::to_v1,
                devices::from_v1,
                json!({"spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "c", "count": 2}, {"name": "b", "firstAvailable": [{}]}]}}}),
                json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c", "count": 2}},
                    {"name": "b", "firstAvailable": [{}]}]}}}),
            ),
            (
                devices::to_v1,
                devices::from_v1,
                json!({"spec": {"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]}}),
                json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}}),
            ),
            (budget::to_v1, budget::from_v1, json!({"spec": 1}), json!({"spec": 1})),
            (slice::to_v1, slice::from_v1, json!({"endpoints": [1]}), json!({"endpoints": [1]})),
        ];
        for (there, back, old, new) in cases {
            let mut tree = old.clone();
            there(&mut tree);
            assert_eq!(tree, new);
            back(&mut tree);
            assert_eq!(tree, old);
        }
    }

    #[test]
    fn old_defaults() {
        let mut request = json!({"spec": {"request": "eA=="}, "status": {"conditions": [{"type": "Approved"}]}});
        signing_request_to_v1(&mut request);
        assert_eq!(request["spec"]["signerName"], "kubernetes.io/legacy-unknown");
        assert_eq!(request["status"]["conditions"][0]["status"], "True");
        let der = STANDARD.encode(b"..system:nodes..system:node:a..");
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n");
        let mut request = json!({"spec": {"request": STANDARD.encode(pem), "usages": ["client auth"]}});
        signing_request_to_v1(&mut request);
        assert_eq!(request["spec"]["signerName"], "kubernetes.io/kube-apiserver-client-kubelet");
        let mut hooks = json!({"webhooks": [{"failurePolicy": "Fail"}]});
        webhooks_to_v1(&mut hooks);
        assert_eq!(
            (&hooks["webhooks"][0]["failurePolicy"], &hooks["webhooks"][0]["timeoutSeconds"]),
            (&json!("Fail"), &json!(30))
        );
    }
}
