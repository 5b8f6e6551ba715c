//! Jobs.

use serde_json::{Value, json};

use super::{job_spec, job_status};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{containers, count, name, selector, timestamp};
use crate::kinds::tree::{child, ensure, entries, flag, has, items, items_mut, made, number, or, same, some, text};
use crate::kinds::workload;
use crate::labels::Selector;
use crate::strategy::{AGE, Column, NAME, age, copy, human_duration, set};

pub(super) struct Job;

const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];

impl Strategy for Job {
    /// `SetDefaults_Job`
    fn default(&self, job: &mut Value) {
        let its_labels = job["spec"]["template"]["metadata"]["labels"].clone();
        if its_labels.as_object().is_some_and(|l| !l.is_empty())
            && let Some(metadata) = child(job, "metadata")
            && entries(metadata, "labels").next().is_none()
        {
            set(metadata, "labels", Some(its_labels));
        }
        let Some(spec) = made(job, "spec") else { return };
        if !has(spec, "completions") && !has(spec, "parallelism") {
            or(spec, "completions", 1);
        }
        or(spec, "parallelism", 1);
        let limit = if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
        or(spec, "backoffLimit", limit);
        or(spec, "completionMode", "NonIndexed");
        or(spec, "suspend", false);
        let policy = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        or(spec, "podReplacementPolicy", policy);
        job_spec::default(spec);
    }

