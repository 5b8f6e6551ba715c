//! `resource.k8s.io`: devices that drivers publish, and the claims to them.

mod claim;
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
                "spec.devices.requests[1].name: Duplicate value: \"a\"",
                "spec.devices.requests[2].name: Invalid value: \"B\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.devices.requests[2].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[2].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
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
}
