//! The places of this server's own groups and versions in discovery: upstream's `apiVersionPriorities`.

/// Of custom resources: upstream's `crdregistration` controller.
const CUSTOM: (i64, i64) = (1000, 100);

/// `groupPriorityMinimum` of each group.
const GROUPS: &[(&str, i64)] = &[
    ("", 18000),
    ("apiregistration.k8s.io", 17900),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("extensions", 17150),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("resource.k8s.io", 15900),
    ("storagemigration.k8s.io", 15800),
    ("metrics.k8s.io", 100),
];

/// `versionPriority` where it is not what [`version`] says.
const VERSIONS: &[(&str, &str, i64)] = &[
    ("", "v1", 1),
    ("admissionregistration.k8s.io", "v1beta1", 12),
    ("admissionregistration.k8s.io", "v1alpha1", 9),
    ("apps", "v1beta1", 1),
    ("autoscaling", "v2", 30),
    ("autoscaling", "v2beta2", 1),
    ("coordination.k8s.io", "v1beta1", 13),
    ("discovery.k8s.io", "v1beta1", 12),
    ("events.k8s.io", "v1beta1", 5),
    ("flowcontrol.apiserver.k8s.io", "v1", 21),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", 18),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", 15),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", 12),
    ("metrics.k8s.io", "v1beta1", 100),
];

fn version(version: &str) -> i64 {
    if version.contains("alpha") {
        1
    } else if version.contains("beta") {
        9
    } else {
        15
    }
}

/// `groupPriorityMinimum` and `versionPriority`.
pub(crate) fn of(group: &str, its_version: &str) -> (i64, i64) {
    let Some((_, place)) = GROUPS.iter().find(|(g, _)| *g == group) else { return CUSTOM };
    let exception = VERSIONS.iter().find(|(g, v, _)| (*g, *v) == (group, its_version));
    (*place, exception.map_or_else(|| version(its_version), |(_, _, p)| *p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_upstreams_places() {
        for (group, version, want) in [
            ("", "v1", (18000, 1)),
            ("apps", "v1", (17800, 15)),
            ("autoscaling", "v2", (17500, 30)),
            ("batch", "v1beta1", (17400, 9)),
            ("stable.example.com", "v1", (1000, 100)),
        ] {
            assert_eq!(of(group, version), want, "{group}/{version}");
        }
    }
}
