//! `pods/eviction`: a delete that asks the pod's disruption budget first. Upstream's `EvictionREST`.

use api::{Cause, Reason, Status, Value, labels};
use async_trait::async_trait;
use serde_json::json;

use super::binding::now;
use super::{success, text};
use crate::Attributes;
use crate::Lookup;
use crate::engine::{Call, DeleteOptions, Propagation, UidPrecondition};
use crate::special::{Post, PostRequest};

const BUDGETS: (&str, &str, &str) = ("policy", "v1", "poddisruptionbudgets");
const MOST_DISRUPTED: usize = 2000;

pub struct Evict;

#[async_trait]
impl Post for Evict {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let name = &r.attributes.name;
        if text(&r.body, "/metadata/name") != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let not_found = || Status::not_found("", "pods", name);
        let served = r.engine.served("", "v1", "pods").ok_or_else(not_found)?;
        let namespace = &r.attributes.namespace;
        let pod = r.engine.get(&served.kind, namespace, name)?;
        let tree = pod.tree();
        if !is_past(&tree) {
            let budgets = r.engine.store().list("policy/poddisruptionbudgets", namespace);
            let guards: Vec<_> = budgets.iter().filter(|b| selects(&b.tree(), &pod.meta().labels)).collect();
            match guards.as_slice() {
                [] => {}
                [budget] => {
                    if !spares(&tree, &budget.tree()) {
                        let now = now();
                        let change = |budget: &mut Value| spend(budget, name, &now);
                        r.engine.modify(r.attributes, BUDGETS, budget.name(), r.dry_run, change).await?;
                    }
                }
                _ => {
                    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                    return Err(Status::new(Reason::InternalError, why));
                }
            }
        }
        let attributes = Attributes { subresource: String::new(), ..r.attributes.clone() };
        let asked = &r.body["deleteOptions"];
        let dry_run = r.dry_run || asked["dryRun"][0] == "All";
        let mut options = options(asked, pod.uid());
        let is_meant = options.precondition.revision.as_ref().is_none_or(|r| *r == pod.revision().to_string());
        if is_meant && !is_past(&tree) {
            let now = now();
            let change = |pod: &mut Value| {
                target(pod, &now);
                Ok(())
            };
            r.engine.modify(r.attributes, ("", "v1", "pods"), name, dry_run, change).await?;
            options.precondition.revision = None;
        }
        // the eviction itself has been through admission
        let mut call = Call::new(&attributes, &served, dry_run).unguarded();
        r.engine.delete(&mut call, name, &options).await?;
        Ok(success())
    }
}

/// Says in the pod's status why it goes: a Job, for one, does not count that as a failure.
fn target(pod: &mut Value, now: &str) {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now, "observedGeneration": pod["metadata"]["generation"]});
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else { return };
    let all = status.entry("conditions").or_insert_with(|| json!([]));
    if !all.is_array() {
        *all = json!([]);
    }
    if let Some(all) = all.as_array_mut() {
        all.retain(|c| c["type"] != "DisruptionTarget");
        all.push(condition);
    }
}

/// The delete is of the pod that was looked at.
fn options(asked: &Value, uid: &str) -> DeleteOptions {
    let precondition = |key: &str| asked["preconditions"][key].as_str().map(str::to_owned);
    DeleteOptions {
        grace_seconds: asked["gracePeriodSeconds"].as_i64(),
        propagation: match text(asked, "/propagationPolicy") {
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            _ => None,
        },
        precondition: UidPrecondition {
            uid: precondition("uid").or_else(|| Some(uid.to_owned())),
            revision: precondition("resourceVersion"),
        },
    }
}

/// Whether its eviction disrupts nothing: `canIgnorePDB`.
fn is_past(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed" | "Pending")
        || pod.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

fn selects(budget: &Value, labels: &std::collections::BTreeMap<Box<str>, Box<str>>) -> bool {
    let selector = budget.pointer("/spec/selector").unwrap_or(&Value::Null);
    labels::Selector::from_tree(selector).is_ok_and(|s| s.matches(labels))
}

/// Whether the budget lets this pod go without a charge: it is not ready, so it guards nothing.
fn spares(pod: &Value, budget: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    if conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True") {
        return false;
    }
    let status = |key: &str| budget["status"][key].as_i64().unwrap_or(0);
    let healthy = status("currentHealthy") >= status("desiredHealthy") && status("desiredHealthy") > 0;
    healthy || text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow"
}

