//! Admission policies.

use std::collections::HashMap;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cx, SOON};

use crate::hook::{GROUP, config_map};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: validating, parameters, mutating, type_checking)
}

/// A policy about config maps of the test's namespace, bound.
pub async fn policy(cx: &Cx, kind: &str, spec: Value, binding: Value) {
    let name = format!("{}-{}", cx.ns, kind.to_lowercase());
    let mut spec = spec;
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]});
    }
    let mut bound = json!({"policyName": name, "matchResources": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cx.ns}}}});
    for (k, v) in binding.as_object().into_iter().flatten() {
        bound[k] = v.clone();
    }
    let plural = format!("{}admissionpolicies", kind.to_lowercase());
    cx.api.post(&format!("{GROUP}/{plural}"), json!({"metadata": {"name": name}, "spec": spec})).await;
    let plural = format!("{}admissionpolicybindings", kind.to_lowercase());
    cx.api.post(&format!("{GROUP}/{plural}"), json!({"metadata": {"name": name}, "spec": bound})).await;
}

async fn validating(cx: Cx) {
    let validations = json!([
        {"expression": "variables.short", "messageExpression": "'too long: ' + object.metadata.name", "reason": "Forbidden"},
        {"expression": "!has(object.data) || object.data.all(k, object.data[k] != 'bad')", "message": "no bad data"},
        {"expression": "request.userInfo.username != 'nobody' && namespaceObject.metadata.name == request.namespace"},
        {"expression": "object.metadata.name != 'may' || authorizer.requestResource.check('create').allowed()"}]);
    let spec = json!({"variables": [{"name": "short", "expression": "object.metadata.name.size() < 10"}], "validations": validations,
        "matchConditions": [{"name": "mine", "expression": "object.metadata.name != 'kube-root-ca.crt'"}]});
    policy(&cx, "Validating", spec, json!({"validationActions": ["Deny"]})).await;
    for name in ["good", "may"] {
        cx.api.post(&cx.core("configmaps"), config_map(name)).await;
    }
    let name = format!("{}-validating", cx.ns);
    let long = cx.api.try_post(&cx.core("configmaps"), &config_map("much-too-long")).await;
    let text = format!(
        "configmaps \"much-too-long\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: too long: much-too-long"
    );
    assert_eq!(long.message(), text);
    long.refused(403, "Forbidden");
    let bad =
        cx.api.try_patch(&cx.core("configmaps/good"), tests::api::MERGE_PATCH, &json!({"data": {"x": "bad"}})).await;
    assert!(bad.message().ends_with("denied request: no bad data"), "{}", bad.message());
    bad.refused(422, "Invalid");
    let path = format!("{GROUP}/validatingadmissionpolicybindings/{name}");
    cx.api.merge(&path, json!({"spec": {"validationActions": ["Warn"]}})).await;
    let warned = cx.api.try_post(&cx.core("configmaps"), &config_map("much-too-long")).await;
    assert!(
        warned.warnings()[0].contains("Validation failed for ValidatingAdmissionPolicy"),
        "{:?}",
        warned.warnings()
    );
    warned.ok();

    let wrong = json!({"metadata": {"name": "wrong"}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["pods"]}]}, "validations": [{"expression": "object.x =="}]}});
    let reply = cx.api.try_post(&format!("{GROUP}/validatingadmissionpolicies"), &wrong).await;
    assert!(
        reply
            .message()
            .contains("spec.validations[0].expression: Invalid value: \"object.x ==\": compilation failed: ERROR")
    );
    reply.refused(422, "Invalid");
}

