//! Server-side apply over HTTP: entries of subresources, scale, resets, options.

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster};

const APPS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(spec: Value) -> Value {
    let mut tree = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    tree["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    tree
}

async fn apply(c: &Cluster, path: &str, body: &Value) -> Answer {
    c.send("PATCH", path, &[("content-type", "application/apply-patch+yaml")], body.to_string()).await
}

/// `manager/operation/subresource`, with the fields.
fn entries(object: &Value) -> Vec<(String, Value)> {
    let all = object["metadata"]["managedFields"].as_array();
    let name = |e: &Value| {
        let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}/{}", text("manager"), text("operation"), text("subresource"))
    };
    all.into_iter().flatten().map(|e| (name(e), e["fieldsV1"].clone())).collect()
}

fn names(object: &Value) -> Vec<String> {
    entries(object).into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn scale_is_applied_and_owned() {
    let c = Cluster::start().await;
    let one = format!("{APPS}/d");
    let made = apply(&c, &format!("{one}?fieldManager=app"), &deployment(json!({"replicas": 1}))).await;
    assert_eq!(made.code, 201, "{}", made.text());

    let scale = |n: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": n}});
    let refused = apply(&c, &format!("{one}/scale?fieldManager=hpa"), &scale(3)).await.failure();
    assert_eq!(refused, (409, "Apply failed with 1 conflict: conflict with \"app\": .spec.replicas".into()));
    let done = apply(&c, &format!("{one}/scale?fieldManager=hpa&force=true"), &scale(3)).await.json();
    assert_eq!((&done["kind"], &done["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    let now = c.get(&one).await.json();
    let mut all = entries(&now);
    all.retain(|(name, _)| name.contains("hpa"));
    assert_eq!(all, [("hpa/Apply/scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))]);
    assert_eq!(now["spec"]["replicas"], 3);

    // an update of scale steals the field
    let put = c.json("PUT", &format!("{one}/scale?fieldManager=me"), scale(4)).await;
    assert_eq!(put.code, 200, "{}", put.text());
    let now = c.get(&one).await.json();
    assert_eq!(names(&now), ["app/Apply/", "me/Update/scale"]);
    // who applied without it does not get it back
    let again = apply(&c, &format!("{one}?fieldManager=app"), &deployment(json!({}))).await.json();
    assert_eq!(again["spec"]["replicas"], 4);
    let negative = apply(&c, &format!("{one}/scale?fieldManager=hpa&force=1"), &scale(-1)).await.failure();
    assert_eq!(negative.0, 422);
}

#[tokio::test]
async fn entries_are_reset_and_replaced_by_patches() {
    let c = Cluster::start().await;
    let one = format!("{APPS}/d");
    apply(&c, &format!("{one}?fieldManager=app"), &deployment(json!({}))).await;
    let status =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 1}});
    let done = apply(&c, &format!("{one}/status?fieldManager=ctl"), &status).await.json();
    assert_eq!(names(&done), ["app/Apply/", "ctl/Apply/status"]);
    assert_eq!(entries(&done)[1].1, json!({"f:status": {"f:replicas": {}}}));

    // the way of kubectl from client-side apply
    let entry = json!({"manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": "2020-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]);
    let send = |patch: &Value| {
        let (c, one, body) = (&c, one.clone(), patch.to_string());
        async move { c.send("PATCH", &one, &[("content-type", "application/json-patch+json")], body).await }
    };
    let done = send(&patch).await.json();
    assert_eq!(names(&done), ["kubectl/Apply/"]);
    assert_eq!(done["metadata"]["managedFields"][0]["time"], "2020-01-01T00:00:00Z");
    for reset in [json!([]), json!([{}])] {
        send(&patch).await;
        let done = send(&json!([{"op": "replace", "path": "/metadata/managedFields", "value": reset}])).await.json();
        assert_eq!(done["metadata"]["managedFields"], Value::Null, "{reset}");
    }
}

#[tokio::test]
async fn what_an_applier_may_not_say() {
    let c = Cluster::start().await;
    let one = format!("{APPS}/d");
    let mut with_uid = deployment(json!({}));
    with_uid["metadata"]["uid"] = json!("u");
    let mut owned = deployment(json!({}));
    owned["metadata"]["managedFields"] = json!([]);
    let mut twice = deployment(json!({}));
    twice["spec"]["template"]["spec"]["containers"] = json!([{"name": "c", "image": "i"}, {"name": "c", "image": "j"}]);
    let fine = deployment(json!({}));
    for (query, body, code, text) in [
        (
            "fieldManager=a",
            &with_uid,
            409,
            "uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        ("fieldManager=a", &owned, 400, "metadata.managedFields must be nil"),
        (
            "fieldManager=a",
            &twice,
            500,
            "(/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            "fieldManager=a%0A",
            &fine,
            422,
            "fieldManager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)",
        ),
        ("", &fine, 422, "fieldManager: Required value: is required for apply patch"),
    ] {
        let failure = apply(&c, &format!("{one}?{query}"), body).await.failure();
        assert!(failure.0 == code && failure.1.contains(text), "{query}: {failure:?}");
    }
    let made = apply(&c, &format!("{one}?fieldManager=a"), &fine).await;
    assert_eq!(made.code, 201);
    // a revision that is not the object's
    let mut stale = fine.clone();
    stale["metadata"]["resourceVersion"] = json!("987654");
    stale["spec"]["replicas"] = json!(2);
    let failure = apply(&c, &format!("{one}?fieldManager=a"), &stale).await.failure();
    assert!(failure.0 == 409 && failure.1.contains("the object has been modified"), "{failure:?}");
    // force, even without it, is an applier's word
    let plain = c.json("PATCH", &format!("{one}?force=false"), json!({})).await.failure();
    assert!(plain.1.contains("may not be specified for non-apply patch"), "{plain:?}");
    // what goes out of deletion can still be applied to
    let mut held = fine.clone();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(apply(&c, &format!("{one}?fieldManager=a"), &held).await.code, 200);
    c.delete(&one).await;
    held["spec"]["replicas"] = json!(7);
    let done = apply(&c, &format!("{one}?fieldManager=a"), &held).await.json();
    assert_eq!(done["spec"]["replicas"], 7);
    assert!(done["metadata"]["deletionTimestamp"].is_string());
    // and letting go of the finalizer ends it
    let last = apply(&c, &format!("{one}?fieldManager=a"), &fine).await;
    assert_eq!(last.code, 200, "{}", last.text());
    assert_eq!(c.get(&one).await.code, 404);
}

#[tokio::test]
async fn what_no_schema_knows_is_refused_whatever_validation_is_asked_for() {
    let c = Cluster::start().await;
    let mut tree = deployment(json!({}));
    tree["spec"]["template"]["spec"]["containers"][0]["iamge"] = json!("j");
    for validation in ["", "Strict", "Warn", "Ignore"] {
        let path = format!("{APPS}/d?fieldManager=app&fieldValidation={validation}");
        let want = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): \
                    .spec.template.spec.containers[name=\"c\"].iamge: field not declared in schema";
        assert_eq!(apply(&c, &path, &tree).await.failure(), (500, want.into()));
    }
    tree["spec"]["template"]["spec"]["tolerations"] = json!([{"kye": "x"}]);
    let (_, message) = apply(&c, &format!("{APPS}/d?fieldManager=app"), &tree).await.failure();
    assert!(
        message.contains("errors:\n") && message.contains("\n  .spec.template.spec.tolerations[0].kye: "),
        "{message}"
    );
}
