//! Admission policies and the match conditions of webhooks.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::Cx;
use tests::api::MERGE_PATCH;

use crate::policies::policy;

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: match_conditions, validated_deployments, mutated_deployments)
}

fn deployment(name: &str, replicas: u8) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn of_deployments() -> Value {
    json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]})
}

/// Kept as they are written; what does not compile is not accepted.
async fn match_conditions(cx: Cx) {
    for kind in ["mutating", "validating"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations");
        let conditions = |expression: &str| json!([{"name": "c", "expression": expression}]);
        let tree = |expression: &str| {
            json!({"metadata": {"name": format!("{}-{kind}", cx.ns)}, "webhooks": [{"name": "a.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "matchConditions": conditions(expression),
                "rules": [{"operations": ["CREATE"], "apiGroups": ["none.k.io"], "apiVersions": ["v1"], "resources": ["nones"]}]}]})
        };
        let no = cx.api.try_post(&path, &tree("... [] bad expression")).await.refused(422, "Invalid");
        assert!(no["message"].as_str().is_some_and(|m| m.contains("compilation failed")), "{no}");
        let first = "object.metadata.name != 'skip-me'";
        let made = cx.api.post(&path, tree(first)).await;
        assert_eq!(made["webhooks"][0]["matchConditions"], conditions(first));
        let at = format!("{path}/{}-{kind}", cx.ns);
        let mut changed = cx.api.get(&at).await;
        let second = "request.resource.group == 'apps'";
        changed["webhooks"][0]["matchConditions"] = conditions(second);
        cx.api.put(&at, changed.clone()).await;
        assert_eq!(cx.api.get(&at).await["webhooks"][0]["matchConditions"], conditions(second));
        let bad = json!({"webhooks": tree("object.nope(")["webhooks"]});
        let no = cx.api.try_patch(&at, MERGE_PATCH, &bad).await.refused(422, "Invalid");
        assert!(no["message"].as_str().is_some_and(|m| m.contains("compilation failed")), "{no}");
        cx.api.delete(&at).await;
    }
}

async fn validated_deployments(cx: Cx) {
    let spec = json!({"matchConstraints": of_deployments(),
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.replicas % 2 == 1"}],
        "validations": [{"expression": "variables.replicas > 1", "messageExpression": "'got ' + string(object.spec.replicas)"},
            {"expression": "variables.odd", "message": "must be odd", "reason": "Invalid"}]});
    policy(&cx, "Validating", spec, json!({"validationActions": ["Deny"]})).await;
    let path = cx.of("apps/v1", "deployments");
    for (replicas, said) in [(1, "denied request: got 1"), (4, "denied request: must be odd")] {
        let no = cx.api.try_post(&path, &deployment("no", replicas)).await;
        assert!(no.message().ends_with(said), "{}", no.message());
        no.refused(422, "Invalid");
    }
    cx.api.post(&path, deployment("yes", 3)).await;
}

async fn mutated_deployments(cx: Cx) {
    let mutations = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{annotations: {'from': 'policy'}}, spec: Object.spec{replicas: object.spec.replicas + variables.more}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/spec/template/spec/containers/-', value: Object.spec.template.spec.containers{name: 'second', image: 'i'}}]"}}]);
    let spec = json!({"matchConstraints": of_deployments(), "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "variables": [{"name": "more", "expression": "2"}], "mutations": mutations});
    policy(&cx, "Mutating", spec, json!({})).await;
    let made = cx.api.post(&cx.of("apps/v1", "deployments"), deployment("d", 1)).await;
    assert_eq!((&made["spec"]["replicas"], &made["metadata"]["annotations"]["from"]), (&json!(3), &json!("policy")));
    assert_eq!(made["spec"]["template"]["spec"]["containers"][1]["name"], "second");
}
