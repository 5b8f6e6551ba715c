//! A claim or an ingress that names no class gets the default one: upstream's `storage/storageclass/setdefault` and
//! `network/defaultingressclass`.

use std::sync::Arc;

use api::{Object, Status};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{is_absent, object};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

/// What has a class.
struct Classed {
    plugin: &'static str,
    /// The groups that it is served in, and its resource.
    groups: &'static [&'static str],
    resource: &'static str,
    /// Of its spec.
    field: &'static str,
    /// How it named its class before there was a field for it.
    old: &'static str,
    classes: &'static str,
    /// Annotations of a default class.
    default: &'static [&'static str],
}

static CLAIM: Classed = Classed {
    plugin: "DefaultStorageClass",
    groups: &[""],
    resource: "persistentvolumeclaims",
    field: "storageClassName",
    old: "volume.beta.kubernetes.io/storage-class",
    classes: "storage.k8s.io/storageclasses",
    default: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
};
static INGRESS: Classed = Classed {
    plugin: "DefaultIngressClass",
    groups: &["networking.k8s.io", "extensions"],
    resource: "ingresses",
    field: "ingressClassName",
    old: "kubernetes.io/ingress.class",
    classes: "networking.k8s.io/ingressclasses",
    default: &["ingressclass.kubernetes.io/is-default-class"],
};

pub struct DefaultClass {
    of: &'static Classed,
    lookup: Arc<dyn Lookup>,
}

impl DefaultClass {
    pub fn of_claims(lookup: Arc<dyn Lookup>) -> Self {
        DefaultClass { of: &CLAIM, lookup }
    }
    pub fn of_ingresses(lookup: Arc<dyn Lookup>) -> Self {
        DefaultClass { of: &INGRESS, lookup }
    }

    /// Of several defaults the youngest, then the first by name.
    fn default_class(&self) -> Option<Arc<Object>> {
        let is_default = |o: &Arc<Object>| {
            let annotations = &o.tree()["metadata"]["annotations"];
            self.of.default.iter().any(|key| annotations[*key] == "true")
        };
        let key = |o: &Arc<Object>| (o.meta().creation_timestamp.clone(), std::cmp::Reverse(o.name().to_owned()));
        self.lookup.list(self.of.classes, "").into_iter().filter(is_default).max_by_key(key)
    }
}

#[async_trait]
impl Plugin for DefaultClass {
    fn name(&self) -> &'static str {
        self.of.plugin
    }
    fn handles(&self, a: &Attributes) -> bool {
        self.of.groups.iter().any(|group| is(a, group, self.of.resource))
            && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let old = &write.object["metadata"]["annotations"][self.of.old];
        if write.operation() != Operation::Create || !old.is_null() {
            return Ok(());
        }
        let Some(spec) = object(write.object, "spec").filter(|s| is_absent(s, self.of.field)) else {
            return Ok(());
        };
        if let Some(class) = self.default_class() {
            spec.insert(self.of.field.into(), json!(class.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;
    use crate::lookup::fake::Cluster;
    use api::Value;

    #[tokio::test]
    async fn the_youngest_default_wins() {
        for (of, group) in [(&CLAIM, ""), (&INGRESS, "networking.k8s.io"), (&INGRESS, "extensions")] {
            let cluster = Arc::new(Cluster::default());
            let plugin = DefaultClass { of, lookup: cluster.clone() };
            let a = Attributes { group: group.into(), ..attributes(of.resource, "ns", &User::system("t")) };
            assert!(plugin.handles(&a));
            let admit = async |tree: Value| run(&plugin, &a, tree, None).await.unwrap()["spec"][of.field].clone();
            let none = || json!({"spec": {}});
            assert_eq!(admit(none()).await, Value::Null);
            for (name, at, is) in [
                ("old", "2025-01-01T00:00:00Z", "true"),
                ("b", "2026-01-01T00:00:00Z", "true"),
                ("a", "2026-01-01T00:00:00Z", "true"),
                ("young", "2026-02-01T00:00:00Z", "false"),
            ] {
                let annotations = json!({of.default[0]: is});
                let metadata = json!({"name": name, "creationTimestamp": at, "annotations": annotations});
                cluster.put(of.classes, json!({"metadata": metadata}));
            }
            assert_eq!(admit(none()).await, "a");
            for own in ["own", ""] {
                assert_eq!(admit(json!({"spec": {of.field: own}})).await, own);
            }
            let old = json!({"metadata": {"annotations": {of.old: "x"}}, "spec": {}});
            assert_eq!(admit(old).await, Value::Null);
        }
    }
}
