//! ClusterRoles made of others: upstream's `clusterroleaggregation` controller.

use std::sync::Arc;

use api::k8s_openapi::api::rbac::v1::ClusterRole;
use api::{Object, Resource, Status, Value, labels};
use client::{Client, Informer, Patch, Selector, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const MANAGER: &str = "clusterrole-aggregation-controller";

/// Keeps `rules` of every ClusterRole with an `aggregationRule` equal to the union of the roles it selects.
pub struct Aggregator {
    client: Arc<dyn Client>,
}

impl Aggregator {
    pub fn new(client: Arc<dyn Client>) -> Aggregator {
        Aggregator { client }
    }

    pub async fn run(self, stop: CancellationToken) {
        let roles = Informer::start(self.client.clone(), Selector::of::<ClusterRole>(), stop.clone());
        let queue = WorkQueue::new();
        let wake = queue.clone();
        // any change may matter to any aggregate; there are few, and one key makes a burst of changes one pass
        roles.on_change(move |_| wake.add(()));
        while let Some(key) = stop.run_until_cancelled(queue.next()).await {
            roles.synced().await;
            match self.reconcile(&roles.list(None)).await {
                Ok(()) => queue.succeeded(&key),
                Err(error) => {
                    tracing::warn!(%error, "cluster role aggregation failed");
                    queue.failed(key);
                }
            }
            queue.done(&key);
        }
    }

    async fn reconcile(&self, roles: &[Arc<Object>]) -> Result<(), Status> {
        let trees: Vec<(Arc<Object>, Value)> = roles.iter().map(|o| (o.clone(), o.tree())).collect();
        for (object, tree) in &trees {
            let Some(rules) = aggregated(object.name(), tree, &trees) else { continue };
            let have = tree.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if rules == have {
                continue;
            }
            let target = Target::one(ClusterRole::gvr(), "", object.name());
            let options = WriteOptions { field_manager: MANAGER.into(), ..WriteOptions::default() };
            match self.client.patch(&target, Patch::Merge(json!({"rules": rules})), &options).await {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The rules that `tree` should have, each once, in the order of the roles' names; `None` for a role that is no aggregate.
fn aggregated(name: &str, tree: &Value, all: &[(Arc<Object>, Value)]) -> Option<Vec<Value>> {
    let selectors = tree.pointer("/aggregationRule/clusterRoleSelectors")?.as_array()?;
    let mut rules = Vec::new();
    for selector in selectors.iter().filter_map(|s| labels::Selector::from_tree(s).ok()) {
        for (object, other) in all {
            if object.name() == name || !selector.matches(&object.meta().labels) {
                continue;
            }
            for rule in other.get("rules").and_then(Value::as_array).into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use api::Draft;

    use super::*;

    fn entry(tree: Value) -> (Arc<Object>, Value) {
        (Arc::new(Draft::encode(&tree).unwrap().at(1)), tree)
    }

    #[test]
    fn an_aggregate_is_the_union_of_what_it_selects() {
        let rule = |r: &str| json!({"apiGroups": [""], "resources": [r], "verbs": ["get"]});
        let select = json!({"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]});
        let all = [
            entry(json!({"metadata": {"name": "a", "labels": {"to-view": "true"}}, "rules": [rule("x"), rule("y")]})),
            entry(json!({"metadata": {"name": "b", "labels": {"to-view": "true"}}, "rules": [rule("y"), rule("z")]})),
            entry(json!({"metadata": {"name": "c"}, "rules": [rule("no")]})),
            entry(json!({"metadata": {"name": "view", "labels": {"to-view": "true"}}, "aggregationRule": select})),
        ];
        assert_eq!(aggregated("view", &all[3].1, &all), Some(vec![rule("x"), rule("y"), rule("z")]));
        assert_eq!(aggregated("c", &all[2].1, &all), None);
    }
}
