//! An ingress that names no class gets the default one: upstream's `network/defaultingressclass`.

use std::sync::Arc;

use api::{Object, Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{is_absent, object};
use super::{Operation, Plugin, Write};
use crate::{Attributes, Lookup, Verb};

const CLASSES: &str = "networking.k8s.io/ingressclasses";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// How an ingress named its class before there was a field for it.
const OLD: &str = "/metadata/annotations/kubernetes.io~1ingress.class";

pub struct DefaultIngressClass {
    lookup: Arc<dyn Lookup>,
}

impl DefaultIngressClass {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        DefaultIngressClass { lookup }
    }

    /// Of several defaults the youngest, then the first by name.
    fn default_class(&self) -> Option<Arc<Object>> {
        let is_default = |o: &Arc<Object>| o.tree()["metadata"]["annotations"][DEFAULT] == "true";
        let key = |o: &Arc<Object>| (o.meta().creation_timestamp.clone(), std::cmp::Reverse(o.name().to_owned()));
        self.lookup.list(CLASSES, "").into_iter().filter(is_default).max_by_key(key)
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }
    fn handles(&self, a: &Attributes) -> bool {
        a.resource == "ingresses"
            && a.subresource.is_empty()
            && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create || write.object.pointer(OLD).is_some_and(Value::is_string) {
            return Ok(());
        }
        let Some(spec) = object(write.object, "spec").filter(|s| is_absent(s, "ingressClassName")) else {
            return Ok(());
        };
        if let Some(class) = self.default_class() {
            spec.insert("ingressClassName".into(), json!(class.name()));
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
        let plugin = DefaultIngressClass::new(cluster.clone());
        let a = attributes("ingresses", "ns", &User::system("t"));
        let admit = async |tree: Value| run(&plugin, &a, tree, None).await.unwrap()["spec"]["ingressClassName"].clone();
        assert_eq!(admit(json!({"spec": {}})).await, Value::Null);
        for (name, at, is) in [
            ("b", "2026-01-01T00:00:00Z", "true"),
            ("a", "2026-01-01T00:00:00Z", "true"),
            ("young", "2026-02-01T00:00:00Z", "false"),
        ] {
            let annotations = json!({DEFAULT: is});
            cluster
                .put(CLASSES, json!({"metadata": {"name": name, "creationTimestamp": at, "annotations": annotations}}));
        }
        assert_eq!(admit(json!({"spec": {}})).await, "a");
        assert_eq!(admit(json!({"spec": {"ingressClassName": "own"}})).await, "own");
        let old = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}});
        assert_eq!(admit(old).await, Value::Null);
    }
}