fn refused(cause: String, retry_after_seconds: u32) -> Status {
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(why, retry_after_seconds);
    status.causes.push(Cause { reason: "DisruptionBudget".into(), message: cause, field: String::new() });
    status
}

/// Takes one disruption from the budget, or says why there is none: `checkAndDecrement`.
fn spend(budget: &mut Value, pod: &str, now: &str) -> Result<(), Status> {
    let name = text(budget, "/metadata/name").to_owned();
    let number = |v: &Value, pointer: &str| v.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if number(budget, "/status/observedGeneration") < number(budget, "/metadata/generation") {
        return Err(refused(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let allowed = number(budget, "/status/disruptionsAllowed");
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object).map_or(0, |d| d.len());
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", &name, why));
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if disrupted > MOST_DISRUPTED {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let (needs, has) = (number(budget, "/status/desiredHealthy"), number(budget, "/status/currentHealthy"));
        return Err(refused(
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently"),
            0,
        ));
    }
    let Some(status) = budget.get_mut("status").and_then(Value::as_object_mut) else { return Ok(()) };
    status.insert("disruptionsAllowed".into(), json!(allowed - 1));
    let pods = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if pods.is_null() {
        *pods = json!({});
    }
    if let Some(pods) = pods.as_object_mut() {
        pods.insert(pod.to_owned(), json!(now));
    }
    if allowed == 1
        && let Some(c) = status
            .get_mut("conditions")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "DisruptionAllowed" && c["status"] != "False")
        && let Some(c) = c.as_object_mut()
    {
        c.insert("status".into(), json!("False"));
        c.insert("reason".into(), json!("InsufficientPods"));
        c.insert("lastTransitionTime".into(), json!(now));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {"selector": {"matchLabels": {"a": "b"}}},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2,
                "conditions": [{"type": "DisruptionAllowed", "status": "True"}]}})
    }

    #[test]
    fn a_budget_is_spent_one_by_one() {
        let mut b = budget(1);
        spend(&mut b, "p", "now").unwrap();
        assert_eq!(
            (&b["status"]["disruptionsAllowed"], &b["status"]["disruptedPods"]),
            (&json!(0), &json!({"p": "now"}))
        );
        assert_eq!(b["status"]["conditions"][0]["status"], "False");
        let e = spend(&mut b, "q", "now").unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (429, "Cannot evict pod as it would violate the pod's disruption budget.")
        );
        assert_eq!(e.causes[0].reason, "DisruptionBudget");
        assert_eq!(e.causes[0].message, "The disruption budget b needs 2 healthy pods and has 2 currently");
        let mut stale = budget(1);
        stale["metadata"]["generation"] = json!(3);
        assert_eq!(spend(&mut stale, "p", "now").unwrap_err().retry_after_seconds, 10);
    }

    #[test]
    fn an_evicted_pod_says_why_it_goes() {
        let mut pod = json!({"metadata": {"generation": 3}, "status": {"conditions": [{"type": "Ready"}, {"type": "DisruptionTarget", "status": "False"}]}});
        target(&mut pod, "now");
        let all = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(
            (all.len(), &all[1]["reason"], &all[1]["observedGeneration"]),
            (2, &json!("EvictionByEvictionAPI"), &json!(3))
        );
    }

    #[test]
    fn only_healthy_pods_cost_a_disruption() {
        let pod = |phase: &str, ready: &str| json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        assert!(is_past(&pod("Succeeded", "False")) && is_past(&pod("Pending", "False")));
        assert!(!is_past(&pod("Running", "True")));
        let mut sick = budget(0);
        assert!(!spares(&pod("Running", "True"), &sick) && spares(&pod("Running", "False"), &sick));
        sick["status"]["currentHealthy"] = json!(1);
        assert!(!spares(&pod("Running", "False"), &sick));
        sick["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(spares(&pod("Running", "False"), &sick));
        let labels = |v: &str| [(Box::from("a"), Box::from(v))].into();
        assert!(selects(&sick, &labels("b")) && !selects(&sick, &labels("c")));
    }
}
