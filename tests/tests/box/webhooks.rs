//! Admission webhooks, served by the test, and admission policies.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::{Cx, SOON, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub fn trials() -> Vec<Trial> {
    let mut trials = crate::trials!(ControlPlane: mutating_and_validating, what_fails, only_what_is_meant, scale_and_delete, again,
        validating_policies, parameters, mutating_policies, type_checking, custom_resources, converted_fields, connections, posted);
    trials.push(Trial::test("webhooks::a_server_starts_without_its_webhooks", || {
        a_server_starts_without_its_webhooks();
        Ok(())
    }));
    trials
}

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook in this process: what it says is told by the path, what it was asked is kept.
#[derive(Clone)]
struct Hook {
    address: std::net::SocketAddr,
    ca: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    async fn serve() -> Hook {
        let now = jiff::Timestamp::now();
        let ca = pki::Authority::generate("webhook", now).expect("a CA");
        let profile = pki::Profile::server("webhook", ["127.0.0.1".to_owned()]);
        let identity = pki::Identity::issue(&ca, &profile, now).expect("a certificate");
        let mut tls = pki::server_config(&identity, &ca).expect("TLS");
        Arc::make_mut(&mut tls).alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hook = Hook { address, ca: STANDARD.encode(ca.pem().as_bytes()), asked: Arc::default() };
        let (acceptor, this) = (TlsAcceptor::from(tls), hook.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, this) = (acceptor.clone(), this.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let mut bytes = Vec::new();
                    let (path, body) = loop {
                        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(request) = request(&bytes) {
                            break request;
                        }
                    };
                    if path == "/slow" {
                        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                    }
                    let answer = this.answer(&path, body).to_string();
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
                    let _ = stream.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        hook
    }

    /// Paints have their colour in `spec.colour`, in v2 in `spec.shade.name`.
    fn convert(&self, review: &Value) -> Value {
        let request = &review["request"];
        let version = &request["desiredAPIVersion"];
        let mut objects = request["objects"].clone();
        for object in objects.as_array_mut().into_iter().flatten() {
            let colour =
                [&object["spec"]["colour"], &object["spec"]["shade"]["name"]].into_iter().find(|c| c.is_string());
            let colour = colour.cloned().unwrap_or_default();
            let two = version.as_str().is_some_and(|v| v.ends_with("/v2"));
            object["spec"] = if two { json!({"shade": {"name": colour}}) } else { json!({"colour": colour}) };
            object["apiVersion"] = version.clone();
        }
        let response = json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects});
        json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response})
    }

    fn answer(&self, path: &str, review: Value) -> Value {
        if review["kind"] == "ConversionReview" {
            return self.convert(&review);
        }
        let request = review["request"].clone();
        let patch = |operations: Value| json!({"patch": STANDARD.encode(operations.to_string().as_bytes()), "patchType": "JSONPatch"});
        let label = |key: &str| patch(json!([{"op": "add", "path": "/metadata/labels", "value": {key: "yes"}}]));
        let mut response = match path {
            "/deny" => json!({"allowed": false, "status": {"message": "not here", "code": 403}}),
            "/label" => label("hooked"),
            "/data" => patch(json!([{"op": "add", "path": "/data/added", "value": "1"}])),
            "/replicas" => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
            // once the label is there
            "/late" if request["object"]["data"]["first"].is_null() => json!({}),
            "/late" => patch(json!([{"op": "add", "path": "/data/late", "value": "1"}])),
            "/first" if request["object"]["data"]["first"].is_string() => json!({}),
            "/first" => patch(json!([{"op": "add", "path": "/data/first", "value": "1"}])),
            "/widget" => patch(
                json!([{"op": "replace", "path": "/spec/size", "value": 7}, {"op": "add", "path": "/spec/nope", "value": 1}]),
            ),
            "/user" => patch(json!([{"op": "replace", "path": "/spec/user", "value": "nobody"}])),
            "/container" => patch(json!([{"op": "replace", "path": "/container", "value": "other"}])),
            "/wrong" => json!({"uid": "another"}),
            "/warn" => json!({"warnings": ["mind the gap"]}),
            _ => json!({}),
        };
        for (key, value) in [("uid", request["uid"].clone()), ("allowed", json!(true))] {
            if response[key].is_null() {
                response[key] = value;
            }
        }
        self.asked.lock().push((path.to_owned(), request));
        json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
    }

    fn asked(&self, path: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(p, _)| p == path).map(|(_, r)| r.clone()).collect()
    }

    /// A webhook at `path` for writes of `resources` in the test's namespace.
    fn entry(&self, cx: &Cx, path: &str, resources: &[&str], change: Value) -> Value {
        let mut entry = json!({
            "name": format!("{}.hooks.test", path.trim_start_matches('/')), "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": {"url": format!("https://{}{path}", self.address), "caBundle": self.ca},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cx.ns}},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}],
        });
        for (k, v) in change.as_object().into_iter().flatten() {
            entry[k] = v.clone();
        }
        entry
    }
}

