//! The status of a deployment: upstream's `progress.go` and `calculateStatus`.

use api::k8s_openapi::api::apps::v1::DeploymentStatus;
use api::{Object, Value};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::math::Goal;
use super::sets::Set;
use crate::status::{Conditions, omit_zero};

/// `Progressing`'s reasons that say something of the future.
pub const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The counters of `DeploymentStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub observed: i64,
    pub replicas: i32,
    pub updated: i32,
    pub ready: i32,
    pub available: i32,
    pub unavailable: i32,
    pub terminating: i32,
}

impl Counters {
    pub fn now(generation: i64, new: Option<&Set>, old: &[Set]) -> Counters {
        let sum = |f: fn(&Set) -> i32| old.iter().chain(new).map(f).sum::<i32>();
        let available = sum(Set::available);
        Counters {
            observed: generation,
            replicas: sum(Set::actual),
            updated: new.map_or(0, Set::actual),
            ready: sum(Set::ready),
            available,
            unavailable: (sum(Set::replicas) - available).max(0),
            terminating: sum(Set::terminating),
        }
    }
    pub fn of(status: Option<&DeploymentStatus>) -> Counters {
        let Some(s) = status else { return Counters::default() };
        Counters {
            observed: s.observed_generation.unwrap_or(0),
            replicas: s.replicas.unwrap_or(0),
            updated: s.updated_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            unavailable: s.unavailable_replicas.unwrap_or(0),
            terminating: s.terminating_replicas.unwrap_or(0),
        }
    }
    /// `DeploymentComplete`
    pub fn complete(&self, goal: &Goal, generation: i64) -> bool {
        let n = goal.replicas;
        self.updated == n && self.replicas == n && self.available == n && self.observed >= generation
    }
    /// `DeploymentProgressing`
    fn progressed(&self, was: &Counters) -> bool {
        self.updated > was.updated
            || self.replicas - self.updated < was.replicas - was.updated
            || self.ready > was.ready
            || self.available > was.available
    }
    pub fn value(&self, collisions: Option<i32>, conditions: Conditions) -> Value {
        json!({
            "observedGeneration": self.observed, "replicas": omit_zero(self.replicas),
            "updatedReplicas": omit_zero(self.updated), "readyReplicas": omit_zero(self.ready),
            "availableReplicas": omit_zero(self.available), "unavailableReplicas": omit_zero(self.unavailable),
            "terminatingReplicas": self.terminating, "collisionCount": collisions, "conditions": conditions.value(),
        })
    }
}

/// Everything the conditions depend on.
pub struct Progress<'a> {
    pub deployment: &'a Object,
    pub goal: Goal,
    /// `progressDeadlineSeconds`, unless it is unlimited.
    pub deadline: Option<SignedDuration>,
    pub was: Counters,
    pub is: Counters,
    pub new: Option<&'a Set>,
    pub failure: Option<(&'a str, &'a str)>,
    pub now: Timestamp,
    /// `now` as it goes into a tree.
    pub stamp: &'a str,
}

/// Sets a condition as upstream's `SetDeploymentCondition`: kept if neither status nor reason change.
pub fn set(conditions: &mut Conditions, kind: &str, status: &str, reason: &str, message: &str, stamp: &str) {
    conditions.set(kind, status, reason, message, stamp, &[("lastUpdateTime", stamp)]);
}

fn updated_at(condition: &Value) -> Option<Timestamp> {
    condition["lastUpdateTime"].as_str()?.parse().ok()
}

impl Progress<'_> {
    /// `Available`, for every sync.
    pub fn availability(&self, conditions: &mut Conditions) {
        let enough = self.is.available >= self.goal.min_available();
        let (status, reason, message) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        set(conditions, "Available", status, reason, message, self.stamp);
    }

    /// `Progressing` and `ReplicaFailure`, for a sync that rolls out: `syncRolloutStatus`.
    pub fn rollout(&self, conditions: &mut Conditions) {
        if self.deadline.is_none() {
            conditions.remove("Progressing");
        }
        let current = conditions.get("Progressing").cloned();
        let done =
            self.is.replicas == self.is.updated && current.as_ref().is_some_and(|c| c["reason"] == NEW_AVAILABLE);
        if self.deadline.is_some() && !done {
            let what = match self.new {
                Some(set) => format!("ReplicaSet {:?}", set.name()),
                None => format!("Deployment {:?}", self.deployment.name()),
            };
            if self.is.complete(&self.goal, self.deployment.meta().generation) {
                let message = format!("{what} has successfully progressed.");
                set(conditions, "Progressing", "True", NEW_AVAILABLE, &message, self.stamp);
            } else if self.is.progressed(&self.was) {
                // each step counts: the update time moves on even if the reason stays
                let message = format!("{what} is progressing.");
                let since = current
                    .filter(|c| c["status"] == "True")
                    .and_then(|c| Some(c["lastTransitionTime"].as_str()?.to_owned()));
                conditions.remove("Progressing");
                set(conditions, "Progressing", "True", "ReplicaSetUpdated", &message, self.stamp);
                if let (Some(since), Some(c)) = (since, conditions.0.last_mut()) {
                    c["lastTransitionTime"] = json!(since);
                }
            } else if self.timed_out(conditions) {
                let message = format!("{what} has timed out progressing.");
                set(conditions, "Progressing", "False", TIMED_OUT, &message, self.stamp);
            }
        }
        match self.failure {
            Some((reason, message)) => set(conditions, "ReplicaFailure", "True", reason, message, self.stamp),
            None => conditions.remove("ReplicaFailure"),
        }
    }

    /// `DeploymentTimedOut`
    fn timed_out(&self, conditions: &Conditions) -> bool {
        let (Some(deadline), Some(c)) = (self.deadline, conditions.get("Progressing")) else { return false };
        match c["reason"].as_str() {
            Some(NEW_AVAILABLE) => false,
            Some(TIMED_OUT) => true,
            _ => updated_at(c).and_then(|at| at.checked_add(deadline).ok()).is_some_and(|end| end < self.now),
        }
    }

    /// When to look again whether the deadline has passed: `requeueStuckDeployment`.
    pub fn look_again(&self, conditions: &Conditions) -> Option<SignedDuration> {
        let (deadline, c) = (self.deadline?, conditions.get("Progressing")?);
        if self.is.complete(&self.goal, self.deployment.meta().generation)
            || c["reason"] == TIMED_OUT
            || c["reason"] == NEW_AVAILABLE
        {
            return None;
        }
        let end = updated_at(c)?.checked_add(deadline).ok()?;
        Some(end.duration_since(self.now).max(SignedDuration::ZERO) + SignedDuration::from_secs(1))
    }
}
