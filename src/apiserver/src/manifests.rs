//! What a server applies to itself at its first start, from `manifests/`.

/// In the order in which they are applied; each may hold several documents.
pub const MANIFESTS: [&str; 6] = [
    include_str!("../../../manifests/namespaces.yaml"),
    include_str!("../../../manifests/rbac-users.yaml"),
    include_str!("../../../manifests/rbac-components.yaml"),
    include_str!("../../../manifests/rbac-certificates.yaml"),
    include_str!("../../../manifests/priority-classes.yaml"),
    include_str!("../../../manifests/component-statuses.yaml"),
];

#[cfg(test)]
mod tests {
    use api::Draft;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::authz::{GROUP, Rbac};
    use crate::{Attributes, Authorizer, Decision, User, Verb};

    fn documents() -> Vec<Value> {
        let parse = |d| Value::deserialize(d).expect("a manifest is YAML");
        MANIFESTS.iter().flat_map(|m| serde_yaml::Deserializer::from_str(m).map(parse)).collect()
    }

    #[test]
    fn every_document_names_its_kind_and_itself_once() {
        let mut seen = std::collections::BTreeSet::new();
        for d in documents() {
            let text = |p: &str| d.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
            assert!(!text("/apiVersion").is_empty(), "{d}");
            assert!(seen.insert((text("/kind"), text("/metadata/namespace"), text("/metadata/name"))), "{d}");
        }
        assert!(seen.len() > 40);
    }

    #[test]
    fn everyone_may_discover_and_masters_may_all() {
        let rbac = Rbac::default();
        for d in documents() {
            let resource = format!("{GROUP}/{}s", d["kind"].as_str().unwrap_or_default().to_lowercase());
            if d["apiVersion"].as_str().is_some_and(|v| v.starts_with(GROUP)) {
                rbac.put(&resource, &Draft::encode(&d).expect("a manifest encodes").at(1));
            }
        }
        let may = |groups: &[&str], verb, group: &str, resource: &str, path: &str| {
            let groups = groups.iter().map(|g| (*g).to_owned()).collect();
            let user = User { name: "u".into(), groups, ..User::default() };
            let a = Attributes {
                user: user.into(),
                verb,
                group: group.into(),
                version: "v1".into(),
                resource: resource.into(),
                subresource: String::new(),
                namespace: String::new(),
                name: String::new(),
                path: path.into(),
            };
            rbac.authorize(&a) == Decision::Allow
        };
        let everyone = &["system:authenticated"][..];
        assert!(may(everyone, Verb::Get, "", "", "/apis/apps/v1"));
        assert!(may(everyone, Verb::Create, "authorization.k8s.io", "selfsubjectaccessreviews", ""));
        assert!(!may(everyone, Verb::List, "", "pods", ""));
        assert!(may(&["system:masters"], Verb::Delete, "anything.io", "things", ""));
        assert!(may(&["system:nodes"], Verb::List, "discovery.k8s.io", "endpointslices", ""));
        assert!(!may(&["system:nodes"], Verb::List, "", "secrets", ""));
    }
}