fn request(bytes: &[u8]) -> Option<(String, Value)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let path = head.split(' ').nth(1)?.split('?').next()?.to_owned();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let body = bytes.get(end..end + length.unwrap_or(0_usize))?;
    Some((path, serde_json::from_slice(body).ok()?))
}

/// Makes a configuration of the test's own name; it goes with the server.
async fn configure(cx: &Cx, kind: &str, webhooks: Value) {
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    let tree = json!({"metadata": {"name": format!("{}-{}", cx.ns, kind.to_lowercase())}, "webhooks": webhooks});
    cx.api.post(&format!("{GROUP}/{plural}"), tree).await;
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

async fn mutating_and_validating(cx: Cx) {
    let hook = Hook::serve().await;
    let configmaps = ["configmaps"];
    configure(
        &cx,
        "Mutating",
        json!([hook.entry(&cx, "/label", &configmaps, json!({})), hook.entry(&cx, "/data", &configmaps, json!({}))]),
    )
    .await;
    let refused = json!({"objectSelector": {"matchLabels": {"hooked": "yes"}}, "matchConditions": [
        {"name": "named", "expression": "object.metadata.name.startsWith('bad')"}]});
    configure(
        &cx,
        "Validating",
        json!([hook.entry(&cx, "/deny", &configmaps, refused), hook.entry(&cx, "/warn", &configmaps, json!({}))]),
    )
    .await;

    let made = cx.api.try_post(&cx.core("configmaps"), &config_map("good")).await;
    assert_eq!(made.warnings(), ["299 - \"mind the gap\""]);
    let made = made.ok();
    assert_eq!((&made["metadata"]["labels"]["hooked"], &made["data"]["added"]), (&json!("yes"), &json!("1")));
    let request = &hook.asked("/label")[0];
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&request["namespace"], &request["name"]), (&json!(cx.ns), &json!("good")));
    assert_eq!((&request["oldObject"], &request["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!(request["userInfo"]["username"], "system:admin");
    assert!(request["object"]["metadata"]["labels"].is_null());

    let denied = cx.api.try_post(&cx.core("configmaps"), &config_map("bad")).await;
    assert_eq!(denied.code, 403);
    assert_eq!(denied.message(), r#"admission webhook "deny.hooks.test" denied the request: not here"#);
    cx.api.gone(&cx.core("configmaps/bad"), SOON).await;

    let dry = cx.api.try_post(&format!("{}?dryRun=All", cx.core("configmaps")), &config_map("dry")).await.ok();
    assert_eq!(dry["metadata"]["labels"]["hooked"], "yes");
    assert!(hook.asked("/label").iter().any(|r| r["dryRun"] == true));
    // gone with its configuration, at once
    cx.api.delete(&format!("{GROUP}/mutatingwebhookconfigurations/{}-mutating", cx.ns)).await;
    let plain = cx.api.post(&cx.core("configmaps"), config_map("plain")).await;
    assert!(plain["metadata"]["labels"].is_null());
}

async fn what_fails(cx: Cx) {
    let hook = Hook::serve().await;
    let of = |path: &str, name: &str, change: Value| {
        let mut entry = hook.entry(&cx, path, &["configmaps"], change);
        entry["objectSelector"] = json!({"matchLabels": {"case": name}});
        entry["name"] = json!(format!("{name}.hooks.test"));
        entry
    };
    let nowhere = json!({"url": "https://127.0.0.1:1/x"});
    let service = json!({"service": {"namespace": cx.ns, "name": "none", "path": "/x"}});
    let other = json!({"url": format!("https://{}/x", hook.address), "caBundle": Hook::serve().await.ca});
    let all = json!([
        of("/x", "distrusted", json!({"clientConfig": other})),
        of("/wrong", "wrong", json!({})),
        of("/slow", "slow", json!({"timeoutSeconds": 1})),
        of("/x", "nowhere", json!({"clientConfig": nowhere})),
        of("/x", "ignored", json!({"clientConfig": nowhere, "failurePolicy": "Ignore"})),
        of("/x", "service", json!({"clientConfig": service})),
        of("/label", "patching", json!({})),
        of("/x", "conditions", json!({"matchConditions": [{"name": "n", "expression": "object.nope == 1"}]})),
    ]);
    configure(&cx, "Validating", all).await;
    let answer = async |name: &str| {
        let mut tree = config_map(name);
        tree["metadata"]["labels"] = json!({"case": name});
        cx.api.try_post(&cx.core("configmaps"), &tree).await
    };
    for (name, parts) in [
        ("wrong", vec!["received invalid webhook response: expected response.uid="]),
        (
            "slow",
            vec!["failed to call webhook: Post \"https://127.0.0.1:", "/slow?timeout=1s\": context deadline exceeded"],
        ),
        (
            "nowhere",
            vec![
                "failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused",
            ],
        ),
        ("distrusted", vec!["tls: failed to verify certificate: x509: certificate signed by unknown authority"]),
        ("service", vec!["Post \"https://none.", ".svc:443/x?timeout=10s\": service \"none\" not found"]),
        ("patching", vec!["received invalid webhook response: validating webhook may not return response.patch"]),
    ] {
        let reply = answer(name).await;
        let head = format!("Internal error occurred: failed calling webhook \"{name}.hooks.test\": ");
        assert!(reply.message().starts_with(&head), "{}", reply.message());
        assert!(parts.iter().all(|p| reply.message().contains(p)), "{}", reply.message());
        reply.refused(500, "InternalError");
    }
    answer("ignored").await.ok();
    let reply = answer("conditions").await;
    assert!(
        reply.message().contains("expression 'object.nope == 1' resulted in error: no such key: nope"),
        "{}",
        reply.message()
    );
    reply.refused(403, "Forbidden");
}

async fn only_what_is_meant(cx: Cx) {
    let hook = Hook::serve().await;
    let rule = |versions: &str, resources: &[&str]| {
        json!({"rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"],
        "apiVersions": [versions], "resources": resources}]})
    };
    let mut exact = rule("v1", &["deployments"]);
    exact["matchPolicy"] = json!("Exact");
    let mut old = rule("v1beta2", &["deployments"]);
    old["name"] = json!("old.hooks.test");
    let mut status = rule("*", &["deployments/*"]);
    status["matchConditions"] = json!([{"name": "s", "expression": "has(request.subResource)"},
        {"name": "a", "expression": "authorizer.group('apps').resource('deployments').namespace(request.namespace).check('delete').allowed()"}]);
    configure(
        &cx,
        "Validating",
        json!([
            hook.entry(&cx, "/exact", &[], exact),
            hook.entry(&cx, "/old", &[], old),
            hook.entry(&cx, "/status", &[], status)
        ]),
    )
    .await;
    let deployment = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    cx.api.post(&cx.of("apps/v1", "deployments"), deployment("new")).await;
    // controllers write, too
    let created = || hook.asked("/exact").iter().filter(|r| r["operation"] == "CREATE").count();
    assert_eq!(created(), 1);
    let shown = &hook.asked("/old")[0];
    assert_eq!(shown["object"]["apiVersion"], "apps/v1beta2");
    assert_eq!(shown["kind"]["version"], "v1beta2");
    assert_eq!((&shown["requestKind"]["version"], &shown["requestResource"]["version"]), (&json!("v1"), &json!("v1")));
    cx.api.post(&cx.of("apps/v1beta2", "deployments"), deployment("old")).await;
    assert_eq!(created(), 1, "another version is not exactly this one");
    let status = json!({"status": {"observedGeneration": 1}});
    cx.api.merge(&format!("{}/status", cx.of("apps/v1", "deployments/new")), status).await;
    let asked = hook.asked("/status");
    assert!(
        asked.iter().any(|r| r["subResource"] == "status"
            && r["operation"] == "UPDATE"
            && r["oldObject"]["kind"] == "Deployment")
    );
}

