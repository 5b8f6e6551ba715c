//! When a version was deprecated and when upstream stopped to serve it: `APILifecycle…` of its types, from which
//! `deprecation.WarningMessage` makes the `Warning` that clients get.

/// Group, version, kind (empty: every kind of the version), deprecated in 1.x, gone in 1.y, what to use instead.
type Old = (&'static str, &'static str, &'static str, u8, u8, &'static str);

const OLD: &[Old] = &[
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        "MutatingWebhookConfiguration",
        16,
        22,
        "admissionregistration.k8s.io/v1",
    ),
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        "ValidatingWebhookConfiguration",
        16,
        22,
        "admissionregistration.k8s.io/v1",
    ),
    ("admissionregistration.k8s.io", "v1beta1", "ValidatingAdmissionPolicy", 31, 34, "admissionregistration.k8s.io/v1"),
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        "ValidatingAdmissionPolicyBinding",
        31,
        34,
        "admissionregistration.k8s.io/v1",
    ),
    ("apiextensions.k8s.io", "v1beta1", "", 16, 22, "apiextensions.k8s.io/v1"),
    ("apiregistration.k8s.io", "v1beta1", "", 19, 22, "apiregistration.k8s.io/v1"),
    ("apps", "v1beta1", "", 8, 16, "apps/v1"),
    ("apps", "v1beta2", "", 9, 16, "apps/v1"),
    ("authentication.k8s.io", "v1beta1", "", 19, 22, "authentication.k8s.io/v1"),
    ("authorization.k8s.io", "v1beta1", "", 19, 22, "authorization.k8s.io/v1"),
    ("autoscaling", "v2beta1", "", 22, 25, "autoscaling/v2"),
    ("autoscaling", "v2beta2", "", 23, 26, "autoscaling/v2"),
    ("batch", "v1beta1", "", 21, 25, "batch/v1"),
    ("certificates.k8s.io", "v1beta1", "CertificateSigningRequest", 19, 22, "certificates.k8s.io/v1"),
    ("coordination.k8s.io", "v1beta1", "Lease", 19, 22, "coordination.k8s.io/v1"),
    ("discovery.k8s.io", "v1beta1", "", 21, 25, "discovery.k8s.io/v1"),
    ("events.k8s.io", "v1beta1", "", 22, 25, "events.k8s.io/v1"),
    ("extensions", "v1beta1", "Ingress", 14, 22, "networking.k8s.io/v1"),
    ("extensions", "v1beta1", "NetworkPolicy", 9, 16, "networking.k8s.io/v1"),
    ("extensions", "v1beta1", "", 8, 16, "apps/v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "", 23, 26, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", "", 26, 29, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "", 29, 32, "flowcontrol.apiserver.k8s.io/v1"),
    ("networking.k8s.io", "v1beta1", "IPAddress", 34, 37, "networking.k8s.io/v1"),
    ("networking.k8s.io", "v1beta1", "ServiceCIDR", 34, 37, "networking.k8s.io/v1"),
    ("networking.k8s.io", "v1beta1", "", 19, 22, "networking.k8s.io/v1"),
    ("node.k8s.io", "v1beta1", "", 22, 25, "node.k8s.io/v1"),
    ("policy", "v1beta1", "Eviction", 22, 25, "policy/v1"),
    ("policy", "v1beta1", "", 21, 25, "policy/v1"),
    ("rbac.authorization.k8s.io", "v1alpha1", "", 17, 22, "rbac.authorization.k8s.io/v1"),
    ("rbac.authorization.k8s.io", "v1beta1", "", 17, 22, "rbac.authorization.k8s.io/v1"),
    ("resource.k8s.io", "v1beta1", "", 35, 38, "resource.k8s.io/v1"),
    ("resource.k8s.io", "v1beta2", "", 36, 39, "resource.k8s.io/v1"),
    ("scheduling.k8s.io", "v1alpha1", "PriorityClass", 14, 22, "scheduling.k8s.io/v1"),
    ("scheduling.k8s.io", "v1beta1", "", 14, 22, "scheduling.k8s.io/v1"),
    ("storage.k8s.io", "v1beta1", "CSINode", 17, 22, "storage.k8s.io/v1"),
    ("storage.k8s.io", "v1beta1", "CSIStorageCapacity", 24, 27, "storage.k8s.io/v1"),
    ("storage.k8s.io", "v1beta1", "VolumeAttributesClass", 34, 37, "storage.k8s.io/v1"),
    ("storage.k8s.io", "v1beta1", "", 19, 22, "storage.k8s.io/v1"),
];

/// The `Warning` of a deprecated version, `None` for one in good standing.
pub fn warning(group: &str, version: &str, kind: &str) -> Option<String> {
    match (group, version, kind) {
        ("", "v1", "Endpoints") => {
            return Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into());
        }
        ("", "v1", "ComponentStatus") => return Some("v1 ComponentStatus is deprecated in v1.19+".into()),
        _ => {}
    }
    let of = |o: &&Old| o.0 == group && o.1 == version && (o.2.is_empty() || o.2 == kind);
    let (_, _, _, since, removed, successor) = OLD.iter().find(of)?;
    Some(format!(
        "{group}/{version} {kind} is deprecated in v1.{since}+, unavailable in v1.{removed}+; use {successor} {kind}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::registry;

    #[test]
    fn every_old_version_that_is_served_warns_and_no_other() {
        for kind in registry().kinds() {
            for (group, version) in &kind.served {
                let old = version.contains("beta") || version.contains("alpha");
                let core = ["Endpoints", "ComponentStatus"].contains(&kind.kind.as_str());
                assert_eq!(
                    warning(group, version, &kind.kind).is_some(),
                    old || core,
                    "{group}/{version} {}",
                    kind.kind
                );
            }
        }
        assert_eq!(
            warning("extensions", "v1beta1", "Ingress").unwrap(),
            "extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress"
        );
    }
}
