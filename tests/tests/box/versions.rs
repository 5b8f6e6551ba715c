//! What clients of other times and kinds are told: old groups, tables, discovery, the stock kubectl.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: old_groups, tables, discovery, openapi, applies, reads, called_as_kubectl)
}

/// As its author published it in 2019: no selector.
fn old_deployment() -> Value {
    json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "old"}, "spec": {"replicas": 1,
        "template": {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}}}})
}

async fn old_groups(cx: Cx) {
    let reply = cx.api.try_post(&cx.of("extensions/v1beta1", "deployments"), &old_deployment()).await;
    let warnings = reply.warnings().join("\n");
    assert!(
        warnings.starts_with("299 - ") && warnings.contains("extensions/v1beta1 Deployment is deprecated"),
        "{warnings}"
    );
    let made = reply.ok();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["selector"]["matchLabels"]["app"]),
        (&json!("extensions/v1beta1"), &json!("old"))
    );
    let new = cx.api.try_get(&cx.of("apps/v1", "deployments/old")).await;
    assert!(new.warnings().is_empty());
    let new = new.ok();
    assert_eq!((&new["apiVersion"], &new["metadata"]["uid"]), (&json!("apps/v1"), &made["metadata"]["uid"]));
    for group in ["apps/v1beta1", "apps/v1beta2"] {
        assert_eq!(cx.api.get(&cx.of(group, "deployments/old")).await["apiVersion"], group);
    }
    // and it works: one pod of it
    cx.api
        .wait("has a pod", &cx.core("pods?labelSelector=app%3Dold"), SOON, |l| super::crud::names(l).len() == 1)
        .await;
    cx.api.delete(&cx.of("extensions/v1beta1", "deployments/old")).await;
    cx.api.gone(&cx.of("apps/v1", "deployments/old"), SOON).await;
}