    /// `generateSelector`: the controller's uid, in the selector and in the template's labels.
    fn prepare_create(&self, job: &mut Value) {
        set(job, "status", Some(json!({})));
        if flag(&job["spec"], "manualSelector") {
            return;
        }
        let (name, uid) = (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone());
        let Some(spec) = made(job, "spec") else { return };
        let template = made(spec, "template").and_then(|t| made(t, "metadata"));
        if let Some(labels) = template.and_then(|m| ensure(m, "labels")) {
            for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
                for key in keys {
                    labels.entry(key).or_insert_with(|| value.clone());
                }
            }
        }
        if let Some(selector) = made(spec, "selector").and_then(|s| ensure(s, "matchLabels")) {
            selector.entry(UID_LABELS[0]).or_insert(uid);
        }
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, job: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&job["spec"], &Path::root("spec"));
        generated_selector(&mut errors, path, job);
        job_spec::validate(&mut errors, path, spec);
        let at = path.child("selector");
        if has(spec, "selector") {
            workload::validate_label_selector(&mut errors, &at, &spec["selector"]);
        } else {
            errors.push(field::Error::required(&at, ""));
        }
        let its_labels = &spec["template"]["metadata"]["labels"];
        if Selector::from_tree(&spec["selector"]).is_ok_and(|s| !s.matches(its_labels)) {
            let (template, detail) = (path.child("template"), "`selector` does not match template `labels`");
            let metadata = template.child("metadata");
            errors.push(field::Error::invalid(&metadata.child("labels"), its_labels.clone(), detail));
        }
        indexed_name(&mut errors, job);
        errors
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        job_status::validate_update(new, old)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let (spec, was, path) = (&new["spec"], &old["spec"], &Path::root("spec"));
        let mut errors = Vec::new();
        // an indexed job may be made larger or smaller together with its parallelism
        let elastic = text(spec, "completionMode") == "Indexed";
        if elastic
            && has(spec, "completions")
            && !same(&spec["completions"], &was["completions"])
            && spec["completions"] != spec["parallelism"]
        {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.push(field::Error::invalid(&path.child("completions"), spec["completions"].clone(), detail));
        }
        let immutable = |errors: &mut Vec<field::Error>, key: &str| {
            if !same(&spec[key], &was[key]) {
                errors.push(field::Error::invalid(&path.child(key), spec[key].clone(), "field is immutable"));
            }
        };
        if !elastic {
            immutable(&mut errors, "completions");
        }
        immutable(&mut errors, "selector");
        let mut before = was["template"].clone();
        let (suspended, idle) = (flag(was, "suspend"), number(&old["status"], "active") == 0);
        if suspended && (idle || !has(&old["status"], "startTime")) {
            scheduling_directives(&mut before, &spec["template"]);
        }
        if suspended && idle {
            resources(&mut before, &spec["template"]);
        }
        if !same(&spec["template"], &before) {
            errors.push(field::Error::invalid(&path.child("template"), spec["template"].clone(), "field is immutable"));
        }
        for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            immutable(&mut errors, key);
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
    fn select_field(&self, job: &Value, _field: &str) -> String {
        count(&job["status"]["succeeded"]).to_string()
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Status", "string"),
                Column::new("Completions", "string"),
                Column::new("Duration", "string"),
                AGE,
                Column::wide("Containers", "string"),
                Column::wide("Images", "string"),
                Column::wide("Selector", "string"),
            ]
        }
    }
    fn cells(&self, job: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&job["spec"], &job["status"]);
        let succeeded = number(status, "succeeded");
        let completions = match (some(spec, "completions").and_then(Value::as_i64), number(spec, "parallelism")) {
            (Some(n), _) => format!("{succeeded}/{n}"),
            (None, p) if p > 1 => format!("{succeeded}/1 of {p}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let end = timestamp(&status["completionTime"]).unwrap_or(now_seconds);
        let duration = timestamp(&status["startTime"]).map_or(String::new(), |start| human_duration(end - start));
        let [names, images] = containers(&spec["template"]["spec"]);
        vec![
            name(job),
            state(job).into(),
            completions.into(),
            duration.into(),
            age(job, now_seconds),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }
}

fn state(job: &Value) -> &'static str {
    let is = |kind: &str| {
        items(&job["status"], "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if has(&job["metadata"], "deletionTimestamp") => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

/// `validateGeneratedSelector`
fn generated_selector(errors: &mut Vec<field::Error>, path: &Path, job: &Value) {
    let spec = &job["spec"];
    if flag(spec, "manualSelector") || !has(spec, "selector") {
        return;
    }
    let (uid, its_name) = (text(&job["metadata"], "uid"), text(&job["metadata"], "name"));
    if uid.is_empty() {
        let metadata = Path::root("metadata");
        errors.push(field::Error::required(&metadata.child("uid"), ""));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let (template, metadata) = (path.child("template"), "metadata");
    let metadata = template.child(metadata);
    let at = metadata.child("labels");
    let expected = [(UID_LABELS[1], uid), (NAME_LABELS[1], its_name), (UID_LABELS[0], uid), (NAME_LABELS[0], its_name)];
    for (key, want) in expected {
        let detail = format!("must be '{want}'");
        match labels.get(key) {
            None => errors.push(field::Error::required(&at.key(key), &detail)),
            Some(value) if value != want => {
                errors.push(field::Error::invalid(&at.key(key), labels.clone(), detail));
            }
            Some(_) => {}
        }
    }
    let expected: Value = expected.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
    if Selector::from_tree(&spec["selector"]).is_ok_and(|s| !s.matches(&expected)) {
        let detail = "`selector` not auto-generated";
        errors.push(field::Error::invalid(&path.child("selector"), spec["selector"].clone(), detail));
    }
}

/// The pods of an indexed job have its name and their index as host name.
fn indexed_name(errors: &mut Vec<field::Error>, job: &Value) {
    let (its_name, completions) = (text(&job["metadata"], "name"), number(&job["spec"], "completions"));
    if text(&job["spec"], "completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let longest = format!("{its_name}-{}", completions - 1);
    if !crate::names::dns_label(&longest, false).is_empty() {
        let (metadata, detail) =
            (Path::root("metadata"), format!("will not able to create pod with invalid DNS label: {longest}"));
        errors.push(field::Error::invalid(&metadata.child("name"), its_name, detail));
    }
}

/// What containers of a suspended job's pods will ask for may change while none runs.
fn resources(before: &mut Value, now: &Value) {
    let Some(spec) = child(before, "spec") else { return };
    for list in ["containers", "initContainers"] {
        for (was, is) in items_mut(spec, list).iter_mut().zip(items(&now["spec"], list)) {
            copy(was, is, "resources");
        }
    }
}

/// What may change in the template of a suspended job that has not begun.
fn scheduling_directives(before: &mut Value, now: &Value) {
    if let Some(spec) = child(before, "spec") {
        for key in ["nodeSelector", "tolerations", "schedulingGates"] {
            copy(spec, &now["spec"], key);
        }
        // of affinity only that to nodes
        let node = some(&now["spec"]["affinity"], "nodeAffinity").cloned();
        match (has(spec, "affinity"), has(&now["spec"], "affinity")) {
            (false, false) => {}
            (false, true) => set(spec, "affinity", Some(json!({ "nodeAffinity": node }))),
            (true, still) => {
                if let Some(affinity) = child(spec, "affinity") {
                    set(affinity, "nodeAffinity", node);
                }
                if !still && entries(spec, "affinity").all(|(_, v)| v.is_null()) {
                    set(spec, "affinity", None);
                }
            }
        }
    }
    if let Some(metadata) = child(before, "metadata") {
        for key in ["labels", "annotations"] {
            copy(metadata, &now["metadata"], key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::defaulted;

    fn job() -> Value {
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn a_job_gets_defaults_and_a_generated_selector() {
        let mut j = defaulted(&Job, job());
        for (key, want) in [
            ("completions", json!(1)),
            ("parallelism", json!(1)),
            ("backoffLimit", json!(6)),
            ("completionMode", json!("NonIndexed")),
            ("suspend", json!(false)),
            ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ] {
            assert_eq!(j["spec"][key], want, "{key}");
        }
        Job.prepare_create(&mut j);
        assert_eq!(j["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
        assert_eq!(
            j["spec"]["template"]["metadata"]["labels"],
            json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j", "controller-uid": "u", "job-name": "j"})
        );
        assert_eq!(Job.validate(&j), Vec::new());
        let mut always = job();
        always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        let mut always = defaulted(&Job, always);
        Job.prepare_create(&mut always);
        assert_eq!(
            Job.validate(&always)[0].to_string(),
            r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#
        );
        let mut new = j.clone();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        assert!(Job.validate_update(&new, &j)[0].to_string().starts_with("spec.template: Invalid value"));
        assert_eq!(Job.cells(&j, 0)[2], "0/1");
        assert_eq!(Job.cells(&j, 0)[1], "Running");
    }
    #[test]
    fn names_and_labels_fit() {
        let made = |change: Value| {
            let mut j = job();
            crate::patch::merge(&mut j, &change).expect("a patch");
            let mut j = defaulted(&Job, j);
            Job.prepare_create(&mut j);
            Job.validate(&j).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let long = "j".repeat(61);
        let of = |key: &str| json!({"spec": {"template": {"metadata": {"labels": {key: "x"}}}}});
        for (change, want) in [
            (json!({}), String::new()),
            (
                of("job-name"),
                "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u\",\"job-name\":\"x\"}: must be 'j'".into(),
            ),
            (
                json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}}}),
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not auto-generated".into(),
            ),
            (
                json!({"metadata": {"name": long}, "spec": {"completionMode": "Indexed", "completions": 11}}),
                format!("metadata.name: Invalid value: {long:?}: will not able to create pod with invalid DNS label: {long}-10"),
            ),
            (json!({"metadata": {"name": long}, "spec": {"completionMode": "Indexed", "completions": 10}}), String::new()),
        ] {
            assert_eq!(made(change.clone()), want, "{change}");
        }
    }

    #[test]
    fn what_of_a_job_may_change() {
        let mut old = defaulted(&Job, job());
        old["spec"]["completionMode"] = json!("Indexed");
        let mut new = old.clone();
        new["spec"]["completions"] = json!(3);
        assert_eq!(
            Job.validate_update(&new, &old)[0].to_string(),
            "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
        );
        new["spec"]["parallelism"] = json!(3);
        assert!(Job.validate_update(&new, &old).is_empty());
        for (affinity, suspended, allowed) in [
            (json!({"nodeAffinity": {"a": 1}}), true, true),
            (json!({"nodeAffinity": {"a": 1}}), false, false),
            (json!({"podAffinity": {"a": 1}}), true, false),
        ] {
            let (mut new, mut old) = (old.clone(), old.clone());
            old["spec"]["suspend"] = json!(suspended);
            new["spec"]["template"]["spec"]["affinity"] = affinity.clone();
            assert_eq!(Job.validate_update(&new, &old).is_empty(), allowed, "{affinity}");
            old["spec"]["template"]["spec"]["affinity"] = affinity;
            new["spec"]["template"]["spec"]["affinity"] = Value::Null;
            assert_eq!(Job.validate_update(&new, &old).is_empty(), allowed);
        }
        for (suspended, active, allowed) in [(true, 0, true), (true, 1, false), (false, 0, false)] {
            let (mut new, mut old) = (old.clone(), old.clone());
            old["spec"]["suspend"] = json!(suspended);
            old["status"] = json!({"active": active, "startTime": "2026-01-01T00:00:00Z"});
            new["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
            new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
            assert_eq!(Job.validate_update(&new, &old).is_empty(), allowed, "{suspended} {active}");
        }
    }
}
