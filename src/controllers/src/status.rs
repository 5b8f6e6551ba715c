//! Writing status: only what differs, and nothing when nothing does.

use std::sync::Arc;

use api::{Object, Resource, Value};
use client::{Client, Patch, Target, WriteOptions};
/// RFC 7386 on trees.
pub use json_patch::merge;
use serde_json::json;

use crate::Error;

/// Numbers that upstream omits when zero.
pub fn omit_zero(n: i32) -> Value {
    if n == 0 { Value::Null } else { json!(n) }
}

/// Merges `status` (nulls remove) into the status of `object`. Returns the newer object if there was a difference.
pub async fn write<K: Resource>(
    client: &dyn Client,
    object: &Object,
    status: Value,
) -> Result<Option<Arc<Object>>, Error> {
    let old = object.tree()["status"].take();
    let mut new = old.clone();
    merge(&mut new, &status);
    if new == old || (old.is_null() && new.as_object().is_some_and(|o| o.is_empty())) {
        return Ok(None);
    }
    let target = Target::one(K::gvr(), object.namespace(), object.name()).sub("status");
    Ok(Some(client.patch(&target, Patch::Merge(json!({"status": status})), &WriteOptions::default()).await?))
}

/// Conditions as trees, with upstream's rules for `lastTransitionTime`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions(pub Vec<Value>);

impl Conditions {
    pub fn of(status: &Value) -> Conditions {
        Conditions(status["conditions"].as_array().cloned().unwrap_or_default())
    }
    pub fn get(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|c| c["type"] == kind)
    }
    pub fn remove(&mut self, kind: &str) {
        self.0.retain(|c| c["type"] != kind);
    }
    /// Sets a condition; unchanged if status and reason are. `also` are further fields, like `lastUpdateTime`.
    pub fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str, now: &str, also: &[(&str, &str)]) {
        let old = self.get(kind);
        if old.is_some_and(|c| c["status"] == status && c["reason"] == reason) {
            return;
        }
        let since = old.filter(|c| c["status"] == status).and_then(|c| c["lastTransitionTime"].as_str());
        let mut condition = json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or(now)});
        for (key, value) in also {
            condition[*key] = json!(value);
        }
        self.remove(kind);
        self.0.push(condition);
    }
    /// `null` when there are none.
    pub fn value(self) -> Value {
        if self.0.is_empty() { Value::Null } else { Value::Array(self.0) }
    }
}
