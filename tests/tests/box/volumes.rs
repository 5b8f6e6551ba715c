//! Volumes, as the containers see them.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::Cx;
use tests::pods::{container, pod};

pub fn trials() -> Vec<Trial> {
    crate::trials!(Node: empty_dirs, config_maps, secrets, service_account_token, downward_api, host_paths, sub_paths, absent)
}

/// The kubelet hears of a change at once; how soon a file shows it.
const SYNC: Duration = Duration::from_secs(60);

/// A pod `p` with one volume, at /v.
fn with_volume(script: &str, volume: Value) -> Value {
    let mut p = pod("p", script, json!({"volumes": [{"name": "v"}]}));
    tests::pods::merge(&mut p["spec"]["volumes"][0], volume);
    p["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    p
}

async fn empty_dirs(cx: Cx) {
    let mut p = with_volume("echo data > /v/file; exec sleep 1000", json!({"emptyDir": {}}));
    let mut reader = container("trap 'exit 1' TERM; exec sleep 1000");
    reader["name"] = "reader".into();
    reader["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/r", "readOnly": true}, {"name": "m", "mountPath": "/m"}]);
    p["spec"]["containers"].as_array_mut().unwrap().push(reader);
    p["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    cx.ready_pod(p).await;
    let shared = cx.exec_in("p", "reader", &["cat", "/r/file"]).await;
    assert_eq!(shared.out, "data\n", "{shared:?}");
    assert_ne!(cx.exec_in("p", "reader", &["touch", "/r/x"]).await.code, 0, "read-only");
    let mounts = cx.exec_in("p", "reader", &["grep", " /m tmpfs ", "/proc/mounts"]).await;
    assert_eq!(mounts.code, 0, "{mounts:?}");
}

async fn config_maps(cx: Cx) {
    cx.config_map("cm", json!({"a": "1", "b": "2"})).await;
    cx.ready_pod(with_volume("exec sleep 1000", json!({"configMap": {"name": "cm", "defaultMode": 0o640}}))).await;
    assert_eq!(cx.sh("p", "cat /v/a /v/b; stat -L -c %a /v/a").await, "12640");
    cx.api.merge(&cx.core("configmaps/cm"), json!({"data": {"a": "new", "b": null, "c": "3"}})).await;
    cx.sh_until("p", "cat /v/a; ls /v", SYNC, |out| out == "newa\nc").await;

    let mut items =
        with_volume("cat /v/dir/x", json!({"configMap": {"name": "cm", "items": [{"key": "c", "path": "dir/x"}]}}));
    items["metadata"]["name"] = "items".into();
    assert_eq!(cx.output_of(items).await.trim_end(), "3");
}

async fn secrets(cx: Cx) {
    cx.api.post(&cx.core("secrets"), json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}})).await;
    let script = "cat /v/k; echo; grep ' /v ' /proc/mounts; touch /v/x 2>&1; true";
    let out = cx.output_of(with_volume(script, json!({"secret": {"secretName": "s"}}))).await;
    assert!(
        out.starts_with("hidden\n") && out.contains("tmpfs /v ") && out.contains("Read-only"),
        "in memory, read-only: {out}"
    );
}

async fn service_account_token(cx: Cx) {
    let script =
        "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; grep -c BEGIN ca.crt; cat token";
    let out = cx.output_of(pod("p", script, json!({}))).await;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines[0], lines[1]), (cx.ns.as_str(), "1"));
    let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": lines[2]}});
    let review = cx.api.post("/apis/authentication.k8s.io/v1/tokenreviews", who).await;
    let user = &review["status"]["user"];
    assert_eq!(user["username"], format!("system:serviceaccount:{}:default", cx.ns), "{review}");
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));

    let without = pod("without", "ls /var/run/secrets 2>&1; true", json!({"automountServiceAccountToken": false}));
    assert!(cx.output_of(without).await.contains("No such file"));
}

async fn downward_api(cx: Cx) {
    let mut p = with_volume(
        "exec sleep 1000",
        json!({"downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "requests.cpu", "divisor": "1m"}}]}}),
    );
    p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "10m"}});
    cx.ready_pod(p).await;
    assert_eq!(cx.sh("p", "cat /v/name; echo; cat /v/cpu; echo; cat /v/labels").await, "p\n10\napp=\"p\"");
    cx.api.merge(&cx.core("pods/p"), json!({"metadata": {"labels": {"more": "yes"}}})).await;
    cx.sh_until("p", "cat /v/labels", SYNC, |out| out == "app=\"p\"\nmore=\"yes\"").await;
}

async fn host_paths(cx: Cx) {
    let dir = cx.server.dir().join("host");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("in"), "from the host").unwrap();
    let volume = json!({"hostPath": {"path": dir, "type": "Directory"}});
    assert_eq!(cx.output_of(with_volume("cat /v/in; echo back > /v/out", volume)).await.trim_end(), "from the host");
    assert_eq!(std::fs::read_to_string(dir.join("out")).unwrap(), "back\n");
}

async fn sub_paths(cx: Cx) {
    cx.config_map("cm", json!({"one": "1", "two": "2"})).await;
    let mut p = pod(
        "p",
        "cat /etc/one; ls /a; ls /b",
        json!({"volumes": [
        {"name": "cm", "configMap": {"name": "cm"}}, {"name": "e", "emptyDir": {}}],
        "initContainers": [container("mkdir -p /e/x /e/p; touch /e/x/inside /e/p/mine")]}),
    );
    p["spec"]["initContainers"][0]["name"] = "i".into();
    p["spec"]["initContainers"][0]["volumeMounts"] = json!([{"name": "e", "mountPath": "/e"}]);
    p["spec"]["containers"][0]["env"] =
        json!([{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    p["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "cm", "mountPath": "/etc/one", "subPath": "one"}, {"name": "e", "mountPath": "/a", "subPath": "x"},
        {"name": "e", "mountPath": "/b", "subPathExpr": "$(NAME)"}]);
    assert_eq!(cx.output_of(p).await, "1inside\nmine\n");
}

async fn absent(cx: Cx) {
    cx.create_pod(with_volume("cat /v/k", json!({"configMap": {"name": "late"}}))).await;
    let events = cx.core("events?fieldSelector=reason%3DFailedMount");
    let told = cx
        .api
        .wait("says what is missing", &events, tests::SOON, |l| l["items"].as_array().is_some_and(|i| !i.is_empty()))
        .await;
    assert!(
        told["items"][0]["message"].as_str().is_some_and(|m| m.contains(r#"configmap "late" not found"#)),
        "{told}"
    );
    cx.config_map("late", json!({"k": "better late"})).await;
    cx.log_has_within("p", "better late", SYNC).await;
}
