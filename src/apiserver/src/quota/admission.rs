//! The plugin: upstream's `plugin/resourcequota`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::scope::{Quota, add};
use super::{Amounts, QUOTAS};
use crate::admission::{Operation, Plugin, Write};
use crate::{Attributes, Lookup, Verb};

pub struct ResourceQuota {
    lookup: Arc<dyn Lookup>,
    /// By namespace: held by the charged write that is under way.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl ResourceQuota {
    pub fn new(lookup: Arc<dyn Lookup>) -> ResourceQuota {
        ResourceQuota { lookup, turns: Mutex::default() }
    }

    fn turn(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() > 64 {
            turns.retain(|_, t| Arc::strong_count(t) > 1);
        }
        turns.entry(namespace.to_owned()).or_default().clone()
    }

    fn check(&self, quota: &Quota, resource: &str, new: &Value, old: Option<&Value>) -> Result<(), String> {
        if resource == "pods" && old.is_none() && quota.counts(resource, new) {
            explicit(quota, new).map_err(|why| format!("failed quota: {}: {why}", quota.name))?;
        }
        let before = old.map(|o| quota.cost(resource, o)).unwrap_or_default();
        let cost = quota.cost(resource, new);
        let rises: Amounts = cost
            .into_iter()
            .map(|(k, q)| {
                let less = before.get(&k).copied().unwrap_or_default();
                (k, q - less)
            })
            .filter(|(_, q)| q.sign() > 0)
            .collect();
        if rises.is_empty() {
            return Ok(());
        }
        let mut used = quota.used_of(&*self.lookup, resource, "");
        // a name that two resources share is none that the two count alike
        used.retain(|k, _| rises.contains_key(k));
        let mut then = used.clone();
        add(&mut then, rises.clone());
        let exceeded: BTreeSet<&String> = then.iter().filter(|(k, q)| quota.hard[*k] < **q).map(|(k, _)| k).collect();
        if exceeded.is_empty() {
            return Ok(());
        }
        let shown = |list: &Amounts| {
            let of = |k: &String| format!("{k}={}", list.get(k).copied().unwrap_or_default());
            exceeded.iter().map(|k| of(k)).collect::<Vec<_>>().join(",")
        };
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name,
            shown(&rises),
            shown(&used),
            shown(&quota.hard)
        ))
    }
}

/// Where cpu or memory is limited, every container must say what it wants: `Constraints`.
fn explicit(quota: &Quota, pod: &Value) -> Result<(), String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"] {
        if !quota.hard.contains_key(name) {
            continue;
        }
        let (list, resource) = match name.split_once('.') {
            Some(("limits", r)) => ("limits", r),
            Some((_, r)) => ("requests", r),
            None => ("requests", name),
        };
        for key in ["containers", "initContainers"] {
            for c in pod["spec"][key].as_array().into_iter().flatten() {
                if c["resources"][list].get(resource).is_none() {
                    missing.entry(name).or_default().insert(c["name"].as_str().unwrap_or_default());
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let one = |(name, who): (&&str, &BTreeSet<&str>)| {
        format!("{name} for: {}", who.iter().copied().collect::<Vec<_>>().join(","))
    };
    Err(format!("must specify {}", missing.iter().map(one).collect::<Vec<_>>().join("; ")))
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }
    fn handles(&self, a: &Attributes) -> bool {
        !a.namespace.is_empty()
            && matches!(a.subresource.as_str(), "" | "resize")
            && !matches!(a.resource.as_str(), "events" | "bindings" | "localsubjectaccessreviews")
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let namespace = &write.attributes.namespace;
        let updates = matches!(write.attributes.resource.as_str(), "services" | "persistentvolumeclaims" | "pods");
        if write.operation() == Operation::Delete || (write.operation() == Operation::Update && !updates) {
            return Ok(());
        }
        let resource = write.kind.store_resource();
        let concerned = |lookup: &dyn Lookup| -> Vec<Quota> {
            let all = lookup.list(QUOTAS, namespace);
            all.iter().map(|o| Quota::read(o)).filter(|q| q.resources().contains(&resource)).collect()
        };
        if concerned(&*self.lookup).is_empty() {
            return Ok(());
        }
        let turn = self.turn(namespace).lock_owned().await;
        let old = write.old.map(|o| o.tree());
        for quota in concerned(&*self.lookup) {
            self.check(&quota, &resource, write.object, old.as_ref()).map_err(|why| write.refuse(why))?;
        }
        write.held.push(Box::new(turn));
        Ok(())
    }
}
