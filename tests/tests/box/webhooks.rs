//! Admission and conversion webhooks.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cx, SOON, Server};

use crate::hook::{GROUP, Hook, config_map, configure};
use crate::policies::policy;

pub fn trials() -> Vec<Trial> {
    let mut trials = crate::trials!(ControlPlane: mutating_and_validating, what_fails, only_what_is_meant, scale_and_delete, again,
        custom_resources, converted_fields, connections, posted);
    trials.push(Trial::test("webhooks::a_server_starts_without_its_webhooks", || {
        a_server_starts_without_its_webhooks();
        Ok(())
    }));
    trials
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
