//! Deployments.

use serde_json::{Value, json};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::core::pod::default_template;
use crate::kinds::table::{containers, count, name, selector};
use crate::kinds::tree::{has, made, number, or, or_zero, text};
use crate::kinds::workload;
use crate::strategy::{AGE, Column, NAME, Scale, age, copy, set};

pub(super) struct Deployment;

impl Strategy for Deployment {
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let status = new.get("status").cloned();
        let mut metadata = new.get("metadata").cloned();
        // upstream's deploymentStatusStrategy: labels are the main resource's
        if let Some(m) = &mut metadata {
            copy(m, &old["metadata"], "labels");
        }
        *new = old.clone();
        set(new, "status", status);
        set(new, "metadata", metadata);
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or(spec, "replicas", 1);
        or(spec, "revisionHistoryLimit", 10);
        or(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = made(spec, "strategy") {
            or_zero(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = made(strategy, "rollingUpdate")
            {
                or(rolling, "maxUnavailable", "25%");
                or(rolling, "maxSurge", "25%");
            }
        }
        if let Some(template) = made(spec, "template") {
            default_template(template);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({})));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        workload::nonnegative(&mut errors, path, spec, "replicas");
        let words = workload::Words { selector: "deployment", template: "ReplicaSet" };
        workload::validate_selector_and_template(&mut errors, path, spec, &words);
        validate_strategy(&mut errors, &path.child("strategy"), &spec["strategy"]);
        for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
            workload::nonnegative(&mut errors, path, spec, field);
        }
        if has(spec, "progressDeadlineSeconds")
            && number(spec, "progressDeadlineSeconds") <= number(spec, "minReadySeconds")
        {
            let value = spec["progressDeadlineSeconds"].clone();
            let detail = "must be greater than minReadySeconds";
            errors.push(field::Error::invalid(&path.child("progressDeadlineSeconds"), value, detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::immutable_selector(new, old)
    }

    fn scale(&self, object: &Value) -> Option<Scale> {
        workload::scale(object)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        workload::status_update(
            new,
            old,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "collisionCount",
            ],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            "readyReplicas",
        )
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Ready", "string"),
                Column::new("Up-to-date", "string"),
                Column::new("Available", "string"),
                AGE,
                Column::wide("Containers", "string"),
                Column::wide("Images", "string"),
                Column::wide("Selector", "string"),
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = containers(&spec["template"]["spec"]);
        vec![
            name(object),
            format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas")).into(),
            count(&status["updatedReplicas"]),
            count(&status["availableReplicas"]),
            age(object, now_seconds),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }
}

/// `ValidateDeploymentStrategy`
fn validate_strategy(errors: &mut Vec<field::Error>, path: &Path, strategy: &Value) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(field::Error::forbidden(&at, detail));
        }
        "Recreate" => {}
        "RollingUpdate" if !has(strategy, "rollingUpdate") => {
            let detail = "this should be defaulted and never be nil";
            errors.push(field::Error::required(&at, detail));
        }
        "RollingUpdate" => {
            workload::int_or_percent(errors, &at.child("maxUnavailable"), &rolling["maxUnavailable"], true);
            workload::int_or_percent(errors, &at.child("maxSurge"), &rolling["maxSurge"], false);
            if workload::is_none(&rolling["maxUnavailable"]) && workload::is_none(&rolling["maxSurge"]) {
                let value = rolling["maxUnavailable"].clone();
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(field::Error::invalid(&at.child("maxUnavailable"), value, detail));
            }
        }
        _ => errors.push(field::Error::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::{defaulted, problems};

    fn deployment() -> Value {
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}}})
    }

    #[test]
    fn a_deployment_gets_upstreams_defaults() {
        let d = defaulted(&Deployment, deployment());
        assert_eq!(d["spec"]["replicas"], 1);
        assert_eq!(d["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(d["spec"]["progressDeadlineSeconds"], 600);
        assert_eq!(
            d["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        let pod = &d["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Always");
        assert!(pod.get("enableServiceLinks").is_none(), "only pods get it");
        assert_eq!(problems(&Deployment, deployment()), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (pointer, value, want) in [
            (
                "/spec/template/metadata/labels",
                json!({"app": "y"}),
                r#"spec.template.metadata.labels: Invalid value: {"app":"y"}: `selector` does not match template `labels`"#,
            ),
            ("/spec/selector", Value::Null, "spec.selector: Required value"),
            (
                "/spec/selector",
                Value::Null,
                r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#,
            ),
            (
                "/spec/template/metadata/labels",
                json!({"app": "x", "a b": ""}),
                "spec.template.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                 for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ),
            (
                "/spec/template/spec",
                json!({"activeDeadlineSeconds": 1, "containers": [{"name": "c", "image": "i"}]}),
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ),
            ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers: Required value"),
        ] {
            let mut d = deployment();
            *d.pointer_mut(pointer).unwrap() = value;
            assert!(problems(&Deployment, d.clone()).iter().any(|p| p == want), "{:?}", problems(&Deployment, d));
        }
        let mut d = deployment();
        d["spec"]["replicas"] = json!(-1);
        d["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
        assert_eq!(
            problems(&Deployment, d),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0"#
            ]
        );
        let mut d = deployment();
        d["spec"]["strategy"] = json!({"type": "X"});
        assert_eq!(
            problems(&Deployment, d),
            [r#"spec.strategy: Unsupported value: {"type":"X"}: supported values: "Recreate", "RollingUpdate""#]
        );
        let (old, mut new) = (deployment(), deployment());
        new["spec"]["selector"]["matchLabels"]["app"] = json!("z");
        assert_eq!(
            Deployment.validate_update(&new, &old)[0].to_string(),
            r#"spec.selector: Invalid value: {"matchLabels":{"app":"z"}}: field is immutable"#
        );
    }

    #[test]
    fn a_status_adds_up() {
        let of = |status: Value| json!({ "status": status });
        let old = of(json!({"collisionCount": 2}));
        for (status, want) in [
            (json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1, "collisionCount": 3}), ""),
            (json!({"collisionCount": 1}), "status.collisionCount: Invalid value: 1: cannot be decremented"),
            (json!({}), "status.collisionCount: Invalid value: 0: cannot be decremented"),
            (
                json!({"replicas": 1, "updatedReplicas": 2, "collisionCount": 2}),
                "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
            ),
            (
                json!({"replicas": 2, "availableReplicas": 1, "collisionCount": 2}),
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
            ),
            (
                json!({"replicas": -1, "collisionCount": 2}),
                "status.replicas: Invalid value: -1: must be greater than or equal to 0; status.updatedReplicas: \
                 Invalid value: 0: cannot be greater than status.replicas",
            ),
        ] {
            let errors = Deployment.validate_status_update(&of(status.clone()), &old);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(
                errors.join("; ").starts_with(want) && errors.is_empty() == want.is_empty(),
                "{status}: {errors:?}"
            );
        }
    }

    #[test]
    fn scale_and_table() {
        let mut d = defaulted(&Deployment, deployment());
        Deployment.set_replicas(&mut d, 3);
        d["status"] = json!({"replicas": 2, "readyReplicas": 1});
        let scale = Deployment.scale(&d).unwrap();
        assert_eq!(scale, Scale { replicas: 3, status_replicas: 2, selector: "app=x".into() });
        let row = Deployment.cells(&d, 0);
        assert_eq!(row[1], "1/3");
        assert_eq!([&row[5], &row[6], &row[7]], ["c", "nginx:1", "app=x"]);
    }
}
