//! Deployments, replica sets, daemon sets, stateful sets, jobs and cron jobs.

use api::Value;

use super::template;
use super::writer::{Out, plain, selector, time};
use crate::error::Result;
use crate::objects::{Info, list, text};
use crate::session::{Session, with_query};

fn n(o: &Value, pointer: &str) -> i64 {
    o.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The pods that a controller owns, by phase: running, waiting, succeeded, failed.
async fn pods(s: &Session, o: &Value) -> Result<[usize; 4]> {
    let chosen = selector(&o["spec"]["selector"]);
    let mapping = s.mapping("pods").await?;
    let path = with_query(
        &mapping.path(text(o, "/metadata/namespace"), ""),
        &[("labelSelector", if chosen == "<none>" { "" } else { &chosen })],
    );
    let all = s.get(&path).await?;
    let uid = text(o, "/metadata/uid");
    let mut counts = [0; 4];
    for pod in list(&all, "/items") {
        if list(pod, "/metadata/ownerReferences").iter().any(|r| r["controller"] == true && text(r, "/uid") == uid) {
            match text(pod, "/status/phase") {
                "Running" => counts[0] += 1,
                "Pending" => counts[1] += 1,
                "Succeeded" => counts[2] += 1,
                "Failed" => counts[3] += 1,
                _ => {}
            }
        }
    }
    Ok(counts)
}

fn pods_status([running, waiting, succeeded, failed]: [usize; 4]) -> String {
    format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed")
}

fn controlled_by(w: &mut Out, o: &Value) {
    if let Some(owner) = list(o, "/metadata/ownerReferences").iter().find(|r| r["controller"] == true) {
        w.field(0, "Controlled By", format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
    }
}

pub async fn deployment(w: &mut Out, s: &Session, info: &Info) -> Result<()> {
    let o = &info.object;
    w.name(o);
    w.namespace(o);
    w.field(0, "CreationTimestamp", time(text(o, "/metadata/creationTimestamp")));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    let wanted = o["spec"]["replicas"].as_i64().unwrap_or(1);
    w.field(
        0,
        "Replicas",
        format!(
            "{wanted} desired | {} updated | {} total | {} available | {} unavailable",
            n(o, "/status/updatedReplicas"),
            n(o, "/status/replicas"),
            n(o, "/status/availableReplicas"),
            n(o, "/status/unavailableReplicas")
        ),
    );
    w.field(0, "StrategyType", text(o, "/spec/strategy/type"));
    w.field(0, "MinReadySeconds", n(o, "/spec/minReadySeconds").to_string());
    if let Some(rolling) = o["spec"]["strategy"].get("rollingUpdate") {
        w.field(
            0,
            "RollingUpdateStrategy",
            format!("{} max unavailable, {} max surge", plain(&rolling["maxUnavailable"]), plain(&rolling["maxSurge"])),
        );
    }
    template::describe(w, &o["spec"]["template"]);
    conditions(w, o, true);
    let (old, new) = replica_sets(s, o).await?;
    w.field(0, "OldReplicaSets", old);
    w.field(0, "NewReplicaSet", new);
    Ok(())
}

fn conditions(w: &mut Out, o: &Value, reasons: bool) {
    let all = list(o, "/status/conditions");
    if all.is_empty() {
        return;
    }
    w.put(0, "Conditions:\n  Type\tStatus\tReason");
    w.put(0, "  ----\t------\t------");
    for c in all {
        w.put(
            1,
            format!("{} \t{}\t{}", text(c, "/type"), text(c, "/status"), if reasons { text(c, "/reason") } else { "" }),
        );
    }
}

/// The deployment's replica sets: the old ones with pods, and the new one.
async fn replica_sets(s: &Session, o: &Value) -> Result<(String, String)> {
    let mapping = s.mapping("replicasets.apps").await?;
    let all = s
        .list(&mapping, text(o, "/metadata/namespace"), &[("labelSelector", &selector(&o["spec"]["selector"]))])
        .await?;
    let uid = text(o, "/metadata/uid");
    let revision = |v: &Value| {
        v["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().and_then(|r| r.parse::<i64>().ok())
    };
    let owned = |v: &&Value| list(v, "/metadata/ownerReferences").iter().any(|r| text(r, "/uid") == uid);
    let mut sets: Vec<&Value> = list(&all, "/items").iter().filter(owned).collect();
    sets.sort_by_key(|v| revision(v));
    let row = |v: &&Value| {
        format!(
            "{} ({}/{} replicas created)",
            text(v, "/metadata/name"),
            n(v, "/status/replicas"),
            v["spec"]["replicas"].as_i64().unwrap_or(0)
        )
    };
    let shown = |sets: &[&Value]| {
        if sets.is_empty() { "<none>".to_owned() } else { sets.iter().map(row).collect::<Vec<_>>().join(", ") }
    };
    let same = |v: &&Value| {
        let mut template = v["spec"]["template"].clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        template == o["spec"]["template"]
    };
    let new = sets
        .iter()
        .position(same)
        .or_else(|| sets.iter().position(|v| revision(v).is_some() && revision(v) == revision(o)));
    Ok(match new {
        Some(i) => {
            let new = sets.remove(i);
            (shown(&sets), shown(&[new]))
        }
        None => (shown(&sets), "<none>".into()),
    })
}

pub async fn replica_set(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    w.name(o);
    w.namespace(o);
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    controlled_by(w, o);
    w.field(0, "Replicas", format!("{} current / {} desired", n(o, "/status/replicas"), n(o, "/spec/replicas")));
    let status = pods_status(pods(s, o).await?);
    w.field(0, "Pods Status", status);
    template::describe(w, &o["spec"]["template"]);
    let all = list(o, "/status/conditions");
    if !all.is_empty() {
        conditions(w, o, true);
    }
    Ok(())
}

pub async fn daemon_set(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    w.name(o);
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    w.labels(0, "Node-Selector", &o["spec"]["template"]["spec"]["nodeSelector"]);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    for (label, key) in [
        ("Desired Number of Nodes Scheduled", "/status/desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "/status/currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "/status/updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "/status/numberAvailable"),
        ("Number of Nodes Misscheduled", "/status/numberMisscheduled"),
    ] {
        w.put(0, format!("{label}: {}", n(o, key)));
    }
    w.field(0, "Pods Status", pods_status(pods(s, o).await?));
    template::describe(w, &o["spec"]["template"]);
    Ok(())
}

pub async fn stateful_set(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    w.name(o);
    w.namespace(o);
    w.field(0, "CreationTimestamp", time(text(o, "/metadata/creationTimestamp")));
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Replicas", format!("{} desired | {} total", n(o, "/spec/replicas"), n(o, "/status/replicas")));
    w.field(0, "Update Strategy", text(o, "/spec/updateStrategy/type"));
    if let Some(partition) = o["spec"]["updateStrategy"].get("rollingUpdate").and_then(|r| r["partition"].as_i64()) {
        w.put(1, format!("Partition:\t{partition}"));
    }
    w.field(0, "Pods Status", pods_status(pods(s, o).await?));
    template::describe(w, &o["spec"]["template"]);
    let claims = list(o, "/spec/volumeClaimTemplates");
    if claims.is_empty() {
        w.field(0, "Volume Claims", "<none>");
        return Ok(());
    }
    w.put(0, "Volume Claims:");
    for c in claims {
        w.field(1, "Name", text(c, "/metadata/name"));
        w.field(1, "StorageClass", text(c, "/spec/storageClassName"));
        w.labels(1, "Labels", &c["metadata"]["labels"]);
        w.annotations(1, &c["metadata"]["annotations"]);
        w.field(1, "Capacity", plain(&c["spec"]["resources"]["requests"]["storage"]));
        let modes: Vec<&str> = list(c, "/spec/accessModes").iter().filter_map(Value::as_str).collect();
        w.field(1, "Access Modes", format!("[{}]", modes.join(" ")));
    }
    Ok(())
}

pub fn job(w: &mut Out, o: &Value) {
    w.name(o);
    w.namespace(o);
    w.field(0, "Selector", selector(&o["spec"]["selector"]));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    controlled_by(w, o);
    let count = |key: &str| o["spec"][key].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    w.field(0, "Parallelism", count("parallelism"));
    w.field(0, "Completions", count("completions"));
    w.some(0, "Completion Mode", text(o, "/spec/completionMode"));
    if let Some(suspend) = o["spec"]["suspend"].as_bool() {
        w.field(0, "Suspend", suspend.to_string());
    }
    if let Some(limit) = o["spec"]["backoffLimit"].as_i64() {
        w.field(0, "Backoff Limit", limit.to_string());
    }
    if let Some(ttl) = o["spec"]["ttlSecondsAfterFinished"].as_i64() {
        w.field(0, "TTL Seconds After Finished", ttl.to_string());
    }
    let (start, end) = (text(o, "/status/startTime"), text(o, "/status/completionTime"));
    if !start.is_empty() {
        w.field(0, "Start Time", time(start));
    }
    if !end.is_empty() {
        w.field(0, "Completed At", time(end));
    }
    if let (Ok(a), Ok(b)) = (start.parse::<jiff::Timestamp>(), end.parse::<jiff::Timestamp>()) {
        w.field(0, "Duration", api::human_duration(b.as_second() - a.as_second()));
    }
    if let Some(deadline) = o["spec"]["activeDeadlineSeconds"].as_i64() {
        w.field(0, "Active Deadline Seconds", format!("{deadline}s"));
    }
    let ready = o["status"]["ready"].as_i64().map_or_else(String::new, |r| format!(" ({r} Ready)"));
    w.field(
        0,
        "Pods Statuses",
        format!(
            "{} Active{ready} / {} Succeeded / {} Failed",
            n(o, "/status/active"),
            n(o, "/status/succeeded"),
            n(o, "/status/failed")
        ),
    );
    w.some(0, "Completed Indexes", text(o, "/status/completedIndexes"));
    template::describe(w, &o["spec"]["template"]);
}

pub fn cron_job(w: &mut Out, o: &Value) {
    w.name(o);
    w.namespace(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Schedule", text(o, "/spec/schedule"));
    w.field(0, "Concurrency Policy", text(o, "/spec/concurrencyPolicy"));
    let flag = |v: &Value| {
        v.as_bool().map_or_else(|| "<unset>".to_owned(), |b| if b { "True".into() } else { "False".into() })
    };
    w.field(0, "Suspend", flag(&o["spec"]["suspend"]));
    let number = |v: &Value| v.as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    w.field(0, "Successful Job History Limit", number(&o["spec"]["successfulJobsHistoryLimit"]));
    w.field(0, "Failed Job History Limit", number(&o["spec"]["failedJobsHistoryLimit"]));
    let job = &o["spec"]["jobTemplate"]["spec"];
    let deadline =
        o["spec"]["startingDeadlineSeconds"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| format!("{n}s"));
    w.field(0, "Starting Deadline Seconds", deadline);
    w.field(0, "Selector", if job["selector"].is_null() { "<unset>".into() } else { selector(&job["selector"]) });
    w.field(0, "Parallelism", number(&job["parallelism"]));
    w.field(0, "Completions", number(&job["completions"]));
    if let Some(deadline) = job["activeDeadlineSeconds"].as_i64() {
        w.field(0, "Active Deadline Seconds", format!("{deadline}s"));
    }
    template::describe(w, &job["template"]);
    let last = text(o, "/status/lastScheduleTime");
    w.field(0, "Last Schedule Time", if last.is_empty() { "<unset>".into() } else { time(last) });
    let active: Vec<&str> = list(o, "/status/active").iter().map(|a| text(a, "/name")).collect();
    w.field(0, "Active Jobs", if active.is_empty() { "<none>".into() } else { active.join(", ") });
}
