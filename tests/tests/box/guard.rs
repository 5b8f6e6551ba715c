//! What guards the API: limits, audit, encryption at rest, nodes that read only what is theirs.

use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Api, Cx, SOON, Server};

pub fn trials() -> Vec<Trial> {
    let mut trials = crate::trials!(ControlPlane: too_much, stolen_node, health, metrics, pod_security);
    trials.push(Trial::test("guard::audit_log", || on_its_own(&[], audit_log)));
    trials.push(Trial::test("guard::secrets_at_rest", || on_its_own(&["--secrets-encryption"], secrets_at_rest)));
    let flag = &["--service-account-token-secrets"];
    trials.push(Trial::test("guard::token_secrets_for_all", || on_its_own(flag, token_secrets_for_all)));
    trials
}

/// A control plane with these flags, which has an audit policy too.
fn on_its_own<F, T>(args: &[&str], test: F) -> Result<(), libtest_mimic::Failed>
where
    F: FnOnce(Arc<Server>, Api) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let dir = tempfile::tempdir()?;
    let (policy, log) = (dir.path().join("policy.yaml"), dir.path().join("audit.log"));
    let rules = "rules:\n- {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n- {level: None}\n";
    std::fs::write(
        &policy,
        format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n{rules}"),
    )?;
    let policy = format!("--kube-apiserver-arg=audit-policy-file={}", policy.display());
    let log = format!("--audit-log-path={}", log.display());
    let mut all = vec![policy.as_str(), log.as_str()];
    all.extend(args);
    let server = Arc::new(Server::control_plane(&all));
    server.start();
    let result = server.run({
        let server = server.clone();
        async move { tokio::spawn(async move { test(server.clone(), server.api().await).await }).await }
    });
    match result {
        Ok(()) => Ok(()),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// As before Kubernetes 1.24: every account names a Secret with its token.
async fn token_secrets_for_all(_server: Arc<Server>, api: Api) {
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    let named = |account: &Value| account["secrets"][0]["name"].is_string();
    let account = api.wait("the account has a secret", account, SOON, named).await;
    let name = account["secrets"][0]["name"].as_str().expect("a name");
    assert!(name.starts_with("default-token-"), "{name}");
    let secret = api.get(&format!("/api/v1/namespaces/default/secrets/{name}")).await;
    assert_eq!(secret["type"], "kubernetes.io/service-account-token");
    assert!(["token", "ca.crt", "namespace"].iter().all(|key| secret["data"][key].is_string()), "{secret}");
}

async fn too_much(cx: Cx) {
    let big = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(3 << 20)}});
    let no = cx.api.try_post(&cx.core("configmaps"), &big).await.refused(413, "RequestEntityTooLarge");
    assert_eq!(no["message"], "Request entity too large: limit is 3145728");
    let fine = cx.api.try_get("/livez").await;
    assert_eq!(fine.headers["audit-id"].len(), 36);
}

const HUSH: &str = "aHVzaCBodXNoIGh1c2g=";