async fn scale_and_delete(cx: Cx) {
    let hook = Hook::serve().await;
    configure(&cx, "Mutating", json!([hook.entry(&cx, "/replicas", &["deployments/scale"], json!({}))])).await;
    let condition = json!({"rules": [{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "matchConditions": [{"name": "old", "expression": "object == null && oldObject.metadata.name == 'kept'"}]});
    configure(&cx, "Validating", json!([hook.entry(&cx, "/deny", &[], condition)])).await;
    let path = cx.of("apps/v1", "deployments");
    cx.api
        .post(
            &path,
            json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        )
        .await;
    let scale = cx.api.merge(&format!("{path}/d/scale"), json!({"spec": {"replicas": 1}})).await;
    assert_eq!(scale["spec"]["replicas"], 3);
    let request = &hook.asked("/replicas")[0];
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&request["object"]["spec"]["replicas"], &request["subResource"]), (&json!(1), &json!("scale")));
    cx.api.merge(&format!("{path}/d"), json!({"spec": {"replicas": 0}})).await;

    for name in ["kept", "gone"] {
        cx.api.post(&cx.core("configmaps"), config_map(name)).await;
    }
    cx.api.delete(&cx.core("configmaps/gone")).await;
    for path in ["configmaps/kept", "configmaps"] {
        let reply = cx.api.try_delete(&cx.core(path), None).await;
        assert!(reply.message().contains("denied the request: not here"), "{}", reply.body);
    }
    let asked = &hook.asked("/deny")[0];
    assert_eq!(
        (&asked["operation"], &asked["object"], &asked["oldObject"]["data"]["k"]),
        (&json!("DELETE"), &Value::Null, &json!("v"))
    );
    assert_eq!(asked["options"]["kind"], "DeleteOptions");
    cx.api.delete(&format!("{GROUP}/validatingwebhookconfigurations/{}-validating", cx.ns)).await;
}

