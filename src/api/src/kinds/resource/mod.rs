//! `resource.k8s.io`: devices that drivers publish, and the claims to them.

mod capacity;
mod claim;
mod claim_status;
mod device;
mod slice;

use super::def::{cluster, namespaced};
use crate::Kind;

const GROUP: &str = "resource.k8s.io";

pub(super) fn kinds() -> Vec<Kind> {
    [
        cluster(GROUP, "v1", "DeviceClass", "deviceclasses", device::DeviceClass),
        namespaced(GROUP, "v1", "ResourceClaim", "resourceclaims", claim::ResourceClaim).status(),
        namespaced(GROUP, "v1", "ResourceClaimTemplate", "resourceclaimtemplates", claim::ResourceClaimTemplate),
        cluster(GROUP, "v1", "ResourceSlice", "resourceslices", slice::ResourceSlice),
    ]
    .map(|kind: Kind| kind.old(&["v1beta2", "v1beta1"]))
    .into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Strategy;
    use crate::kinds::workload::{defaulted, problems};

    #[test]
    fn claims_are_defaulted_and_checked() {
        let claim = |requests: Value| json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}});
        let made =
            defaulted(&claim::ResourceClaim, claim(json!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}])));
        assert_eq!(
            made["spec"]["devices"]["requests"][0]["exactly"],
            json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1})
        );
        let wrong = claim(json!([{"name": "a"}, {"name": "a", "exactly": {"allocationMode": "All", "count": 2},
            "firstAvailable": []}, {"name": "B", "exactly": {"deviceClassName": "x", "allocationMode": "Some",
            "selectors": [{}]}}]));
        assert_eq!(
            problems(&claim::ResourceClaim, wrong),
            [
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
                "spec.devices.requests[2].name: Invalid value: \"B\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.devices.requests[2].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[2].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
                "spec.devices.requests[1]: Duplicate value: \"a\"",
            ]
        );
        let mut other = made.clone();
        other["spec"]["devices"]["requests"][0]["exactly"]["count"] = json!(2);
        let error = &claim::ResourceClaim.check_update(&other, &made)[0];
        assert!(
            error.to_string().starts_with("spec: Invalid value:") && error.message.ends_with("field is immutable"),
            "{error}"
        );
        let mut reserved = made.clone();
        reserved["status"] = json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        assert_eq!(
            claim::ResourceClaim.validate_status_update(&reserved, &made)[0].to_string(),
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
        );
        reserved["status"]["allocation"] = json!({});
        assert_eq!(claim::ResourceClaim.cells(&reserved, 0)[1], "allocated,reserved");
        assert_eq!(claim::ResourceClaim.cells(&made, 0)[1], "pending");
    }

    #[test]
    fn slices_say_where_they_are() {
        let slice = |extra: Value| {
            let mut spec = json!({"driver": "d.io", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 0}});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            problems(&slice::ResourceSlice, json!({"metadata": {"name": "s"}, "spec": spec}))
        };
        assert_eq!(
            slice(json!({"nodeName": "n", "devices": [{"name": "d0", "attributes": {"m": {"string": "x"}}}]})),
            Vec::<String>::new()
        );
        assert_eq!(
            slice(json!({})),
            [
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
            ]
        );
        assert_eq!(
            slice(
                json!({"allNodes": true, "nodeName": "n", "devices": [{"name": "d", "attributes": {"v": {"version": "1.x"}, "w": {}}}]})
            ),
            [
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
                "spec.devices[0].attributes[v].version: Invalid value: \"1.x\": must be a string compatible with semver.org spec 2.0.0",
                "spec.devices[0].attributes[w]: Invalid value: \"\": exactly one value must be specified",
            ]
        );
    }

    const NOT_A_NAME: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

    #[test]
    fn claims_refer_to_their_requests_and_say_what_they_tolerate() {
        let check = |change: Value| {
            let mut devices = json!({"requests": [
                {"name": "a", "exactly": {"deviceClassName": "gpu"}},
                {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]},
            ]});
            devices.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            problems(&claim::ResourceClaim, json!({"metadata": {"name": "c"}, "spec": {"devices": devices}})).join("; ")
        };
        let reference =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let tolerating =
            |t: Value| json!({"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu", "tolerations": [t]}}]});
        let about = |name: &str| json!({"constraints": [{"requests": [name], "matchAttribute": "d.io/x"}]});
        let with = |name: &str| json!({"constraints": [{"matchAttribute": name}]});
        let configured =
            |parameters: Value| json!({"config": [{"opaque": {"driver": "d.io", "parameters": parameters}}]});
        let many: Vec<Value> = (0..33).map(|_| json!({})).collect();
        for (change, want) in [
            (json!({}), String::new()),
            (about("a"), String::new()),
            (about("b/x"), String::new()),
            (about("b/y"), format!("spec.devices.constraints[0].requests[0]: Invalid value: \"b/y\": {reference}")),
            (about("a/b/c"), format!("spec.devices.constraints[0].requests[0]: Invalid value: \"a/b/c\": {reference}")),
            (
                json!({"constraints": [{"requests": ["a", "a"], "matchAttribute": "d.io/x"}]}),
                "spec.devices.constraints[0].requests[1]: Duplicate value: \"a\"".into(),
            ),
            (
                with("x"),
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"x\": a fully qualified name must be a domain and a name separated by a slash".into(),
            ),
            (with("d.io/1x"), format!("spec.devices.constraints[0].matchAttribute: Invalid value: \"1x\": {NOT_A_NAME}")),
            (with("/x"), "spec.devices.constraints[0].matchAttribute: Invalid value: \"\": the domain must not be empty".into()),
            (with("d.io/"), "spec.devices.constraints[0].matchAttribute: Invalid value: \"\": the name must not be empty".into()),
            (json!({ "requests": many }), "spec.devices.requests: Too many: 33: must have at most 32 items".into()),
            (configured(json!({})), String::new()),
            (configured(Value::Null), "spec.devices.config[0].opaque.parameters: Required value".into()),
            (
                configured(json!([1])),
                "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".into(),
            ),
            (tolerating(json!({"operator": "Exists", "effect": "None"})), String::new()),
            (tolerating(json!({"value": "x"})), String::new()),
            (
                tolerating(json!({"operator": "Exists", "value": "x", "effect": "Never"})),
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`; spec.devices.requests[0].exactly.tolerations[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"".into(),
            ),
        ] {
            assert_eq!(check(change.clone()), want, "{change}");
        }
    }

    #[test]
    fn the_status_of_a_claim_is_checked() {
        let spec = json!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}});
        let check = |status: Value, before: Value| {
            let old = json!({"metadata": {"name": "c"}, "spec": spec, "status": before});
            let new = json!({"metadata": {"name": "c"}, "spec": spec, "status": status});
            let errors = claim::ResourceClaim.validate_status_update(&new, &old);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let result = json!({"request": "a", "driver": "d.io", "pool": "p", "device": "x"});
        let with = |change: Value| {
            let mut result = result.clone();
            result.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"allocation": {"devices": {"results": [result]}}})
        };
        let doing = |change: Value| {
            let mut device = json!({"driver": "d.io", "pool": "p", "device": "x"});
            device.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"allocation": {"devices": {"results": [result]}}, "devices": [device]})
        };
        let config = |source: &str| json!({"allocation": {"devices": {"config": [{"source": source, "opaque": {"driver": "d.io", "parameters": {}}}]}}});
        let share = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let at = "status.allocation.devices.results[0]";
        for (status, want) in [
            (with(json!({})), String::new()),
            (with(json!({"shareID": share})), String::new()),
            (
                with(json!({"shareID": share.to_uppercase()})),
                format!("{at}.shareID: Invalid value: {:?}: uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters", share.to_uppercase()),
            ),
            (
                with(json!({"shareID": "x"})),
                format!("{at}.shareID: Invalid value: \"x\": error validating uid: invalid UUID length: 1"),
            ),
            (
                with(json!({"request": "b", "driver": ""})),
                format!("{at}.request: Invalid value: \"b\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'; {at}.driver: Required value"),
            ),
            (
                with(json!({"bindingConditions": ["a.io/x", "a.io/x"]})),
                format!("{at}.bindingConditions[1]: Duplicate value: \"a.io/x\"; {at}.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"),
            ),
            (
                with(json!({"bindingConditions": ["x"], "bindingFailureConditions": ["x"]})),
                format!("{at}.bindingFailureConditions[0]: Invalid value: \"x\": bindingFailureConditions must not overlap with bindingConditions"),
            ),
            (config("FromClaim"), String::new()),
            (config(""), "status.allocation.devices.config[0].source: Required value".into()),
            (
                config("x"),
                "status.allocation.devices.config[0].source: Unsupported value: \"x\": supported values: \"FromClaim\", \"FromClass\"".into(),
            ),
            (
                json!({"allocation": {"nodeSelector": {}}}),
                "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term".into(),
            ),
            (
                json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}, {"resource": "pods", "uid": "u"}]}),
                "status.reservedFor[1].name: Required value; status.reservedFor[1]: Duplicate value: \"u\"".into(),
            ),
            (doing(json!({"data": {}, "networkData": {"ips": ["10.0.0.1/8"]}})), String::new()),
            (
                doing(json!({"device": "y"})),
                "status.devices[0]: Invalid value: d.io/p/y: must be an allocated device in the claim".into(),
            ),
            (
                doing(json!({"data": 1, "networkData": {"interfaceName": "x".repeat(257), "ips": ["10.0.0.01/8", "x"]}})),
                "status.devices[0].data: Invalid value: \"<value omitted>\": must be a valid JSON object; status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes; status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.01/8\": must be in canonical form (\"10.0.0.1/8\"); status.devices[0].networkData.ips[1]: Invalid value: \"x\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".into(),
            ),
            (
                doing(json!({"conditions": [{"type": "a", "status": "True", "reason": "A"}]})),
                "status.devices[0].conditions[0].lastTransitionTime: Required value: must be set".into(),
            ),
        ] {
            assert_eq!(check(status.clone(), json!({})), want, "{status}");
        }
        let twice =
            json!([{"driver": "d.io", "pool": "p", "device": "x"}, {"driver": "d.io", "pool": "p", "device": "x"}]);
        let mut status = with(json!({}));
        status["devices"] = twice;
        assert_eq!(check(status, json!({})), "status.devices[1]: Duplicate value: d.io/p/x");
        let old = with(json!({"request": "gone"}));
        assert_eq!(check(old.clone(), old), "", "what was allocated is not looked at again");
    }

    #[test]
    fn devices_are_checked() {
        let check = |change: Value| {
            let mut device = json!({"name": "d0"});
            device.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let spec = json!({"driver": "d.io", "pool": {"name": "p", "resourceSliceCount": 1}, "allNodes": true, "devices": [device]});
            problems(&slice::ResourceSlice, json!({"metadata": {"name": "s"}, "spec": spec})).join("; ")
        };
        let capacity = |shared: bool, policy: Value| json!({"allowMultipleAllocations": shared, "capacity": {"m": {"value": "10", "requestPolicy": policy}}});
        let long = "x".repeat(33);
        let at = "spec.devices[0].capacity[m].requestPolicy";
        for (device, want) in [
            (json!({"attributes": {"d.io/a": {"bool": true}, "b": {"int": 1}}, "capacity": {"m": {"value": "1"}}}), String::new()),
            (json!({"attributes": {"a-b": {"int": 1}}}), format!("spec.devices[0].attributes[a-b]: Invalid value: \"a-b\": {NOT_A_NAME}")),
            (
                json!({"capacity": {long.clone(): {"value": "1"}}}),
                format!("spec.devices[0].capacity[{long}]: Too long: may not be more than 32 bytes"),
            ),
            (json!({"taints": [{"key": "x", "effect": "None"}]}), String::new()),
            (
                json!({"taints": [{"key": "x", "value": "-", "effect": "x"}]}),
                format!("spec.devices[0].taints[0].value: Invalid value: \"-\": {}; spec.devices[0].taints[0].effect: Unsupported value: \"x\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"", crate::names::label_value("-")[0]),
            ),
            (
                json!({"taints": vec![json!({"key": "x", "effect": "None"}); 17]}),
                "spec.devices[0].taints: Too many: 17: must have at most 16 items".into(),
            ),
            (json!({"consumesCounters": [{"counterSet": "c", "counters": {"m": {"value": "1"}}}]}), String::new()),
            (
                json!({"consumesCounters": [{"counterSet": "c"}, {"counters": {"m": {"value": "1"}}}]}),
                "spec.devices[0].consumesCounters[0].counters: Required value; spec.devices[0].consumesCounters[1].counterSet: Required value".into(),
            ),
            (
                json!({"nodeName": "n"}),
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec".into(),
            ),
            (
                json!({"bindingFailureConditions": ["x"]}),
                "spec.devices[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions".into(),
            ),
            (capacity(false, json!({})), format!("{at}: Forbidden: allowMultipleAllocations must be true")),
            (capacity(true, json!({})), String::new()),
            (capacity(true, json!({"default": "1", "validValues": ["1", "2"]})), String::new()),
            (capacity(true, json!({"validValues": ["1"]})), format!("{at}.default: Required value: required when validValues is defined")),
            (
                capacity(true, json!({"default": "3", "validValues": ["12", "2", "2"]})),
                format!("{at}.validValues[1]: Invalid value: \"2\": values must be sorted in ascending order; {at}.validValues[0]: Invalid value: \"12\": option is larger than capacity value: 10; {at}.validValues[2]: Duplicate value: \"2\"; {at}.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy"),
            ),
            (capacity(true, json!({"default": "3", "validRange": {"min": "1", "max": "9", "step": "2"}})), String::new()),
            (capacity(true, json!({"default": "3", "validRange": {}})), format!("{at}.validRange.min: Required value: required when validRange is defined")),
            (
                capacity(true, json!({"default": "1", "validRange": {"min": "2", "max": "11", "step": "9"}})),
                format!("{at}.validRange.min: Invalid value: \"1\": default is less than min: 2; {at}.validRange.max: Invalid value: \"11\": max is larger than capacity value: 10; {at}.validRange.step: Invalid value: \"9\": one step 11 is larger than capacity value: 10; {at}.validRange.step: Invalid value: \"1\": value is not a multiple of a given step (9) from (2)"),
            ),
        ] {
            assert_eq!(check(device.clone()), want, "{device}");
        }
    }

    #[test]
    fn slices_are_checked_whole() {
        let slice = |change: Value| {
            let mut spec = json!({"driver": "d.io", "pool": {"name": "p", "resourceSliceCount": 1}});
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"metadata": {"name": "s"}, "spec": spec})
        };
        let which = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        let placed = |device: Value| json!({"perDeviceNodeSelection": true, "devices": [device]});
        for (change, want) in [
            (placed(json!({"name": "d", "allNodes": true})), String::new()),
            (placed(json!({"name": "d"})), format!("spec.devices[0]: Required value: {which}")),
            (
                placed(json!({"name": "d", "nodeName": "n", "allNodes": true})),
                format!("spec.devices[0]: Invalid value: \"{{`nodeName`, `allNodes`}}\": {which}"),
            ),
            (
                json!({"nodeName": "n", "sharedCounters": [{"name": "A", "counters": {"x.y": {"value": "1"}}}]}),
                format!(
                    "spec.sharedCounters[0].name: Invalid value: \"A\": {}; spec.sharedCounters[0].counters[x.y]: Invalid value: \"x.y\": must not contain dots",
                    crate::names::dns_label("A", false)[0]
                ),
            ),
            (
                json!({"nodeName": "n", "sharedCounters": [], "devices": []}),
                "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed".into(),
            ),
            (
                json!({"nodeName": "n", "devices": [{"name": "d"}, {"name": "d"}]}),
                "spec.devices[1]: Duplicate value: \"d\"".into(),
            ),
            (
                json!({"nodeName": "N"}),
                format!("spec.nodeName: Invalid value: \"N\": {}", crate::names::dns_subdomain("N", false)[0]),
            ),
        ] {
            assert_eq!(problems(&slice::ResourceSlice, slice(change.clone())).join("; "), want, "{change}");
        }
        let taints = vec![json!({"key": "x", "effect": "None"}); 17];
        let old = slice(json!({"nodeName": "n", "devices": [{"name": "d", "taints": taints}]}));
        let mut new = old.clone();
        assert_eq!(slice::ResourceSlice.check_update(&new, &old), [], "taints from before stay");
        new["spec"]["driver"] = json!("e.io");
        let errors = slice::ResourceSlice.check_update(&new, &old);
        assert_eq!(errors[0].to_string(), "spec.driver: Invalid value: \"e.io\": field is immutable");
    }
}
