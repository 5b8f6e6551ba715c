//! `rollout status`: follows a rollout by watch, in kubectl's words (`polymorphichelpers/rollout_status.go`).

use api::Value;

use super::On;
use crate::error::{Error, Result};
use crate::objects::{Failed, duration, list, text};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    on: On,
    /// Wait for the end
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    watch: bool,
    /// Only this revision's rollout
    #[arg(long, default_value_t = 0)]
    revision: i64,
    /// How long to wait; 0: as long as it takes
    #[arg(long, default_value = "0s")]
    timeout: String,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let mut failed = Failed::default();
    let timeout = duration(&flags.timeout)?.filter(|t| !t.is_zero());
    for info in flags.on.infos(s, &mut failed).await? {
        let kind = info.mapping.kind.clone();
        let mut said = String::new();
        let watched = s.until(&info.mapping, &info.namespace, &info.name, timeout, |object| {
            let Some(object) = object else { return Err(Error::other("object has been deleted")) };
            let (message, done) = status(&kind, &info.name, object, flags.revision)?;
            if said != message {
                println!("{message}");
                said = message;
            }
            Ok((done || !flags.watch).then_some(()))
        });
        let result = watched.await.and_then(|r| r.ok_or_else(|| Error::other("timed out waiting for the condition")));
        failed.keep_later(result);
    }
    failed.end()
}

/// What to say, and whether that is the end.
fn status(kind: &str, name: &str, o: &Value, revision: i64) -> Result<(String, bool)> {
    let n = |pointer: &str| o.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let observed = n("/metadata/generation") <= n("/status/observedGeneration");
    let going = |text: String| Ok((text, false));
    match kind {
        "Deployment" => {
            if revision > 0 {
                let at = text(&o["metadata"]["annotations"], "/deployment.kubernetes.io~1revision");
                if at != revision.to_string() {
                    return Err(Error::other(format!(
                        "desired revision ({revision}) is different from the running revision ({at})"
                    )));
                }
            }
            if !observed {
                return going("Waiting for deployment spec update to be observed...".into());
            }
            let late = list(o, "/status/conditions")
                .iter()
                .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded");
            if late {
                return Err(Error::other(format!("deployment {name:?} exceeded its progress deadline")));
            }
            let wanted = o.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let (updated, all, available) =
                (n("/status/updatedReplicas"), n("/status/replicas"), n("/status/availableReplicas"));
            let head = format!("Waiting for deployment {name:?} rollout to finish:");
            if updated < wanted {
                return going(format!("{head} {updated} out of {wanted} new replicas have been updated..."));
            }
            if all > updated {
                return going(format!("{head} {} old replicas are pending termination...", all - updated));
            }
            if available < updated {
                return going(format!("{head} {available} of {updated} updated replicas are available..."));
            }
            Ok((format!("deployment {name:?} successfully rolled out"), true))
        }
        "DaemonSet" => {
            if text(o, "/spec/updateStrategy/type") != "RollingUpdate" {
                return Err(Error::other("rollout status is only available for RollingUpdate strategy type"));
            }
            if !observed {
                return going("Waiting for daemon set spec update to be observed...".into());
            }
            let wanted = n("/status/desiredNumberScheduled");
            let (updated, available) = (n("/status/updatedNumberScheduled"), n("/status/numberAvailable"));
            let head = format!("Waiting for daemon set {name:?} rollout to finish:");
            if updated < wanted {
                return going(format!("{head} {updated} out of {wanted} new pods have been updated..."));
            }
            if available < wanted {
                return going(format!("{head} {available} of {wanted} updated pods are available..."));
            }
            Ok((format!("daemon set {name:?} successfully rolled out"), true))
        }
        "StatefulSet" => {
            if text(o, "/spec/updateStrategy/type") != "RollingUpdate" {
                return Err(Error::other("rollout status is only available for RollingUpdate strategy type"));
            }
            if n("/status/observedGeneration") == 0 || !observed {
                return going("Waiting for statefulset spec update to be observed...".into());
            }
            let wanted = o.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let (ready, updated) = (n("/status/readyReplicas"), n("/status/updatedReplicas"));
            if ready < wanted {
                return going(format!("Waiting for {} pods to be ready...", wanted - ready));
            }
            let partition = n("/spec/updateStrategy/rollingUpdate/partition");
            if partition > 0 {
                if updated < wanted - partition {
                    return going(format!(
                        "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                        wanted - partition
                    ));
                }
                return Ok((format!("partitioned roll out complete: {updated} new pods have been updated..."), true));
            }
            let (to, current) = (text(o, "/status/updateRevision"), text(o, "/status/currentRevision"));
            if to != current {
                return going(format!(
                    "waiting for statefulset rolling update to complete {updated} pods at revision {to}..."
                ));
            }
            Ok((
                format!(
                    "statefulset rolling update complete {} pods at revision {current}...",
                    n("/status/currentReplicas")
                ),
                true,
            ))
        }
        other => Err(Error::other(format!("no status viewer has been implemented for {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deployments() {
        let deploy = |observed: i64, updated: i64, all: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {
                "observedGeneration": observed, "updatedReplicas": updated, "replicas": all, "availableReplicas": available}})
        };
        let cases = [
            (deploy(1, 0, 0, 0), "Waiting for deployment spec update to be observed..."),
            (
                deploy(2, 1, 3, 3),
                r#"Waiting for deployment "x" rollout to finish: 1 out of 3 new replicas have been updated..."#,
            ),
            (
                deploy(2, 3, 4, 3),
                r#"Waiting for deployment "x" rollout to finish: 1 old replicas are pending termination..."#,
            ),
            (
                deploy(2, 3, 3, 2),
                r#"Waiting for deployment "x" rollout to finish: 2 of 3 updated replicas are available..."#,
            ),
            (deploy(2, 3, 3, 3), r#"deployment "x" successfully rolled out"#),
        ];
        for (object, want) in cases {
            assert_eq!(status("Deployment", "x", &object, 0).unwrap().0, want);
        }
    }
}