async fn again(cx: Cx) {
    let hook = Hook::serve().await;
    let entry =
        |path: &str, policy: &str| hook.entry(&cx, path, &["configmaps"], json!({"reinvocationPolicy": policy}));
    configure(&cx, "Mutating", json!([entry("/late", "IfNeeded"), entry("/first", "Never")])).await;
    let made = cx.api.post(&cx.core("configmaps"), config_map("c")).await;
    assert_eq!((&made["data"]["first"], &made["data"]["late"]), (&json!("1"), &json!("1")));
    assert_eq!((hook.asked("/late").len(), hook.asked("/first").len()), (2, 1));
}

/// A webhook for everything that nobody answers: what it is about fails, the server starts, and it can be taken away.
fn a_server_starts_without_its_webhooks() {
    let server = Server::control_plane(&[]);
    server.start();
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    server.run(async {
        let hook = json!({"name": "all.hooks.test", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:1/x"},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
        server.api().await.post(&path, json!({"metadata": {"name": "all"}, "webhooks": [hook]})).await;
    });
    server.stop();
    server.start();
    server.run(async {
        let api = server.api().await;
        let made = "/api/v1/namespaces/default/configmaps";
        api.try_post(made, &config_map("c")).await.refused(500, "InternalError");
        api.delete(&format!("{path}/all")).await;
        api.post(made, config_map("c")).await;
    });
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

async fn validating_policies(cx: Cx) {
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

async fn mutating_policies(cx: Cx) {
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

/// Widgets, served as v1 and v2 with two schemas; v2 is stored.
async fn widgets(cx: &Cx) -> String {
    let group = format!("{}.example.com", cx.ns);
    let version = |name: &str, storage: bool, field: &str| {
        json!({"name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer"}, field: {"type": "string", "default": "plain"}}}}}}})
    };
    let crd = json!({"metadata": {"name": format!("widgets.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [version("v1", false, "old"), version("v2", true, "new")]}});
    define(cx, crd).await;
    group
}

/// Makes a definition, and waits until its kind is served.
async fn define(cx: &Cx, crd: Value) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let name = crd["metadata"]["name"].as_str().expect("a name").to_owned();
    cx.api.post(path, crd).await;
    let established = |o: &Value| {
        let conditions = o["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    };
    cx.api.wait("established", &format!("{path}/{name}"), SOON, established).await;
}

/// Each version of a definition says which of its fields select, whatever is stored.
async fn converted_fields(cx: Cx) {
    let hook = Hook::serve().await;
    let group = format!("{}.example.com", cx.ns);
    let version = |name: &str, storage: bool, field: &str, schema: Value| {
        json!({"name": name, "served": true, "storage": storage, "selectableFields": [{"jsonPath": field}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": schema}}}}})
    };
    let text = json!({"type": "string"});
    let shade = json!({"shade": {"type": "object", "properties": {"name": text}}});
    let webhook = json!({"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://{}/convert", hook.address), "caBundle": hook.ca}});
    let crd = json!({"metadata": {"name": format!("paints.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"plural": "paints", "singular": "paint", "kind": "Paint", "listKind": "PaintList"},
        "conversion": {"strategy": "Webhook", "webhook": webhook},
        "versions": [version("v1", false, ".spec.colour", json!({"colour": text})),
            version("v2", true, ".spec.shade.name", shade)]}});
    define(&cx, crd).await;
    let of = |version: &str| cx.of(&format!("{group}/{version}"), "paints");
    let (v1, v2) = (of("v1"), of("v2"));
    let paint = |name: &str, colour: &str| {
        json!({"apiVersion": format!("{group}/v1"), "kind": "Paint",
        "metadata": {"name": name}, "spec": {"colour": colour}})
    };
    let (mut old, mut new) = (
        cx.api.lines(&format!("{v1}?watch=true&fieldSelector=spec.colour%3Dred")).await,
        cx.api.lines(&format!("{v2}?watch=true&fieldSelector=spec.shade.name%3Dred")).await,
    );
    for (name, colour) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        cx.api.post(&v1, paint(name, colour)).await;
    }
    for (path, selector, want) in [
        (&v1, "spec.colour%3Dred", json!(["a", "c"])),
        (&v1, "spec.colour!%3Dred", json!(["b"])),
        (&v1, "spec.colour%3Dred,metadata.name%3Dc", json!(["c"])),
        (&v1, "spec.colour%3Dblue,metadata.name%3Dc", json!([])),
        (&v2, "spec.shade.name%3Dblue", json!(["b"])),
    ] {
        let list = cx.api.get(&format!("{path}?fieldSelector={selector}")).await;
        let names: Vec<&Value> =
            list["items"].as_array().expect("items").iter().map(|i| &i["metadata"]["name"]).collect();
        assert_eq!(json!(names), want, "{path} {selector}");
    }
    // a page ends where the next begins
    let red = format!("{v1}?fieldSelector=spec.colour%3Dred&limit=1");
    let page = cx.api.get(&red).await;
    let next = page["metadata"]["continue"].as_str().expect("there is more");
    let last = cx.api.get(&format!("{red}&continue={next}")).await;
    assert_eq!((&last["items"][0]["metadata"]["name"], &last["metadata"]["continue"]), (&json!("c"), &Value::Null));
    // the other version's field is none of this one's
    let reply = cx.api.try_get(&format!("{v1}?fieldSelector=spec.shade.name%3Dred")).await;
    assert_eq!((reply.code.as_u16(), reply.message()), (400, "field label not supported: spec.shade.name"));

    cx.api.merge(&format!("{v1}/b"), json!({"spec": {"colour": "red"}})).await;
    cx.api.merge(&format!("{v2}/a"), json!({"spec": {"shade": {"name": "green"}}})).await;
    for (watch, version) in [(&mut old, "v1"), (&mut new, "v2")] {
        for want in [("ADDED", "a"), ("ADDED", "c"), ("ADDED", "b"), ("DELETED", "a")] {
            let (event, object) = watch.event().await;
            assert_eq!((&*event, object["metadata"]["name"].as_str()), (want.0, Some(want.1)), "{version}");
            assert_eq!(object["apiVersion"], format!("{group}/{version}"));
        }
    }
}

async fn custom_resources(cx: Cx) {
    let group = widgets(&cx).await;
    let hook = Hook::serve().await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v2"], "resources": ["widgets"]}]});
    configure(&cx, "Mutating", json!([hook.entry(&cx, "/widget", &[], rules.clone())])).await;
    let path = cx.of(&format!("{group}/v1"), "widgets");
    let widget = |name: &str, size: i64| {
        json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": name},
        "spec": {"size": size}})
    };
    let made = cx.api.post(&path, widget("a", 1)).await;
    // asked in the version of the rule, answered in that of the request; what no schema knows is gone
    let request = &hook.asked("/widget")[0];
    assert_eq!(request["object"]["apiVersion"], format!("{group}/v2"));
    assert_eq!(
        (&request["object"]["spec"]["new"], &request["requestKind"]["version"]),
        (&json!("plain"), &json!("v1"))
    );
    assert_eq!(made["spec"], json!({"size": 7, "old": "plain"}));

    let limits = json!({"paramKind": {"apiVersion": format!("{group}/v2"), "kind": "Widget"},
        "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v2"], "operations": ["CREATE"], "resources": ["widgets"]}]},
        "matchConditions": [{"name": "n", "expression": "object.metadata.name != 'limit'"}],
        "validations": [{"expression": "object.apiVersion.endsWith('/v2') && object.spec.size <= params.spec.size && params.spec.new == 'plain'",
            "messageExpression": "'at most ' + string(params.spec.size)"}]});
    cx.api.delete(&format!("{GROUP}/mutatingwebhookconfigurations/{}-mutating", cx.ns)).await;
    let param = json!({"name": "limit", "parameterNotFoundAction": "Allow"});
    policy(&cx, "Validating", limits, json!({"validationActions": ["Deny"], "paramRef": param})).await;
    cx.api.post(&path, widget("free", 100)).await;
    cx.api.post(&path, widget("limit", 5)).await;
    let reply = cx.api.try_post(&path, &widget("b", 6)).await;
    assert!(reply.message().ends_with("denied request: at most 5"), "{}", reply.message());
    cx.api.post(&path, widget("b", 5)).await;
}

