//! A deployment's replica sets: which is new, which are old, their revisions and annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use api::k8s_openapi::api::core::v1::PodTemplateSpec;
use api::{Object, Value};
use serde_json::{Map, json};

use super::math::Size;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// These say something of one object only, and are not copied to a replica set.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
const HISTORY_MAX_BYTES: usize = 2000;

/// A replica set as the cache or the last write has it.
#[derive(Clone)]
pub struct Set(pub Arc<Object>);

impl Set {
    fn view(&self) -> Option<&ReplicaSet> {
        self.0.view::<ReplicaSet>().ok()
    }
    pub fn name(&self) -> &str {
        self.0.name()
    }
    pub fn replicas(&self) -> i32 {
        self.view().and_then(|r| r.spec.as_ref()?.replicas).unwrap_or(0)
    }
    /// `status.replicas`
    pub fn actual(&self) -> i32 {
        self.view().and_then(|r| r.status.as_ref()).map_or(0, |s| s.replicas)
    }
    pub fn ready(&self) -> i32 {
        self.view().and_then(|r| r.status.as_ref()?.ready_replicas).unwrap_or(0)
    }
    pub fn available(&self) -> i32 {
        self.view().and_then(|r| r.status.as_ref()?.available_replicas).unwrap_or(0)
    }
    pub fn terminating(&self) -> i32 {
        self.view().and_then(|r| r.status.as_ref()?.terminating_replicas).unwrap_or(0)
    }
    pub fn min_ready_seconds(&self) -> i32 {
        self.view().and_then(|r| r.spec.as_ref()?.min_ready_seconds).unwrap_or(0)
    }
    /// Its controller has seen its newest spec.
    pub fn observed(&self) -> bool {
        let seen = self.view().and_then(|r| r.status.as_ref()?.observed_generation).unwrap_or(0);
        seen >= self.0.meta().generation
    }
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.view()?.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
    pub fn number(&self, key: &str) -> Option<i32> {
        self.annotation(key)?.parse().ok()
    }
    /// 0 without one.
    pub fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
    }
    pub fn size(&self) -> Size {
        Size { replicas: self.replicas(), available: self.available(), max_replicas: self.number(MAX) }
    }
    fn created(&self) -> (&str, &str) {
        (self.0.meta().creation_timestamp.as_deref().unwrap_or(""), self.name())
    }
    /// `EqualIgnoreHash`
    pub fn is_of(&self, template: &PodTemplateSpec) -> bool {
        let own = self.view().and_then(|r| r.spec.as_ref()?.template.as_ref());
        own.is_some_and(|own| own.spec == template.spec && same_metadata(own, template))
    }
    /// The failure condition, if any.
    pub fn failure(&self) -> Option<(&str, &str)> {
        let conditions = self.view()?.status.as_ref()?.conditions.as_ref()?;
        let c = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
        Some((c.reason.as_deref().unwrap_or(""), c.message.as_deref().unwrap_or("")))
    }
}

fn same_metadata(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    fn parts(t: &PodTemplateSpec) -> (BTreeMap<&str, &str>, BTreeMap<&str, &str>) {
        let meta = t.metadata.as_ref();
        let labels = meta.and_then(|m| m.labels.as_ref()).into_iter().flatten();
        let annotations = meta.and_then(|m| m.annotations.as_ref()).into_iter().flatten();
        (
            labels.filter(|(k, _)| *k != HASH_LABEL).map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            annotations.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        )
    }
    parts(a) == parts(b)
}

pub fn oldest_first(sets: &mut [Set]) {
    sets.sort_by(|a, b| a.created().cmp(&b.created()));
}

/// Splits into the new one, if there is, and the old ones, oldest first.
pub fn split(mut all: Vec<Set>, template: &PodTemplateSpec) -> (Option<Set>, Vec<Set>) {
    oldest_first(&mut all);
    let new = all.iter().position(|s| s.is_of(template)).map(|i| all.remove(i));
    (new, all)
}

/// The annotations that the new replica set lacks: `SetNewReplicaSetAnnotations`. `set`: the annotations it has.
pub fn annotations(
    deployment: &Deployment,
    set: &BTreeMap<String, String>,
    revision: i64,
    size: Option<(i32, i32)>,
) -> Map<String, Value> {
    let mut wanted = Map::new();
    let mut want = |key: &str, value: String| {
        if set.get(key) != Some(&value) {
            wanted.insert(key.to_owned(), json!(value));
        }
    };
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            want(key, value.clone());
        }
    }
    let old = set.get(REVISION).cloned().unwrap_or_default();
    if old.parse().unwrap_or(0) < revision {
        want(REVISION, revision.to_string());
        if !old.is_empty() {
            want(REVISION_HISTORY, history(set.get(REVISION_HISTORY).map_or("", |h| h), &old));
        }
    }
    if let Some((desired, max)) = size {
        want(DESIRED, desired.to_string());
        want(MAX, max.to_string());
    }
    wanted
}

/// Past revisions, the newest last; the oldest are dropped when it gets too long.
fn history(known: &str, revision: &str) -> String {
    let mut all: Vec<&str> = known.split(',').filter(|r| !r.is_empty()).collect();
    all.push(revision);
    while all.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_MAX_BYTES {
        all.remove(0);
    }
    all.join(",")
}
