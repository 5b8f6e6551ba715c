//! Turns a pod's priority class into its priority: upstream's `plugin/pkg/admission/priority`.

use std::sync::Arc;

use api::k8s_openapi::api::scheduling::v1::PriorityClass;
use api::{Object, Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{is_absent, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "scheduling.k8s.io/priorityclasses";
const PREEMPT: &str = "PreemptLowerPriority";

pub struct Priority {
    lookup: Arc<dyn Lookup>,
}

fn class(object: &Object) -> Option<&PriorityClass> {
    object.view().ok()
}

impl Priority {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Priority { lookup }
    }

    /// The class for pods that name none: of several, the one of the lowest value.
    fn default_class(&self) -> Option<Arc<Object>> {
        let is_default = |o: &Arc<Object>| class(o).is_some_and(|c| c.global_default == Some(true));
        self.lookup.list(CLASSES, "").into_iter().filter(is_default).min_by_key(|o| class(o).map(|c| c.value))
    }

    fn pod(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let chosen = match text(write.object, "/spec/priorityClassName") {
            "" => self.default_class(),
            name => match self.lookup.get(CLASSES, "", name) {
                None => return Err(write.refuse(format!("no PriorityClass with name {name} was found"))),
                found => found,
            },
        };
        let (name, priority, policy) = match chosen.as_ref().and_then(|o| Some((o, class(o)?))) {
            Some((o, c)) => (o.name(), c.value.unwrap_or(0).into(), c.preemption_policy.as_deref().unwrap_or(PREEMPT)),
            None => ("", 0_i64, PREEMPT),
        };
        if let Some(asked) = write.object.pointer("/spec/priority").and_then(Value::as_i64)
            && asked != priority
        {
            return Err(write.refuse(format!(
                "the integer value of priority ({asked}) must not be provided in pod spec; \
                 priority admission controller computed {priority} from the given PriorityClass name"
            )));
        }
        let asked = text(write.object, "/spec/preemptionPolicy");
        if !asked.is_empty() && asked != policy {
            return Err(write.refuse(format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; \
                 priority admission controller computed {policy} from the given PriorityClass name"
            )));
        }
        let Some(spec) = object(write.object, "spec") else { return Ok(()) };
        if !name.is_empty() {
            spec.insert("priorityClassName".into(), json!(name));
        }
        spec.insert("priority".into(), json!(priority));
        spec.insert("preemptionPolicy".into(), json!(policy));
        Ok(())
    }
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }
    fn handles(&self, a: &Attributes) -> bool {
        (is(a, "", "pods") || is(a, GROUP, "priorityclasses"))
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }

    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        match (write.attributes.resource.as_str(), write.operation(), write.old) {
            ("pods", Operation::Create, _) => self.pod(write),
            ("pods", Operation::Update, Some(old)) => {
                let old = old.tree();
                let Some(spec) = object(write.object, "spec") else { return Ok(()) };
                for key in ["priority", "preemptionPolicy"] {
                    if let (true, Some(v)) = (is_absent(spec, key), old["spec"].get(key)) {
                        spec.insert(key.into(), v.clone());
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.attributes.resource != "priorityclasses" || write.object["globalDefault"] != true {
            return Ok(());
        }
        match self.default_class() {
            Some(o) if o.name() != text(write.object, "/metadata/name") => Err(write.refuse(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                o.name()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;
    use crate::lookup::fake::Cluster;

    #[tokio::test]
    async fn a_class_becomes_a_number() {
        let cluster = Arc::new(Cluster::default());
        let high = json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"});
        cluster.put(CLASSES, high);
        let plugin = Priority::new(cluster.clone());
        let a = attributes("pods", "ns", &User::system("t"));
        let admit = async |spec: Value| run(&plugin, &a, json!({"metadata": {"name": "p"}, "spec": spec}), None).await;

        let pod = admit(json!({})).await.unwrap();
        assert_eq!(pod["spec"], json!({"priority": 0, "preemptionPolicy": PREEMPT}));
        let pod = admit(json!({"priorityClassName": "high"})).await.unwrap();
        assert_eq!(pod["spec"]["priority"], 1000);
        assert_eq!(pod["spec"]["preemptionPolicy"], "Never");
        let e = admit(json!({"priorityClassName": "none"})).await.unwrap_err();
        assert_eq!(e.message, r#"pods "p" is forbidden: no PriorityClass with name none was found"#);
        assert!(admit(json!({"priorityClassName": "high", "priority": 7})).await.is_err());

        cluster.put(CLASSES, json!({"metadata": {"name": "usual"}, "value": 5, "globalDefault": true}));
        let pod = admit(json!({})).await.unwrap();
        assert_eq!((&pod["spec"]["priority"], &pod["spec"]["priorityClassName"]), (&json!(5), &json!("usual")));

        let classes = Attributes { group: GROUP.into(), ..attributes("priorityclasses", "", &User::system("t")) };
        let second = json!({"metadata": {"name": "other"}, "value": 1, "globalDefault": true});
        assert!(run(&plugin, &classes, second, None).await.is_err());
    }
}
