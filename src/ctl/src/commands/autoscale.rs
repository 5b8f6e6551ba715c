//! `autoscale`: a HorizontalPodAutoscaler for what can be scaled.

use serde_json::json;

use super::create::{How, generated};
use crate::cli::{Files, Select};
use crate::error::{Error, Result};
use crate::objects::Failed;
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME or TYPE/NAME
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// At least so many pods; negative: the server's default
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    min: i64,
    /// At most so many pods
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    max: i64,
    /// The use of requested CPU to aim at; negative: the server's default
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    cpu_percent: i64,
    /// The autoscaler's name; else that of what it scales
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    how: How,
}

pub async fn run(s: &Session, mut flags: Flags) -> Result<()> {
    if flags.how.field_manager == "kubectl-create" {
        flags.how.field_manager = "kubectl-autoscale".into();
    }
    if flags.max < 1 {
        return Err(Error::other(format!("--max=MAXPODS is required and must be at least 1, max: {}", flags.max)));
    }
    if flags.max < flags.min {
        return Err(Error::other(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {}, min: {}",
            flags.max, flags.min
        )));
    }
    let mut failed = Failed::default();
    for info in s.infos(&flags.args, &flags.files, &Select::default(), &mut failed).await? {
        let mapping = &info.mapping;
        if !mapping.subresources.iter().any(|sub| sub == "scale") {
            let why = format!("cannot autoscale a {}: no kind {:?} matched", mapping.kind, mapping.kind);
            failed.keep_later(Err::<(), _>(Error::other(why)));
            continue;
        }
        let name = if flags.name.is_empty() { &info.name } else { &flags.name };
        let mut spec = json!({
            "maxReplicas": flags.max,
            "scaleTargetRef": {"apiVersion": mapping.api_version(), "kind": mapping.kind, "name": info.name},
        });
        if flags.min > 0 {
            spec["minReplicas"] = flags.min.into();
        }
        if flags.cpu_percent >= 0 {
            spec["targetCPUUtilizationPercentage"] = flags.cpu_percent.into();
        }
        let object = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"creationTimestamp": null, "name": name}, "spec": spec,
            "status": {"currentReplicas": 0, "desiredReplicas": 0},
        });
        failed.keep_later(generated(s, object, &flags.how, "autoscaled").await);
    }
    failed.end()
}