async fn parameters(cx: Cx) {
    let constraints = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"]}], "objectSelector": {"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}});
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": constraints, "validations": [
        {"expression": "params == null || object.data.k in params.data", "messageExpression": "params.metadata.name + ' does not know it'"}],
        "matchConditions": [{"name": "m", "expression": "object.metadata.name.startsWith('x')"}]});
    let param = json!({"name": "known", "namespace": cx.ns, "parameterNotFoundAction": "Deny"});
    policy(&cx, "Validating", spec, json!({"validationActions": ["Deny"], "paramRef": param})).await;
    let none = cx.api.try_post(&cx.core("configmaps"), &config_map("x1")).await;
    assert!(
        none.message().ends_with(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        ),
        "{}",
        none.message()
    );
    cx.api
        .post(
            &cx.core("configmaps"),
            json!({"metadata": {"name": "known", "labels": {"role": "params"}}, "data": {"other": ""}}),
        )
        .await;
    let unknown = cx.api.try_post(&cx.core("configmaps"), &config_map("x1")).await;
    assert!(unknown.message().ends_with("denied request: known does not know it"), "{}", unknown.message());
    cx.api.merge(&cx.core("configmaps/known"), json!({"data": {"v": ""}})).await;
    cx.api.post(&cx.core("configmaps"), config_map("x1")).await;
    // by labels: every one of them counts
    let path = format!("{GROUP}/validatingadmissionpolicybindings/{}-validating", cx.ns);
    let selector = json!({"selector": {"matchLabels": {"role": "params"}}, "name": null});
    cx.api.merge(&path, json!({"spec": {"paramRef": selector}})).await;
    cx.api.post(&cx.core("configmaps"), config_map("x2")).await;
    cx.api
        .post(
            &cx.core("configmaps"),
            json!({"metadata": {"name": "stricter", "labels": {"role": "params"}}, "data": {}}),
        )
        .await;
    let reply = cx.api.try_post(&cx.core("configmaps"), &config_map("x3")).await;
    assert!(reply.message().contains("denied request: "), "{}", reply.message());
}

async fn mutating(cx: Cx) {
    let mutations = json!([
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'by': 'policy'}}, data: {'count': string(object.data.size())}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/data/k', value: 'v'}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'x'}]"}}]);
    let mine = json!([{"name": "m", "expression": "object.metadata.name != 'kube-root-ca.crt'"}]);
    policy(
        &cx,
        "Mutating",
        json!({"mutations": mutations, "reinvocationPolicy": "Never", "matchConditions": mine}),
        json!({}),
    )
    .await;
    let made = cx.api.post(&cx.core("configmaps"), config_map("c")).await;
    assert_eq!(made["metadata"]["labels"]["by"], "policy");
    assert_eq!((&made["data"]["count"], &made["data"]["k"]), (&json!("1"), &json!("v")));
    assert_eq!(made["metadata"]["labels"]["a/b"], "x");
    let mut other = config_map("other");
    other["data"] = json!({"k": "w"});
    let made = cx.api.post(&cx.core("configmaps"), other).await;
    assert_eq!(
        (&made["metadata"]["labels"]["by"], &made["metadata"]["labels"]["a/b"]),
        (&json!("policy"), &Value::Null)
    );
    let mut broken = config_map("broken");
    broken["data"] = Value::Null;
    let reply = cx.api.try_post(&cx.core("configmaps"), &broken).await;
    assert!(reply.message().contains("denied request: expression 'Object{"), "{}", reply.message());
    assert_eq!(reply.code, 403);
}

async fn type_checking(cx: Cx) {
    let constraints = json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["deployments"]}]});
    let spec = json!({"matchConstraints": constraints, "validations": [{"expression": "object.spec.replicas > '1'"},
        {"expression": "object.spec.replicas > 1"}]});
    policy(&cx, "Validating", spec, json!({"validationActions": ["Deny"]})).await;
    let path = format!("{GROUP}/validatingadmissionpolicies/{}-validating", cx.ns);
    let policy = cx.api.wait("looked at", &path, SOON, |p| p["status"]["observedGeneration"] == 1).await;
    let warnings: HashMap<&str, &str> = policy["status"]["typeChecking"]["expressionWarnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .map(|w| (w["fieldRef"].as_str().expect("a field"), w["warning"].as_str().expect("a text")))
        .collect();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings["spec.validations[0].expression"].contains("found no matching overload for '_>_'"),
        "{warnings:?}"
    );
}
