//! A pod stays five minutes on a node that is lost: upstream's `defaulttolerationseconds`.

use api::{Status, Value};
use async_trait::async_trait;
use serde_json::json;

use super::tree::{items, list, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Verb};

const SECONDS: i64 = 300;

pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "pods") && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() == Operation::Delete {
            return Ok(());
        }
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerates =
                |t: &Value| [key, ""].contains(&text(t, "/key")) && ["NoExecute", ""].contains(&text(t, "/effect"));
            if items(write.object, "/spec/tolerations").iter().any(tolerates) {
                continue;
            }
            if let Some(tolerations) = object(write.object, "spec").and_then(|s| list(s, "tolerations")) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
            }
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
    async fn only_what_is_missing_is_added() {
        let a = attributes("pods", "ns", &User::system("t"));
        for (have, total) in [
            (json!([]), 2),
            (json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]), 2),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"key": "other", "operator": "Exists", "effect": "NoSchedule"}]), 3),
        ] {
            let pod = json!({"spec": {"tolerations": have}});
            let pod = run(&DefaultTolerationSeconds, &a, pod, None).await.unwrap();
            assert_eq!(items(&pod, "/spec/tolerations").len(), total, "{have}");
        }
    }
}
