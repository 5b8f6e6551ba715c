//! Who may what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Api, Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: nobody, service_accounts, no_escalation, bound_tokens, token_secrets, reviews, the_admin)
}

async fn nobody(cx: Cx) {
    let nobody = cx.api.as_bearer(None);
    for path in ["/livez", "/readyz", "/version"] {
        assert_eq!(nobody.try_get(path).await.code, 200, "{path}");
    }
    assert_eq!(cx.api.text("/readyz").await, "ok");
    for path in ["/api", "/apis", "/openapi/v2", "/metrics", "/api/v1/namespaces", "/readyzz"] {
        let code = nobody.try_get(path).await.code.as_u16();
        assert!([401, 403].contains(&code), "{path}: {code}");
    }
    let stranger = cx.api.as_bearer(Some("not.a.token")).try_get("/api/v1/namespaces").await;
    assert_eq!(stranger.refused(401, "Unauthorized")["message"], "Unauthorized");
}

/// A client with a fresh token of a service account.
async fn bearer(cx: &Cx, account: &str) -> Api {
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let made = cx.api.post(&cx.core(&format!("serviceaccounts/{account}/token")), request).await;
    assert!(made["status"]["expirationTimestamp"].is_string());
    cx.api.as_bearer(made["status"]["token"].as_str())
}

async fn role(cx: &Cx, name: &str, account: &str, rules: Value) {
    cx.api.post(&cx.core("serviceaccounts"), json!({"metadata": {"name": account}})).await;
    cx.api
        .post(&cx.of("rbac.authorization.k8s.io/v1", "roles"), json!({"metadata": {"name": name}, "rules": rules}))
        .await;
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": cx.ns}]});
    cx.api.post(&cx.of("rbac.authorization.k8s.io/v1", "rolebindings"), binding).await;
}

async fn service_accounts(cx: Cx) {
    role(
        &cx,
        "reader",
        "robot",
        json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]}]),
    )
    .await;
    cx.config_map("a", json!({"k": "v"})).await;
    for name in ["mine", "yours"] {
        cx.api.post(&cx.core("secrets"), json!({"metadata": {"name": name}})).await;
    }
    let robot = bearer(&cx, "robot").await;
    assert_eq!(robot.get(&cx.core("configmaps/a")).await["data"]["k"], "v");
    robot.get(&cx.core("configmaps")).await;
    robot.get(&cx.core("secrets/mine")).await;
    let no = robot.try_get(&cx.core("secrets/yours")).await.refused(403, "Forbidden");
    let want = format!(
        r#"secrets "yours" is forbidden: User "system:serviceaccount:{0}:robot" cannot get resource "secrets" in API group "" in the namespace "{0}""#,
        cx.ns
    );
    assert_eq!(no["message"], want);
    robot.try_post(&cx.core("configmaps"), &json!({"metadata": {"name": "b"}})).await.refused(403, "Forbidden");
    robot.try_get("/api/v1/namespaces/kube-system/configmaps").await.refused(403, "Forbidden");
    let nodes = robot.try_get("/api/v1/nodes").await.refused(403, "Forbidden");
    assert!(nodes["message"].as_str().is_some_and(|m| m.ends_with("at the cluster scope")), "{nodes}");
    // everyone may ask what is there, and who they are
    robot.get("/api/v1").await;
    // what is taken away is gone at once
    cx.api.delete(&cx.of("rbac.authorization.k8s.io/v1", "rolebindings/reader")).await;
    cx.api.wait("is noticed", "/readyz", SOON, |_| true).await;
    tests::until("the role is gone", SOON, async || {
        let code = robot.try_get(&cx.core("configmaps/a")).await.code;
        if code == 403 { Ok(()) } else { Err(code.to_string()) }
    })
    .await;
}

async fn no_escalation(cx: Cx) {
    role(
        &cx,
        "roles",
        "robot",
        json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create", "update"]}]),
    )
    .await;
    let robot = bearer(&cx, "robot").await;
    let more = json!({"metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let no = robot.try_post(&cx.of("rbac.authorization.k8s.io/v1", "roles"), &more).await.refused(403, "Forbidden");
    assert!(
        no["message"]
            .as_str()
            .is_some_and(|m| m.contains("is attempting to grant RBAC permissions not currently held")),
        "{no}"
    );
}

async fn bound_tokens(cx: Cx) {
    cx.api.post(&cx.core("serviceaccounts"), json!({"metadata": {"name": "robot"}})).await;
    let robot = bearer(&cx, "robot").await;
    robot.get("/api/v1").await;
    cx.api.delete(&cx.core("serviceaccounts/robot")).await;
    tests::until("a token dies with its account", SOON, async || {
        let code = robot.try_get("/api/v1").await.code;
        if code == 401 { Ok(()) } else { Err(code.to_string()) }
    })
    .await;
}

async fn reviews(cx: Cx) {
    let ask = |user: &str, verb: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user,
            "groups": ["system:authenticated"], "resourceAttributes": {"namespace": cx.ns, "verb": verb, "resource": "pods"}}})
    };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(cx.api.post(path, ask("eve", "get")).await["status"]["allowed"], false);
    assert_eq!(cx.api.post(path, ask("system:kube-scheduler", "list")).await["status"]["allowed"], true);
    if let Some((ok, out)) = cx.kubectl(&["auth", "can-i", "delete", "pods", "--as", "eve"]) {
        assert!(!ok && out.contains("no"), "{out}");
    }
}

/// Known by a certificate.
/// A Secret with a token that does not expire, and what becomes of it.
async fn token_secrets(cx: Cx) {
    let account = cx.core("serviceaccounts/robot");
    let body = |name: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token"})
    };
    role(&cx, "reader", "robot", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}])).await;
    let made = cx.api.post(&cx.core("secrets"), body("token")).await;
    let robot = cx.api.as_bearer(Some(&text(&made["data"]["token"])));
    robot.get(&cx.core("configmaps")).await;
    // no account names one by itself, but one that goes is named no more
    assert_eq!(cx.api.get(&account).await["secrets"], Value::Null);
    cx.api.merge(&account, json!({"secrets": [{"name": "token"}, {"name": "another"}]})).await;
    cx.api.delete(&cx.core("secrets/token")).await;
    let rest = |account: &Value| account["secrets"] == json!([{"name": "another"}]);
    cx.api.wait("the secret is forgotten", &account, SOON, rest).await;
    assert_eq!(robot.try_get(&cx.core("configmaps")).await.code, 401);
    // all go with the account
    cx.api.post(&cx.core("secrets"), body("second")).await;
    cx.api.delete(&account).await;
    cx.api.gone(&cx.core("secrets/second"), SOON).await;
    cx.api.try_post(&cx.core("secrets"), &body("nobodys")).await.ok();
    cx.api.gone(&cx.core("secrets/nobodys"), SOON).await;
}

/// Of base64.
fn text(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().expect("a string")).expect("base64");
    String::from_utf8(bytes).expect("text")
}

async fn the_admin(cx: Cx) {
    let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = cx.api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", who).await;
    let groups = me["status"]["userInfo"]["groups"].as_array().expect("groups");
    assert!(groups.contains(&json!("system:masters")), "{me}");
}