async fn connections(cx: Cx) {
    let hook = Hook::serve().await;
    let rules = json!({"rules": [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec", "services/proxy"]}]});
    configure(&cx, "Validating", json!([hook.entry(&cx, "/deny", &[], rules)])).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    for path in ["pods/p/exec?command=sh&command=-c&stdin=true&container=c", "services/s/proxy/x"] {
        let reply = cx.api.try_get(&cx.core(path)).await;
        assert_eq!(
            (reply.code.as_u16(), reply.message()),
            (403, r#"admission webhook "deny.hooks.test" denied the request: not here"#)
        );
    }
    let asked = hook.asked("/deny");
    assert_eq!(
        asked[0]["object"],
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "container": "c"})
    );
    assert_eq!((&asked[0]["operation"], &asked[0]["name"]), (&json!("CONNECT"), &json!("p")));
    assert_eq!(asked[1]["object"], json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/x"}));
}

async fn posted(cx: Cx) {
    let hook = Hook::serve().await;
    let rule = |operation: &str, group: &str, resources: &[&str]| json!({"failurePolicy": "Ignore", "rules": [{"operations": [operation], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources}]});
    let exec = rule("CONNECT", "", &["pods/exec"]);
    let local = rule("CREATE", "authorization.k8s.io", &["localsubjectaccessreviews"]);
    let mutating = json!([hook.entry(&cx, "/user", &[], local), hook.entry(&cx, "/container", &[], exec)]);
    configure(&cx, "Mutating", mutating).await;
    let writes = rule("CREATE", "", &["bindings", "pods/binding", "pods/eviction"]);
    let tokens = rule("CREATE", "authentication.k8s.io", &["tokenreviews"]);
    configure(&cx, "Validating", json!([hook.entry(&cx, "/deny", &[], writes), hook.entry(&cx, "/seen", &[], tokens)]))
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cx.api.post(&cx.core("pods"), pod).await;

    // reviews, in whatever version they come
    let attributes = json!({"namespace": cx.ns, "verb": "get", "resource": "pods"});
    for (version, groups) in [("v1", "groups"), ("v1beta1", "group")] {
        let path = format!("/apis/authorization.k8s.io/{version}/namespaces/{}/localsubjectaccessreviews", cx.ns);
        let review =
            json!({"spec": {"user": "system:admin", groups: ["system:masters"], "resourceAttributes": attributes}});
        let answer = cx.api.post(&path, review).await;
        assert_eq!(answer["apiVersion"], format!("authorization.k8s.io/{version}"));
        assert_eq!((&answer["spec"]["user"], &answer["spec"][groups][0]), (&json!("nobody"), &json!("system:masters")));
        assert_eq!(answer["status"]["allowed"], true);
    }
    let asked = hook.asked("/user");
    assert_eq!(asked.len(), 2);
    for request in asked {
        assert_eq!(request["object"]["spec"]["groups"][0], "system:masters");
        assert_eq!((&request["kind"]["version"], &request["operation"]), (&json!("v1"), &json!("CREATE")));
    }
    cx.api.post("/apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": {"token": cx.ns}})).await;
    assert!(hook.asked("/seen").iter().any(|r| r["object"]["spec"]["token"] == cx.ns.as_str()));

    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "nowhere"}});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    for (path, tree) in [("bindings", &binding), ("pods/p/binding", &binding), ("pods/p/eviction", &eviction)] {
        let reply = cx.api.try_post(&cx.core(path), tree).await;
        let want = r#"admission webhook "deny.hooks.test" denied the request: not here"#;
        assert_eq!((reply.code.as_u16(), reply.message()), (403, want), "{path}");
    }
    let kinds: Vec<Value> = hook.asked("/deny").iter().map(|r| json!([r["kind"]["kind"], r["name"]])).collect();
    assert_eq!(json!(kinds), json!([["Binding", "p"], ["Binding", "p"], ["Eviction", "p"]]));

    // what a connection asks may be changed
    let reply = cx.api.try_get(&cx.core("pods/p/exec?command=sh&container=c")).await;
    assert_eq!((reply.code.as_u16(), reply.message()), (400, "container other is not valid for pod p"));
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