async fn audit_log(server: Arc<Server>, api: Api) {
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]);
    let policy = json!({"metadata": {"name": "noted"}, "spec": {"matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "seen"}],
        "auditAnnotations": [{"key": "type", "valueExpression": "object.type"}]}});
    api.post(&format!("{group}/validatingadmissionpolicies"), policy).await;
    let binding =
        json!({"metadata": {"name": "noted"}, "spec": {"policyName": "noted", "validationActions": ["Audit"]}});
    api.post(&format!("{group}/validatingadmissionpolicybindings"), binding).await;
    api.post("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}, "data": {"k": HUSH}})).await;
    let arg = server.server_command();
    let path =
        arg.get_args().find_map(|a| a.to_str()?.strip_prefix("--audit-log-path=").map(str::to_owned)).expect("a path");
    let event = tests::until("the event is in the log", SOON, async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let events = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let mut own = events.filter(|e| e["objectRef"]["name"] == "s" && e["verb"] == "create");
        own.next().ok_or(text.clone())
    })
    .await;
    assert_eq!((&event["stage"], &event["responseStatus"]["code"]), (&json!("ResponseComplete"), &json!(201)));
    assert_eq!(event["user"]["username"], "system:admin");
    let notes = &event["annotations"];
    assert_eq!(notes["noted/type"], "Opaque");
    let failure = notes["validation.policy.admission.k8s.io/validation_failure"].as_str().expect("a note");
    assert!(failure.contains(r#""message":"seen""#), "{failure}");
    assert!(!std::fs::read_to_string(&path).expect("the log").contains(HUSH));
}

fn on_disk(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("the database's directory").any(|e| {
        let bytes = std::fs::read(e.expect("an entry").path()).expect("a file");
        bytes.windows(HUSH.len()).any(|w| w == HUSH.as_bytes())
    })
}

async fn secrets_at_rest(server: Arc<Server>, api: Api) {
    let data = server.data();
    let db = Path::new(&data).join("server/db");
    let all = "/api/v1/namespaces/default/secrets";
    api.post(all, json!({"metadata": {"name": "s"}, "data": {"k": HUSH}})).await;
    assert!(!on_disk(&db), "plain on disk");
    let skiff = |verb: &str| server.skiff(&["secrets-encrypt", verb, "--data-dir", &data]);
    assert!(skiff("status").contains("Encryption Status: Enabled"));
    skiff("rotate-keys");
    skiff("disable");
    assert!(on_disk(&db), "encrypted though disabled");
    skiff("enable");
    assert!(!on_disk(&db), "still plain on disk");
    assert_eq!(api.get(&format!("{all}/s")).await["data"]["k"], HUSH);
}

/// The certificate of a node opens what its own pods name, and no more.
async fn stolen_node(cx: Cx) {
    let node = format!("n-{}", cx.ns);
    let (data, now) = (cx.server.data(), jiff::Timestamp::now());
    let authority = pki::Authority::open(&Path::new(&data).join("server/tls"), "client-ca", now).expect("the server's");
    let stolen = pki::Identity::issue(&authority, &pki::Profile::node(&node), now).expect("a certificate");
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("node.crt"), dir.path().join("node.key"));
    std::fs::write(&certificate, &stolen.certificate).expect("a file");
    std::fs::write(&key, &stolen.key).expect("a file");
    let signed = cx.api.as_certificate(&certificate, &key);
    for name in ["mine", "yours"] {
        cx.api.post(&cx.core("secrets"), json!({"metadata": {"name": name}, "stringData": {"k": "v"}})).await;
        cx.config_map(name, json!({"k": "v"})).await;
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "x", "envFrom": [{"secretRef": {"name": "mine"}}, {"configMapRef": {"name": "mine"}}]}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    for (resource, name, code) in
        [("secrets", "mine", 200), ("configmaps", "mine", 200), ("secrets", "yours", 403), ("configmaps", "yours", 403)]
    {
        let got = signed.try_get(&cx.core(&format!("{resource}/{name}"))).await;
        assert_eq!(got.code, code, "{resource}/{name}: {}", got.body);
    }
    for path in [
        cx.core("secrets"),
        "/api/v1/secrets".into(),
        "/api/v1/configmaps".into(),
        "/apis/rbac.authorization.k8s.io/v1/clusterroles".into(),
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases".into(),
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1".into(),
    ] {
        signed.try_get(&path).await.refused(403, "Forbidden");
    }
    signed.try_delete("/api/v1/nodes/n1", None).await.refused(403, "Forbidden");
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    signed.try_post(&cx.core("serviceaccounts/other/token"), &token).await.refused(403, "Forbidden");
}

async fn health(cx: Cx) {
    for path in ["/livez", "/readyz", "/healthz"] {
        let all = cx.api.text(&format!("{path}?verbose")).await;
        assert!(all.contains("[+]ping ok\n") && all.ends_with(&format!("{} check passed\n", &path[1..])), "{all}");
        let fewer = cx.api.text(&format!("{path}?verbose&exclude=ping")).await;
        assert!(fewer.contains("[+]ping excluded: ok\n"), "{fewer}");
        assert_eq!(cx.api.text(&format!("{path}/ping")).await, "ok");
    }
}

async fn metrics(cx: Cx) {
    cx.config_map("a", json!({"k": "v"})).await;
    let _watch = cx.api.lines(&cx.core("configmaps?watch=1")).await;
    let text = cx.api.text("/metrics").await;
    for family in [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{",
        "apiserver_longrunning_requests{",
        "apiserver_storage_objects{resource=\"configmaps\"}",
        "apiserver_flowcontrol_nominal_limit_seats{",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
        "process_open_fds ",
    ] {
        assert!(text.lines().any(|l| l.starts_with(family)), "{family} is not in\n{text}");
    }
}

async fn pod_security(cx: Cx) {
    let namespace = format!("/api/v1/namespaces/{}", cx.ns);
    let label = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}});
    cx.api.post(&cx.core("pods"), pod("before")).await;
    let merge = "application/merge-patch+json";
    let wrong = cx.api.try_patch(&namespace, merge, &label("strict")).await;
    assert!(wrong.message().ends_with("must be one of privileged, baseline, restricted"), "{}", wrong.message());
    let tightened = cx.api.try_patch(&namespace, merge, &label("baseline")).await;
    assert!(tightened.warnings().iter().any(|w| w.contains("before: host namespaces")), "{:?}", tightened.warnings());
    let refused = cx.api.try_post(&cx.core("pods"), &pod("after")).await;
    let want =
        "pods \"after\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!((refused.code.as_u16(), refused.message()), (403, want));
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let made =
        cx.api.try_post(&cx.of("apps/v1", "deployments"), &json!({"metadata": {"name": "d"}, "spec": spec})).await;
    assert!(made.warnings().iter().any(|w| w.contains("would violate PodSecurity")), "{:?}", made.warnings());
    made.ok();
}
