//! What a pod's runtime class adds to it: overhead, node selector, tolerations. Upstream's `plugin/pkg/admission/runtimeclass`.

use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{items, list, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

const CLASSES: &str = "node.k8s.io/runtimeclasses";

pub struct RuntimeClass {
    lookup: Arc<dyn Lookup>,
}

impl RuntimeClass {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        RuntimeClass { lookup }
    }

    fn class(&self, write: &Write<'_>) -> Result<Value, Status> {
        let name = text(write.object, "/spec/runtimeClassName");
        if name.is_empty() {
            return Ok(Value::Null);
        }
        match self.lookup.get(CLASSES, "", name) {
            Some(class) => Ok(class.tree()),
            None => Err(write.refuse(format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "pods") && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }

    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create {
            return Ok(());
        }
        let class = self.class(write)?;
        if let Some(fixed) = class.pointer("/overhead/podFixed").filter(|o| o.is_object()) {
            match write.object.pointer("/spec/overhead") {
                Some(asked) if asked.is_object() && asked != fixed => {
                    return Err(
                        write.refuse("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
                    );
                }
                _ => object(write.object, "spec").map(|s| s.insert("overhead".into(), fixed.clone())),
            };
        }
        for (key, wanted) in class.pointer("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten()
        {
            let have = write.object["spec"]["nodeSelector"].get(key).cloned();
            if have.as_ref().is_some_and(|h| h != wanted) {
                let (have, wanted) = (have.unwrap_or_default(), wanted.as_str().unwrap_or_default());
                let have = have.as_str().unwrap_or_default();
                return Err(write.refuse(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {have}"
                )));
            }
            if let Some(spec) = object(write.object, "spec") {
                let mut selector = spec.remove("nodeSelector").filter(Value::is_object).unwrap_or_else(|| json!({}));
                selector[key.as_str()] = wanted.clone();
                spec.insert("nodeSelector".into(), selector);
            }
        }
        let wanted = items(&class, "/scheduling/tolerations");
        if let (false, Some(tolerations)) =
            (wanted.is_empty(), object(write.object, "spec").and_then(|s| list(s, "tolerations")))
        {
            let new: Vec<Value> = wanted.iter().filter(|t| !tolerations.contains(t)).cloned().collect();
            tolerations.extend(new);
        }
        Ok(())
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create {
            return Ok(());
        }
        let class = self.class(write)?;
        let overhead = write.object.pointer("/spec/overhead").and_then(Value::as_object).is_some_and(|o| !o.is_empty());
        if overhead && class.pointer("/overhead/podFixed").is_none() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(write.refuse(why));
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
    async fn a_class_adds_its_overhead_and_place() {
        let cluster = Arc::new(Cluster::default());
        cluster.put(
            CLASSES,
            json!({"metadata": {"name": "kata"}, "handler": "kata",
            "overhead": {"podFixed": {"memory": "100Mi"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}}),
        );
        let plugin = RuntimeClass::new(cluster);
        let a = attributes("pods", "ns", &User::system("t"));
        let admit = async |spec: Value| run(&plugin, &a, json!({"metadata": {"name": "p"}, "spec": spec}), None).await;
        let pod = admit(json!({"runtimeClassName": "kata", "nodeSelector": {"a": "b"}})).await.unwrap();
        assert_eq!(pod["spec"]["overhead"], json!({"memory": "100Mi"}));
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "b", "vm": "yes"}));
        assert_eq!(items(&pod, "/spec/tolerations").len(), 1);
        let e = admit(json!({"runtimeClassName": "gone"})).await.unwrap_err();
        assert_eq!(e.message, r#"pods "p" is forbidden: pod rejected: RuntimeClass "gone" not found"#);
        assert!(admit(json!({"runtimeClassName": "kata", "nodeSelector": {"vm": "no"}})).await.is_err());
        assert!(admit(json!({"overhead": {"cpu": "1"}})).await.is_err());
        assert!(admit(json!({})).await.is_ok());
    }
}
