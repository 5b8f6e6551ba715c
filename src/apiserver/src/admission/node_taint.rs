//! A new node takes no pods before it is ready: upstream's `nodetaint`.

use api::{Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{items, list, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Verb};

const KEY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "nodes") && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let same = |t: &Value| text(t, "/key") == KEY && text(t, "/effect") == "NoSchedule";
        if write.operation() == Operation::Create
            && !items(write.object, "/spec/taints").iter().any(same)
            && let Some(taints) = object(write.object, "spec").and_then(|s| list(s, "taints"))
        {
            taints.push(json!({"key": KEY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;

    #[tokio::test]
    async fn a_node_begins_tainted_once() {
        let a = attributes("nodes", "", &User::system("t"));
        let once = run(&TaintNodesByCondition, &a, json!({"metadata": {"name": "n"}}), None).await.unwrap();
        assert_eq!(once["spec"]["taints"], json!([{"key": KEY, "effect": "NoSchedule"}]));
        assert_eq!(run(&TaintNodesByCondition, &a, once.clone(), None).await.unwrap(), once);
    }
}
