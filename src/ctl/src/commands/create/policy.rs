//! Quotas, priority classes, disruption budgets.

use api::Value;
use serde_json::json;

use super::{How, metadata, pairs};
use crate::error::{Error, Result};

#[derive(clap::Args)]
pub struct Quota {
    name: String,
    /// resource=amount
    #[arg(long, value_delimiter = ',')]
    hard: Vec<String>,
    /// Scopes
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

impl Quota {
    pub fn object(&self) -> Result<Value> {
        let hard: serde_json::Map<String, Value> =
            pairs(&self.hard, "argument")?.into_iter().map(|(k, v)| (k, v.into())).collect();
        let mut object = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata(&self.name), "spec": {}, "status": {}});
        if !hard.is_empty() {
            object["spec"]["hard"] = hard.into();
        }
        if !self.scopes.is_empty() {
            object["spec"]["scopes"] = json!(self.scopes);
        }
        Ok(object)
    }
}

#[derive(clap::Args)]
pub struct PriorityClass {
    name: String,
    /// The priority
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    value: i32,
    /// For pods that name none
    #[arg(long)]
    global_default: bool,
    /// When to use it
    #[arg(long)]
    description: Option<String>,
    /// PreemptLowerPriority or Never
    #[arg(long, default_value = "PreemptLowerPriority")]
    preemption_policy: String,
    #[command(flatten)]
    pub how: How,
}

impl PriorityClass {
    pub fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata(&self.name),
            "value": self.value, "preemptionPolicy": self.preemption_policy,
        });
        if self.global_default {
            object["globalDefault"] = true.into();
        }
        if let Some(text) = &self.description {
            object["description"] = text.as_str().into();
        }
        object
    }
}

#[derive(clap::Args)]
pub struct DisruptionBudget {
    name: String,
    /// The pods
    #[arg(long)]
    selector: String,
    /// How many must stay, or a percentage
    #[arg(long)]
    min_available: Option<String>,
    /// How many may be missing, or a percentage
    #[arg(long)]
    max_unavailable: Option<String>,
    #[command(flatten)]
    pub how: How,
}

impl DisruptionBudget {
    pub fn object(&self) -> Result<Value> {
        let (key, amount) = match (&self.min_available, &self.max_unavailable) {
            (Some(n), None) => ("minAvailable", n),
            (None, Some(n)) => ("maxUnavailable", n),
            _ => return Err(Error::other("one of min-available or max-unavailable must be specified")),
        };
        let labels: serde_json::Map<String, Value> =
            pairs(&self.selector.split(',').map(str::to_owned).collect::<Vec<_>>(), "selector")?
                .into_iter()
                .map(|(k, v)| (k, v.into()))
                .collect();
        let amount = amount.parse::<i64>().map_or_else(|_| json!(amount), |n| json!(n));
        Ok(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(&self.name),
            "spec": {(key): amount, "selector": {"matchLabels": labels}}, "status": {
                "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        }))
    }
}
