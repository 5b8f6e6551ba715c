//! Aggregated cluster roles: their rules are those of the roles they select. Upstream's `clusterroleaggregation`.

use std::sync::Arc;

use api::k8s_openapi::api::rbac::v1::ClusterRole;
use api::labels::Selector;
use api::{Object, Resource, Value};
use client::{Controller, Informer, ObjectKey, Patch, Requeue, Target, WorkQueue, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Context, Error};

/// Runs until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let roles = ctx.informers.of::<ClusterRole>();
    roles.synced().await;
    let (q, all) = (queue.clone(), roles.clone());
    roles.on_change(move |_| {
        all.list(None).iter().filter(|r| !selectors(r).is_empty()).for_each(|r| q.add(ObjectKey::of(r)));
    });
    let shared = Arc::new((ctx, roles));
    let controller = Controller { name: "clusterrole-aggregation-controller", workers: 1, queue };
    controller
        .run(stop, move |key| {
            let shared = shared.clone();
            async move { sync(&shared.0, &shared.1, &key).await }
        })
        .await;
}

fn selectors(role: &Object) -> Vec<Selector> {
    let rule = role.view::<ClusterRole>().ok().and_then(|r| r.aggregation_rule.as_ref());
    let all = rule.into_iter().flat_map(|r| r.cluster_role_selectors.iter().flatten());
    all.filter_map(|s| Selector::from_typed(Some(s)).ok()).collect()
}

async fn sync(ctx: &Context, roles: &Informer, key: &ObjectKey) -> Result<Requeue, Error> {
    let Some(role) = roles.get("", &key.name) else { return Ok(None) };
    let selectors = selectors(&role);
    if selectors.is_empty() {
        return Ok(None);
    }
    let mut rules: Vec<Value> = Vec::new();
    for other in roles.list(None) {
        if other.name() == role.name() || !selectors.iter().any(|s| s.matches(&other.meta().labels)) {
            continue;
        }
        for rule in other.tree()["rules"].as_array().into_iter().flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if role.tree()["rules"].as_array().map_or(rules.is_empty(), |old| *old == rules) {
        return Ok(None);
    }
    let target = Target::one(ClusterRole::gvr(), "", role.name());
    let metadata = json!({"resourceVersion": role.revision().to_string()});
    let patch = Patch::Merge(json!({"metadata": metadata, "rules": rules}));
    match ctx.client.patch(&target, patch, &WriteOptions::default()).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, settle};

    #[tokio::test(start_paused = true)]
    async fn rules_are_gathered() {
        let bench = Bench::new();
        bench.start(run);
        let role = |name: &str, extra: Value| {
            let mut tree = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}});
            crate::status::merge(&mut tree, &extra);
            bench.fake.seed(ClusterRole::gvr(), tree);
        };
        role("admin", json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "admin"}}]}}));
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        role("edit", json!({"metadata": {"labels": {"to": "admin"}}, "rules": [rule("get"), rule("list")]}));
        role("other", json!({"rules": [rule("delete")]}));
        settle().await;
        let rules = || bench.fake.tree(&ClusterRole::gvr(), "", "admin")["rules"].take();
        assert_eq!(rules(), json!([rule("get"), rule("list")]));
        role("more", json!({"metadata": {"labels": {"to": "admin"}}, "rules": [rule("watch"), rule("get")]}));
        settle().await;
        assert_eq!(rules().as_array().unwrap().len(), 3);
        bench.fake.take_writes();
        settle().await;
        assert_eq!(bench.fake.take_writes(), []);
    }
}
