//! Nothing is made in a namespace that is not there or is going away: upstream's `plugin/namespace/lifecycle`.

use std::sync::Arc;

use api::{Cause, Status};
use async_trait::async_trait;

use super::{Operation, Plugin, Write};
use crate::{Attributes, Lookup};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle {
    lookup: Arc<dyn Lookup>,
}

impl NamespaceLifecycle {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        NamespaceLifecycle { lookup }
    }
}

fn about_namespace(a: &Attributes) -> bool {
    a.resource == "namespaces" && a.group.is_empty()
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }
    fn handles(&self, a: &Attributes) -> bool {
        (!a.namespace.is_empty() || about_namespace(a)) && a.group != "authorization.k8s.io"
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let a = write.attributes;
        let operation = write.operation();
        if about_namespace(a) {
            if operation == Operation::Delete && IMMORTAL.contains(&a.name.as_str()) {
                return Err(Status::forbidden("", "namespaces", &a.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        if operation == Operation::Delete {
            return Ok(());
        }
        let Some(namespace) = self.lookup.get("namespaces", "", &a.namespace) else {
            return Err(Status::not_found("", "namespaces", &a.namespace));
        };
        if operation == Operation::Create && namespace.meta().is_deleting() {
            let ns = &a.namespace;
            let mut status =
                write.refuse(format!("unable to create new content in namespace {ns} because it is being terminated"));
            status.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {ns} is being terminated"),
                field: "metadata.namespace".into(),
            });
            return Err(status);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use api::Value;
    use serde_json::json;

    use super::super::testing::{attributes, run};
    use super::*;
    use crate::lookup::fake::Cluster;
    use crate::{User, Verb};

    #[tokio::test]
    async fn a_namespace_must_be_there_and_stay() {
        let cluster = Arc::new(Cluster::default());
        cluster.put("namespaces", json!({"metadata": {"name": "live"}}));
        let dying = json!({"metadata": {"name": "dying", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        cluster.put("namespaces", dying);
        let plugin = NamespaceLifecycle::new(cluster.clone());
        let user = User::system("t");
        let pod = json!({"metadata": {"name": "p"}});
        let create = async |ns: &str| run(&plugin, &attributes("pods", ns, &user), pod.clone(), None).await;

        assert!(create("live").await.is_ok());
        let e = create("none").await.unwrap_err();
        assert_eq!((e.code, e.message.as_str()), (404, r#"namespaces "none" not found"#));
        let e = create("dying").await.unwrap_err();
        assert_eq!(
            e.message,
            r#"pods "p" is forbidden: unable to create new content in namespace dying because it is being terminated"#
        );
        assert_eq!(e.causes[0].reason, "NamespaceTerminating");
        let old = cluster.put("pods", pod.clone());
        let update = Attributes { verb: Verb::Update, ..attributes("pods", "dying", &user) };
        assert!(run(&plugin, &update, pod.clone(), Some(&old)).await.is_ok(), "what is there may be updated");

        for (name, refused) in [("default", true), ("kube-system", true), ("live", false)] {
            let a = Attributes { verb: Verb::Delete, name: name.into(), ..attributes("namespaces", name, &user) };
            let result = run(&plugin, &a, Value::Null, Some(&old)).await;
            assert_eq!(result.is_err(), refused, "{name}");
        }
    }
}
