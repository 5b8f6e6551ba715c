//! Jobs and CronJobs: which failures count, what is success, which indexes are tried; and revisions of a DaemonSet.

use jiff::{Timestamp, ToSpan as _};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::pods::{condition, container};
use tests::{Cx, SOON};

use crate::crud::names;

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(Node: fails_early_by_exit_code, disruptions_do_not_count, indexes_fail_alone, too_many_failed_indexes,
        success_policies);
    all.extend(crate::trials!(ControlPlane: suspended_cron_jobs, concurrent_cron_jobs, controller_revisions));
    all
}

/// An indexed job of real pods.
async fn job(cx: &Cx, name: &str, script: &str, spec: Value) -> String {
    let mut job = json!({"metadata": {"name": name}, "spec": {"completionMode": "Indexed", "backoffLimit": 6,
        "template": {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container(script)]}}}});
    tests::pods::merge(&mut job["spec"], spec);
    cx.api.post(&cx.of("batch/v1", "jobs"), job).await;
    cx.of("batch/v1", &format!("jobs/{name}"))
}

/// The job once it has ended so, and the reason of that condition.
async fn ended(cx: &Cx, at: &str, how: &str) -> (Value, String) {
    let job = cx.api.wait(how, at, SOON, |j| condition(j, how) == Some("True")).await;
    let reason = job["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == how)?["reason"].as_str());
    let reason = reason.unwrap_or_default().to_owned();
    (job, reason)
}

async fn fails_early_by_exit_code(cx: Cx) {
    let rule = json!({"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}});
    let spec = json!({"completions": 2, "parallelism": 2, "podFailurePolicy": {"rules": [rule]}});
    let script = "[ $JOB_COMPLETION_INDEX = 0 ] && exit 42; exec sleep 1000";
    let at = job(&cx, "j", script, spec).await;
    let (job, reason) = ended(&cx, &at, "Failed").await;
    assert_eq!(reason, "PodFailurePolicy", "{}", job["status"]);
    assert_eq!(condition(&job, "FailureTarget"), Some("True"));
}

/// An evicted pod is replaced, although none may fail.
async fn disruptions_do_not_count(cx: Cx) {
    let host = cx.server.dir().join("disruptions");
    std::fs::create_dir_all(&host).expect("the server's directory");
    let rule = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let mut c = container("[ -e /h/marker ] && exit 0; touch /h/marker; exec sleep 1000");
    c["volumeMounts"] = json!([{"name": "h", "mountPath": "/h"}]);
    let pod = json!({"containers": [c], "volumes": [{"name": "h", "hostPath": {"path": host}}]});
    let spec =
        json!({"completions": 1, "backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}, "template": {"spec": pod}});
    let at = job(&cx, "j", "", spec).await;
    let pods = cx.core("pods?labelSelector=batch.kubernetes.io/job-name%3Dj");
    let marked = |l: &Value| host.join("marker").exists() && l["items"][0]["status"]["phase"] == "Running";
    let running = cx.api.wait("runs", &pods, SOON, marked).await;
    let name = names(&running)[0].to_owned();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    cx.api.post(&cx.core(&format!("pods/{name}/eviction")), eviction).await;
    let (job, _) = ended(&cx, &at, "Complete").await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"]), (&json!(1), &Value::Null), "{}", job["status"]);
}

/// Each index has a limit of its own; one that shall not be tried again is not.
async fn indexes_fail_alone(cx: Cx) {
    let rule = json!({"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}});
    let spec =
        json!({"completions": 4, "parallelism": 4, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": [rule]}});
    let failing = job(&cx, "failing", "[ $((JOB_COMPLETION_INDEX % 2)) = 0 ] || exit 42", spec).await;
    let spec = json!({"completions": 4, "parallelism": 4, "backoffLimitPerIndex": 0});
    let limited = job(&cx, "limited", "exit $((JOB_COMPLETION_INDEX % 2))", spec).await;
    for at in [failing, limited] {
        let (job, reason) = ended(&cx, &at, "Failed").await;
        assert_eq!(reason, "FailedIndexes", "{at}");
        let status = &job["status"];
        assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("1,3"), &json!("0,2")), "{at}");
        assert_eq!((&status["failed"], &status["succeeded"]), (&json!(2), &json!(2)), "{at}: none is tried again");
    }
}

async fn too_many_failed_indexes(cx: Cx) {
    let spec = json!({"completions": 5, "parallelism": 5, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1});
    let at = job(&cx, "j", "[ $JOB_COMPLETION_INDEX -lt 2 ] && exit 1; exec sleep 1000", spec).await;
    let (job, reason) = ended(&cx, &at, "Failed").await;
    assert_eq!(reason, "MaxFailedIndexesExceeded", "{}", job["status"]);
    // those that were ended for it may be among them
    assert!(job["status"]["failedIndexes"].as_str().is_some_and(|i| i.starts_with('0')), "{}", job["status"]);
}

async fn success_policies(cx: Cx) {
    let some = "[ $JOB_COMPLETION_INDEX = 0 ] || exec sleep 1000";
    let mut jobs = Vec::new();
    for (name, script, rule) in [
        ("all", "true", json!({"succeededIndexes": "0-2"})),
        ("indexes", some, json!({"succeededIndexes": "0"})),
        ("count", some, json!({"succeededCount": 1})),
    ] {
        let spec = json!({"completions": 3, "parallelism": 3, "successPolicy": {"rules": [rule]}});
        jobs.push(job(&cx, name, script, spec).await);
    }
    for at in jobs {
        let (job, reason) = ended(&cx, &at, "Complete").await;
        assert_eq!(reason, "SuccessPolicy", "{at}: {}", job["status"]);
        assert_eq!(condition(&job, "SuccessCriteriaMet"), Some("True"), "{at}");
        let whole = at.ends_with("all");
        assert_eq!(job["status"]["completedIndexes"], if whole { "0-2" } else { "0" }, "{at}");
    }
}

/// Due at that minute of every day.
fn at(minute: Timestamp) -> String {
    minute.strftime("%-M %-H * * *").to_string()
}

/// A CronJob that last ran an hour ago, suspended.
async fn cron_job(cx: &Cx, due: Timestamp, policy: &str) -> String {
    let spec = json!({"schedule": at(due), "timeZone": "Etc/UTC", "concurrencyPolicy": policy, "suspend": true,
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}});
    let name = policy.to_lowercase();
    cx.api.post(&cx.of("batch/v1", "cronjobs"), json!({"metadata": {"name": name}, "spec": spec})).await;
    let path = cx.of("batch/v1", &format!("cronjobs/{name}"));
    let before = Timestamp::now() - 1.hour();
    cx.api
        .merge(
            &format!("{path}/status"),
            json!({"status": {"lastScheduleTime": before.strftime("%FT%TZ").to_string()}}),
        )
        .await;
    path
}

async fn suspended_cron_jobs(cx: Cx) {
    let due = Timestamp::now() - 5.minutes();
    let path = cron_job(&cx, due, "Allow").await;
    // another one that is not shows that the controller has been there
    let other = cron_job(&cx, due, "Forbid").await;
    cx.api.merge(&other, json!({"spec": {"suspend": false}})).await;
    let jobs = cx.of("batch/v1", "jobs");
    let all = cx.api.wait("one", &jobs, SOON, |l| !names(l).is_empty()).await;
    assert!(names(&all).iter().all(|n| n.starts_with("forbid-")), "{:?}", names(&all));
    cx.api.merge(&path, json!({"spec": {"suspend": false}})).await;
    cx.api.wait("both", &jobs, SOON, |l| names(l).len() == 2).await;
}

/// A second time is due while the first one's job is active.
async fn concurrent_cron_jobs(cx: Cx) {
    let jobs = cx.of("batch/v1", "jobs");
    for (policy, left) in [("Allow", 2), ("Forbid", 1), ("Replace", 1)] {
        let now = Timestamp::now();
        let path = cron_job(&cx, now - 6.minutes(), policy).await;
        cx.api.merge(&path, json!({"spec": {"suspend": false}})).await;
        let mine = |l: &Value| {
            let prefix = format!("{}-", policy.to_lowercase());
            names(l).into_iter().filter(|n| n.starts_with(&prefix)).map(str::to_owned).collect::<Vec<_>>()
        };
        let first = cx.api.wait("the first", &jobs, SOON, |l| mine(l).len() == 1).await;
        cx.api
            .wait("it is active", &path, SOON, |c| c["status"]["active"].as_array().is_some_and(|a| a.len() == 1))
            .await;
        cx.api.merge(&path, json!({"spec": {"schedule": at(now - 3.minutes())}})).await;
        match policy {
            "Forbid" => {
                let events = cx.core("events?fieldSelector=reason%3DJobAlreadyActive");
                cx.api.wait("is told", &events, SOON, |l| !names(l).is_empty()).await;
            }
            _ => {
                let is = |l: &Value| mine(l).len() == left && mine(l) != mine(&first);
                cx.api.wait("the second", &jobs, SOON, is).await;
            }
        }
        assert_eq!(mine(&cx.api.get(&jobs).await).len(), left, "{policy}");
        cx.api.try_delete(&path, Some(&json!({"propagationPolicy": "Background"}))).await.ok();
    }
}

async fn controller_revisions(cx: Cx) {
    let template = |image: &str| json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template("one")});
    let sets = cx.of("apps/v1", "daemonsets");
    cx.api.post(&sets, json!({"metadata": {"name": "d"}, "spec": spec})).await;
    let revisions = cx.of("apps/v1", "controllerrevisions");
    let mine = format!("{revisions}?labelSelector=a%3Db");
    let first = cx.api.wait("the first", &mine, SOON, |l| names(l).len() == 1).await["items"][0].clone();
    let at = format!("{revisions}/{}", first["metadata"]["name"].as_str().expect("a name"));
    assert_eq!(
        (&first["revision"], &first["metadata"]["ownerReferences"][0]["kind"]),
        (&json!(1), &json!("DaemonSet"))
    );
    let patched = cx.api.merge(&at, json!({"metadata": {"labels": {"patched": "yes"}}})).await;
    assert_eq!(patched["metadata"]["labels"]["patched"], "yes");
    cx.api.merge(&format!("{sets}/d"), json!({"spec": {"template": template("two")}})).await;
    let newest = |l: &Value| l["items"].as_array().into_iter().flatten().any(|r| r["revision"] == 2);
    cx.api.wait("the second", &mine, SOON, |l| names(l).len() == 2 && newest(l)).await;
    cx.api.delete(&format!("{revisions}?labelSelector=patched")).await;
    let left = cx.api.wait("only the second", &mine, SOON, |l| names(l).len() == 1).await;
    assert_eq!(left["items"][0]["revision"], 2);
    cx.api.merge(&format!("{sets}/d"), json!({"spec": {"template": template("three")}})).await;
    cx.api
        .wait("the third", &mine, SOON, |l| l["items"].as_array().into_iter().flatten().any(|r| r["revision"] == 3))
        .await;
    // what its data are is for ever
    let changed = json!({"data": {"spec": null}});
    let now = cx.api.get(&mine).await["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned();
    cx.api.try_patch(&format!("{revisions}/{now}"), tests::api::MERGE_PATCH, &changed).await.refused(422, "Invalid");
}
