//! A claim that names no storage class gets the default one: upstream's `storage/storageclass/setdefault`.

use std::sync::Arc;

use api::{Object, Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{is_absent, object};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

const CLASSES: &str = "storage.k8s.io/storageclasses";

pub struct DefaultStorageClass {
    lookup: Arc<dyn Lookup>,
}

impl DefaultStorageClass {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        DefaultStorageClass { lookup }
    }

    /// Of several defaults the youngest, then the first by name.
    fn default_class(&self) -> Option<Arc<Object>> {
        let is_default = |o: &Arc<Object>| {
            let tree = o.tree();
            let annotated = |key: &str| tree.pointer(key).and_then(Value::as_str) == Some("true");
            annotated("/metadata/annotations/storageclass.kubernetes.io~1is-default-class")
                || annotated("/metadata/annotations/storageclass.beta.kubernetes.io~1is-default-class")
        };
        let key = |o: &Arc<Object>| (o.meta().creation_timestamp.clone(), std::cmp::Reverse(o.name().to_owned()));
        self.lookup.list(CLASSES, "").into_iter().filter(is_default).max_by_key(key)
    }
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "persistentvolumeclaims") && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let beta = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
        if write.operation() != Operation::Create || write.object.pointer(beta).is_some() {
            return Ok(());
        }
        let Some(spec) = object(write.object, "spec").filter(|s| is_absent(s, "storageClassName")) else {
            return Ok(());
        };
        if let Some(class) = self.default_class() {
            spec.insert("storageClassName".into(), json!(class.name()));
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

    #[tokio::test]
    async fn the_youngest_default_wins() {
        let cluster = Arc::new(Cluster::default());
        let plugin = DefaultStorageClass::new(cluster.clone());
        let a = attributes("persistentvolumeclaims", "ns", &User::system("t"));
        let admit = async |spec: Value| run(&plugin, &a, json!({"spec": spec}), None).await.unwrap();
        assert_eq!(admit(json!({})).await["spec"], json!({}));
        for (name, at) in [("old", "2026-01-01T00:00:00Z"), ("young", "2026-02-01T00:00:00Z")] {
            cluster.put(
                CLASSES,
                json!({"metadata": {"name": name, "creationTimestamp": at,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
            );
        }
        assert_eq!(admit(json!({})).await["spec"]["storageClassName"], "young");
        assert_eq!(admit(json!({"storageClassName": ""})).await["spec"]["storageClassName"], "");
    }
}