async fn tables(cx: Cx) {
    cx.config_map("a", json!({"x": "1", "y": "2"})).await;
    let request = http::Request::get(cx.core("configmaps/a"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(Vec::new())
        .unwrap();
    let table: Value = cx.api.kube.request(request).await.expect("a table");
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!((&table["kind"], columns), (&json!("Table"), vec!["Name", "Data", "Age"]));
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("a"), &json!(2)));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

async fn discovery(cx: Cx) {
    let core = cx.api.get("/api/v1").await;
    let pods = core["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods").expect("pods");
    assert_eq!(
        (&pods["kind"], &pods["shortNames"], &pods["namespaced"]),
        (&json!("Pod"), &json!(["po"]), &json!(true))
    );
    let groups = cx.api.get("/apis").await;
    let names: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    for group in [
        "apps",
        "batch",
        "discovery.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "scheduling.k8s.io",
        "extensions",
    ] {
        assert!(names.contains(&group), "{group} is not in {names:?}");
    }
    let aggregated = cx.api.kube.list_api_groups_aggregated().await.expect("aggregated discovery");
    assert!(!aggregated.items.is_empty());
    let version = cx.api.get("/version").await;
    assert_eq!(version["major"], "1");
    cx.api.try_get("/apis/no.such/v1").await.refused(404, "NotFound");
}

async fn openapi(cx: Cx) {
    let v2 = cx.api.get("/openapi/v2").await;
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"].is_object());
    let v3 = cx.api.get("/openapi/v3").await;
    let apps = v3["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("apps/v1").to_owned();
    let apps = cx.api.get(&apps).await;
    assert!(apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
}

fn file(cx: &Cx, name: &str, content: &Value) -> String {
    let path = cx.server.dir().join(format!("{}-{name}.json", cx.ns));
    std::fs::write(&path, content.to_string()).expect("the server's directory");
    path.display().to_string()
}

/// The stock kubectl where there is one, and our own.
fn clients(cx: &Cx) -> Vec<&'static str> {
    let mut all = vec!["skiff ctl"];
    all.extend(cx.kubectl(&["version", "--client"]).map(|_| "kubectl"));
    all
}

fn run(cx: &Cx, client: &str, args: &[&str]) -> (bool, String) {
    if client == "kubectl" { cx.kubectl(args).expect("it is there") } else { cx.ctl(args) }
}

async fn applies(cx: Cx) {
    for client in clients(&cx) {
        let says = |args: &[&str], succeeds: bool, wants: &[&str]| {
            let (ok, out) = run(&cx, client, args);
            assert!(ok == succeeds && wants.iter().all(|w| out.contains(w)), "{client} {args:?}: {out}");
        };
        let old = file(&cx, "old", &old_deployment());
        says(&["apply", "-f", &old], true, &["deployment.extensions/old created", "Warning: extensions/v1beta1"]);
        says(&["apply", "-f", &old], true, &["deployment.extensions/old unchanged"]);
        let mut three = old_deployment();
        three["spec"]["replicas"] = 3.into();
        says(&["apply", "-f", &file(&cx, "three", &three)], true, &["deployment.extensions/old configured"]);
        cx.api
            .wait("has three", &cx.core("pods?labelSelector=app%3Dold"), SOON, |l| super::crud::names(l).len() == 3)
            .await;
        let typo = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dta": {}});
        says(&["apply", "-f", &file(&cx, "typo", &typo)], false, &[r#"unknown field "dta""#]);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        let map = file(&cx, "map", &map);
        says(&["apply", "--server-side", "-f", &map], true, &["configmap/a serverside-applied"]);
        says(
            &["delete", "-f", &map, "-f", &old],
            true,
            &[r#"configmap "a" deleted"#, r#"deployment.extensions "old" deleted"#],
        );
        cx.api
            .wait("has none", &cx.core("pods?labelSelector=app%3Dold"), SOON, |l| super::crud::names(l).is_empty())
            .await;
    }
}

async fn reads(cx: Cx) {
    cx.config_map("a", json!({"k": "v"})).await;
    for client in clients(&cx) {
        for (args, want) in [
            (&["get", "configmaps"][..], "kube-root-ca.crt"),
            (&["get", "cm", "a", "-o", "jsonpath={.data.k}"], "v"),
            (&["get", "cm/a", "-o", "name"], "configmap/a"),
            (&["get", "cm", "a", "-o", "yaml"], "kind: ConfigMap"),
            (&["get", "cm", "a", "-o", "custom-columns=N:.metadata.name,K:.data.k"], "a     v"),
            (&["describe", "cm", "a"], "Data"),
            (&["explain", "deployment.spec.strategy"], "RollingUpdate"),
            (&["api-resources", "--api-group=apps"], "statefulsets"),
            (&["api-versions"], "apps/v1"),
            (&["cluster-info"], "is running at"),
            (&["version"], "Server Version: v1.36"),
            (&["create", "deployment", "d", "--image=x"], "deployment.apps/d created"),
            (&["get", "all"], "deployment.apps/d"),
            (&["rollout", "history", "deployment/d"], "REVISION"),
            (&["scale", "deployment/d", "--replicas=2"], "deployment.apps/d scaled"),
            (&["set", "image", "deployment/d", "x=y"], "deployment.apps/d image updated"),
            (&["expose", "deployment/d", "--port=80"], "service/d exposed"),
            (&["label", "cm", "a", "x=y"], "configmap/a labeled"),
            (&["get", "cm", "-l", "x=y", "--show-labels"], "x=y"),
            (&["annotate", "cm", "a", "x=y"], "configmap/a annotated"),
            (&["wait", "--for=jsonpath={.data.k}=v", "cm/a"], "condition met"),
            (
                &["patch", "cm", "a", "-p", r#"{"metadata":{"labels":{"x":null},"annotations":{"x":null}}}"#],
                "configmap/a patched",
            ),
            (&["delete", "deployment/d", "service/d"], r#"deployment.apps "d" deleted"#),
            (&["auth", "can-i", "get", "pods"], "yes"),
        ] {
            let (ok, out) = run(&cx, client, args);
            assert!(ok && out.contains(want), "{client} {args:?}: {out}");
        }
        let (ok, out) = run(&cx, client, &["get", "cm", "none"]);
        assert!(!ok && out.contains(r#"Error from server (NotFound): configmaps "none" not found"#), "{client}: {out}");
    }
}

async fn called_as_kubectl(cx: Cx) {
    let link = cx.server.dir().join("kubectl");
    std::os::unix::fs::symlink(tests::machine::skiff(), &link).expect("the server's directory");
    let out = tests::machine::succeed(cx.server.command(&link).args(["get", "namespace", &cx.ns]));
    assert!(out.contains(&cx.ns) && out.contains("Active"), "{out}");
}
