//! What single kinds promise beyond their life: immutability, finalizers, budgets, scale, tokens, discovery.

use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::api::MERGE_PATCH;
use tests::{Cx, SOON};

use crate::crud::names;

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: typed_fields, custom_fields, selectable_fields, aggregated_discovery, immutable, finalized,
        pods_go_first, budgets, scales, root_ca, tokens, subject_reviews, runtime_overhead, inline_volumes, sysctl_names)
}

fn deployment(more: &str) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "d"{more}}}, "spec": {{"replicas": 0, "paused": true, "paused": false,
        "unknown1": 1, "selector": {{"matchLabels": {{"a": "b"}}}}, "template": {{"metadata": {{"labels": {{"a": "b"}}}},
        "spec": {{"containers": [{{"name": "c", "image": "i"}}]}}}}}}}}"#
    )
}

/// Unknown and repeated fields of a built-in kind, as JSON and as YAML.
async fn typed_fields(cx: Cx) {
    let path = cx.of("apps/v1", "deployments");
    let send = async |how: &str, body: &str| {
        cx.api.raw(Method::POST, &format!("{path}?{how}"), "application/json", body.as_bytes().to_vec()).await
    };
    let strict = send("fieldValidation=Strict", &deployment("")).await;
    let said = strict.message();
    assert!(said.contains(r#"unknown field "spec.unknown1""#), "{said}");
    assert!(said.contains(r#"duplicate field "spec.paused""#), "{said}");
    strict.refused(400, "BadRequest");
    let meta = send("fieldValidation=Strict", &deployment(r#", "unknownMeta": "x""#)).await;
    assert!(meta.message().contains(r#"unknown field "metadata.unknownMeta""#), "{}", meta.message());
    let warned = send("fieldValidation=Warn&dryRun=All", &deployment("")).await;
    let said = warned.warnings().join("\n");
    assert!(said.contains(r#"unknown field \"spec.unknown1\""#) && said.contains(r#"duplicate field \"spec.paused\""#));
    assert!(warned.ok()["spec"]["unknown1"].is_null());
    let ignored = send("fieldValidation=Ignore&dryRun=All", &deployment("")).await;
    assert!(ignored.warnings().is_empty(), "{:?}", ignored.warnings());
    ignored.ok();

    let yaml = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  unknownMeta: x\nspec:\n  replicas: 1\n  replicas: 2\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n";
    let how = format!("{path}/d?fieldManager=t&fieldValidation=Strict");
    let applied = cx.api.raw(Method::PATCH, &how, "application/apply-patch+yaml", yaml.as_bytes().to_vec()).await;
    let said = applied.message();
    assert!(said.contains(r#"line 8: key "replicas" already set in map"#), "{said}");
    let once = yaml.replacen("  replicas: 1\n", "", 1);
    let applied = cx.api.raw(Method::PATCH, &how, "application/apply-patch+yaml", once.into_bytes()).await;
    assert!(applied.message().contains("unknownMeta"), "{}", applied.message());
}

/// A definition of `things` with this schema; the path of its objects, and of itself.
async fn things(cx: &Cx, schema: Value, more: Value) -> (String, String) {
    let group = format!("{}.example.com", cx.ns);
    let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    tests::pods::merge(&mut version, more);
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}, "versions": [version]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cx.api.post(path, crd).await;
    let itself = format!("{path}/things.{group}");
    let established = |o: &Value| tests::pods::condition(o, "Established") == Some("True");
    cx.api.wait("is established", &itself, SOON, established).await;
    (cx.of(&format!("{group}/v1"), "things"), itself)
}

fn thing(path: &str, name: &str, rest: &str) -> Vec<u8> {
    let group = path.split('/').nth(2).expect("a group");
    format!(r#"{{"apiVersion": "{group}/v1", "kind": "Thing", "metadata": {{"name": "{name}"}}{rest}}}"#).into_bytes()
}

/// The same of custom resources: with a schema, with none, with an object in the object.
async fn custom_fields(cx: Cx) {
    let embedded =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}});
    let schema = json!({"type": "object", "properties": {"template": embedded, "spec": {"type": "object", "properties": {
        "known": {"type": "string"}, "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let (path, itself) = things(&cx, schema, json!({})).await;
    let post = async |body: Vec<u8>| {
        cx.api.raw(Method::POST, &format!("{path}?fieldValidation=Strict"), "application/json", body).await
    };
    post(thing(&path, "good", r#", "spec": {"known": "x", "open": {"any": 1}}"#)).await.ok();
    for (rest, field) in [
        (r#", "spec": {"known": "x", "extra": 1}"#, r#"unknown field "spec.extra""#),
        (r#", "spec": {"known": "x", "known": "y"}"#, r#"duplicate field "spec.known""#),
        (r#", "spec": {"open": {"a": 1, "a": 2}}"#, r#"duplicate field "spec.open.a""#),
        (
            r#", "template": {"apiVersion": "v1", "kind": "X", "metadata": {"odd": 1}}"#,
            r#"unknown field "template.metadata.odd""#,
        ),
    ] {
        let reply = post(thing(&path, "bad", rest)).await;
        assert!(reply.message().contains(field), "{rest}: {}", reply.body);
        reply.refused(400, "BadRequest");
    }
    let odd = String::from_utf8(thing(&path, "bad", "")).expect("text").replace(r#""bad""#, r#""bad", "odd": 1"#);
    let reply = post(odd.into_bytes()).await;
    assert!(reply.message().contains(r#"unknown field "metadata.odd""#), "{}", reply.body);
    // applied as YAML
    let at = format!("{path}/applied?fieldManager=t&fieldValidation=Strict");
    let yaml = |spec: &str| {
        let head = String::from_utf8(thing(&path, "applied", "")).expect("text");
        format!(
            "{}\nspec: {spec}\n",
            head.trim_matches(['{', '}'])
                .replace(", \"", "\n\"")
                .replace("\"metadata\": {\"name\": \"applied\"", "\"metadata\": {\"name\": \"applied\"}")
        )
        .into_bytes()
    };
    let apply = async |body: Vec<u8>| cx.api.raw(Method::PATCH, &at, "application/apply-patch+yaml", body).await;
    apply(yaml("{known: x}")).await.ok();
    let reply = apply(yaml("{known: x, extra: 1}")).await;
    assert!(reply.message().contains("extra"), "{}", reply.body);
    assert!(!reply.code.is_success());
    cx.api.delete(&itself).await;
    cx.api.gone(&itself, SOON).await;

    // a kind that knows nothing of its fields refuses none
    let (path, itself) =
        things(&cx, json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), json!({})).await;
    let made = cx
        .api
        .raw(
            Method::POST,
            &format!("{path}?fieldValidation=Strict"),
            "application/json",
            thing(&path, "t", r#", "any": {"thing": [1]}"#),
        )
        .await;
    assert_eq!(made.ok()["any"]["thing"], json!([1]));
    cx.api.delete(&itself).await;
}

async fn selectable_fields(cx: Cx) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}}}});
    let fields = json!({"selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]});
    let (path, itself) = things(&cx, schema, fields).await;
    let made = async |name: &str, color: &str, size: u8| {
        let spec = format!(r#", "spec": {{"color": "{color}", "size": {size}}}"#);
        cx.api.raw(Method::POST, &path, "application/json", thing(&path, name, &spec)).await.ok()
    };
    for (name, color, size) in [("a", "blue", 1), ("b", "red", 1), ("c", "blue", 2)] {
        made(name, color, size).await;
    }
    let blue = format!("{path}?fieldSelector=spec.color%3Dblue");
    let list = cx.api.get(&blue).await;
    assert_eq!(names(&list), ["a", "c"]);
    assert_eq!(names(&cx.api.get(&format!("{blue},spec.size%3D2")).await), ["c"]);
    assert_eq!(names(&cx.api.get(&format!("{path}?fieldSelector=spec.color!%3Dblue")).await), ["b"]);
    cx.api.try_get(&format!("{path}?fieldSelector=spec.other%3Dx")).await.refused(400, "BadRequest");
    let from = list["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut watch = cx.api.lines(&format!("{blue}&watch=1&resourceVersion={from}")).await;
    made("d", "green", 1).await;
    cx.api.merge(&format!("{path}/a"), json!({"spec": {"color": "red"}})).await;
    cx.api.merge(&format!("{path}/b"), json!({"spec": {"color": "blue"}})).await;
    cx.api.delete(&format!("{path}/c")).await;
    for (kind, name) in [("DELETED", "a"), ("ADDED", "b"), ("DELETED", "c")] {
        let (event, object) = watch.event().await;
        assert_eq!((event.as_str(), &object["metadata"]["name"]), (kind, &json!(name)));
    }
    cx.api.delete(&format!("{path}?fieldSelector=spec.color%3Dblue")).await;
    assert_eq!(names(&cx.api.get(&path).await), ["a", "d"]);
    cx.api.delete(&itself).await;
}

async fn aggregated_discovery(cx: Cx) {
    let (path, itself) = things(&cx, json!({"type": "object"}), json!({})).await;
    let group = path.split('/').nth(2).expect("a group").to_owned();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let read = async |path: &str| {
        let reply = cx.api.with_headers(Method::GET, path, &[("accept", accept)], &Value::Null).await;
        assert_eq!(reply.headers["content-type"], accept);
        assert_eq!(
            (&reply.body["kind"], &reply.body["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
        );
        reply.ok()
    };
    let has = |list: &Value, group: Option<&str>, version: &str, resource: &str| {
        let groups = list["items"].as_array().expect("groups").iter();
        let mut versions = groups
            .filter(|g| g["metadata"]["name"].as_str() == group)
            .flat_map(|g| g["versions"].as_array().expect("versions"));
        versions.any(|v| {
            v["version"] == version
                && v["resources"].as_array().expect("resources").iter().any(|r| r["resource"] == resource)
        })
    };
    let core = read("/api").await;
    for resource in ["pods", "services", "nodes", "namespaces", "configmaps"] {
        assert!(has(&core, None, "v1", resource), "{resource}");
    }
    let all = read("/apis").await;
    for (group, version, resource) in [
        ("apps", "v1", "deployments"),
        ("batch", "v1", "cronjobs"),
        ("networking.k8s.io", "v1", "servicecidrs"),
        ("rbac.authorization.k8s.io", "v1", "roles"),
        ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"),
        (group.as_str(), "v1", "things"),
    ] {
        assert!(has(&all, Some(group), version, resource), "{group}/{version} {resource}");
    }
    cx.api.delete(&itself).await;
    tests::until("its group goes from discovery", SOON, async || {
        if has(&read("/apis").await, Some(&group), "v1", "things") { Err(group.clone()) } else { Ok(()) }
    })
    .await;
}

async fn immutable(cx: Cx) {
    for (plural, key) in [("configmaps", "data"), ("secrets", "stringData")] {
        cx.api.post(&cx.core(plural), json!({"metadata": {"name": "i"}, key: {"a": "1"}})).await;
        let at = cx.core(&format!("{plural}/i"));
        cx.api.merge(&at, json!({key: {"a": "2"}})).await;
        cx.api.merge(&at, json!({"immutable": true})).await;
        let no = cx.api.try_patch(&at, MERGE_PATCH, &json!({key: {"a": "3"}})).await.refused(422, "Invalid");
        assert!(
            no["message"].as_str().is_some_and(|m| m.contains("field is immutable when `immutable` is set")),
            "{no}"
        );
        cx.api.try_patch(&at, MERGE_PATCH, &json!({"immutable": false})).await.refused(422, "Invalid");
        cx.api.merge(&at, json!({"metadata": {"labels": {"a": "b"}}})).await;
        cx.api.delete(&at).await;
    }
}

async fn finalized(cx: Cx) {
    let at = format!("/api/v1/namespaces/{}", cx.ns);
    let finalizers = async |to: Value| {
        let mut ns = cx.api.get(&at).await;
        ns["spec"]["finalizers"] = to;
        cx.api.put(&format!("{at}/finalize"), ns).await;
        cx.api.get(&at).await["spec"]["finalizers"].clone()
    };
    let mine = json!(["kubernetes", "example.com/mine"]);
    assert_eq!(finalizers(mine.clone()).await, mine);
    // only there
    let plain = cx.api.merge(&at, json!({"spec": {"finalizers": ["kubernetes"]}})).await;
    assert_eq!(plain["spec"]["finalizers"], mine);
    assert_eq!(finalizers(json!(["kubernetes"])).await, json!(["kubernetes"]));
}

/// What guards a namespace's pods goes after them: <https://kep.k8s.io/5080>.
async fn pods_go_first(cx: Cx) {
    let ns = format!("/api/v1/namespaces/{}-emptied", cx.ns);
    cx.api.post("/api/v1/namespaces", json!({"metadata": {"name": format!("{}-emptied", cx.ns)}})).await;
    cx.api.wait("may have pods", &format!("{ns}/serviceaccounts/default"), SOON, |_| true).await;
    cx.api.post(&format!("{ns}/configmaps"), json!({"metadata": {"name": "c"}})).await;
    let pod = json!({"metadata": {"name": "p", "finalizers": ["example.com/wait"]}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cx.api.post(&format!("{ns}/pods"), pod).await;
    cx.api.delete(&ns).await;
    let waits = |n: &Value| tests::pods::condition(n, "NamespaceFinalizersRemaining") == Some("True");
    let seen = cx.api.wait("waits for its pod", &ns, SOON, waits).await;
    assert_eq!(seen["status"]["phase"], "Terminating");
    assert!(cx.api.get(&format!("{ns}/pods/p")).await["metadata"]["deletionTimestamp"].is_string());
    assert!(cx.api.get(&format!("{ns}/configmaps/c")).await["metadata"]["deletionTimestamp"].is_null());
    cx.api.merge(&format!("{ns}/pods/p"), json!({"metadata": {"finalizers": null}})).await;
    cx.api.gone(&ns, SOON).await;
}

async fn budgets(cx: Cx) {
    let pod =
        json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    // as its kubelet would
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    cx.api.merge(&cx.core("pods/p/status"), ready).await;
    let at = cx.of("policy/v1", "poddisruptionbudgets/b");
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    cx.api.post(&cx.of("policy/v1", "poddisruptionbudgets"), budget).await;
    let counted = |b: &Value| b["status"]["currentHealthy"] == 1 && b["status"]["disruptionsAllowed"] == 0;
    let seen = cx.api.wait("counts it", &at, SOON, counted).await;
    assert_eq!((&seen["status"]["expectedPods"], &seen["status"]["desiredHealthy"]), (&json!(1), &json!(1)));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let no = cx.api.try_post(&cx.core("pods/p/eviction"), &eviction).await.refused(429, "TooManyRequests");
    assert_eq!(no["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(no["details"]["causes"][0]["reason"], "DisruptionBudget");
    cx.api.merge(&at, json!({"spec": {"minAvailable": 0}})).await;
    cx.api.wait("allows it", &at, SOON, |b| b["status"]["disruptionsAllowed"] == 1).await;
    cx.api.post(&cx.core("pods/p/eviction"), eviction).await;
    cx.api.gone(&cx.core("pods/p"), SOON).await;
}

async fn scales(cx: Cx) {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let labels = json!({"matchLabels": {"a": "b"}});
    for (path, selector) in [
        (cx.core("replicationcontrollers"), json!({"a": "b"})),
        (cx.of("apps/v1", "replicasets"), labels.clone()),
        (cx.of("apps/v1", "statefulsets"), labels),
    ] {
        let mut spec = json!({"replicas": 1, "selector": selector, "template": template});
        if path.ends_with("statefulsets") {
            spec["serviceName"] = "s".into();
        }
        cx.api.post(&path, json!({"metadata": {"name": "s"}, "spec": spec})).await;
        let at = format!("{path}/s");
        let mut scale = cx.api.get(&format!("{at}/scale")).await;
        assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)), "{at}");
        scale["spec"]["replicas"] = 2.into();
        // the status moves meanwhile
        scale["metadata"]["resourceVersion"] = Value::Null;
        cx.api.put(&format!("{at}/scale"), scale).await;
        assert_eq!(cx.api.get(&at).await["spec"]["replicas"], 2, "{at}");
        let scaled = cx.api.merge(&format!("{at}/scale"), json!({"spec": {"replicas": 3}})).await;
        assert_eq!(scaled["spec"]["replicas"], 3, "{at}");
        // replaced and patched as a whole
        cx.api.merge(&at, json!({"spec": {"replicas": 0}})).await;
        cx.api.wait("is at none", &at, SOON, |o| o["status"]["replicas"] == 0).await;
        cx.api.try_delete(&at, Some(&json!({"propagationPolicy": "Background"}))).await.ok();
    }
}

async fn root_ca(cx: Cx) {
    let at = cx.core("configmaps/kube-root-ca.crt");
    let first = cx.api.get(&at).await;
    assert!(first["data"]["ca.crt"].as_str().is_some_and(|c| c.contains("BEGIN CERTIFICATE")), "{first}");
    cx.api.delete(&at).await;
    cx.api.wait("comes back", &at, SOON, |c| c["metadata"]["uid"] != first["metadata"]["uid"]).await;
    cx.api.merge(&at, json!({"data": {"ca.crt": "another"}})).await;
    cx.api.wait("is put right", &at, SOON, |c| c["data"] == first["data"]).await;
}

/// Asked for, reviewed, and verified by what its issuer publishes.
async fn tokens(cx: Cx) {
    cx.api.post(&cx.core("serviceaccounts"), json!({"metadata": {"name": "robot"}})).await;
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let token = cx.api.post(&cx.core("serviceaccounts/robot/token"), request).await["status"]["token"].clone();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = cx.api.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!((&review["status"]["authenticated"], &review["status"]["error"]), (&json!(true), &Value::Null));
    assert_eq!(review["status"]["user"]["username"], format!("system:serviceaccount:{}:robot", cx.ns));
    let robot = cx.api.as_bearer(token.as_str());
    let issuer = robot.get("/.well-known/openid-configuration").await;
    assert!(
        issuer["issuer"].is_string() && issuer["jwks_uri"].as_str().is_some_and(|u| u.ends_with("/openid/v1/jwks"))
    );
    let keys = robot.get("/openid/v1/jwks").await;
    assert!(keys["keys"][0]["kid"].is_string(), "{keys}");
}

/// What a review says is what happens.
async fn subject_reviews(cx: Cx) {
    let user = format!("system:serviceaccount:{}:default", cx.ns);
    let as_it = [("impersonate-user", user.as_str())];
    let attributes = json!({"namespace": cx.ns, "verb": "list", "resource": "configmaps"});
    let asked = async |path: &str, kind: &str, on_behalf: bool| {
        let mut review =
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {"resourceAttributes": attributes}});
        if !on_behalf {
            review["spec"]["user"] = user.clone().into();
        }
        if kind.starts_with("Local") {
            review["metadata"] = json!({"namespace": cx.ns});
        }
        let headers = if on_behalf { &as_it[..] } else { &[] };
        cx.api.with_headers(Method::POST, path, headers, &review).await.ok()["status"]["allowed"].clone()
    };
    let all = async |allowed: bool| {
        let root = "/apis/authorization.k8s.io/v1";
        assert_eq!(asked(&format!("{root}/subjectaccessreviews"), "SubjectAccessReview", false).await, allowed);
        let local = cx.of("authorization.k8s.io/v1", "localsubjectaccessreviews");
        assert_eq!(asked(&local, "LocalSubjectAccessReview", false).await, allowed);
        assert_eq!(asked(&format!("{root}/selfsubjectaccessreviews"), "SelfSubjectAccessReview", true).await, allowed);
        let code = cx.api.with_headers(Method::GET, &cx.core("configmaps"), &as_it, &Value::Null).await.code;
        assert_eq!(code, if allowed { 200 } else { 403 });
    };
    all(false).await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    cx.api
        .post(&cx.of("rbac.authorization.k8s.io/v1", "roles"), json!({"metadata": {"name": "r"}, "rules": rules}))
        .await;
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": cx.ns}]});
    cx.api.post(&cx.of("rbac.authorization.k8s.io/v1", "rolebindings"), binding).await;
    all(true).await;
}

async fn runtime_overhead(cx: Cx) {
    let path = "/apis/node.k8s.io/v1/runtimeclasses";
    let class =
        json!({"metadata": {"name": cx.ns}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    cx.api.post(path, class).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"runtimeClassName": cx.ns, "containers": [{"name": "a", "image": "x"}]}});
    let made = cx.api.post(&cx.core("pods"), pod).await;
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m", "memory": "1Mi"}));
    cx.api.delete(&format!("{path}/{}", cx.ns)).await;
}

async fn inline_volumes(cx: Cx) {
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}],
        "volumes": [{"name": "v", "csi": {"driver": "d.example.com", "readOnly": true, "volumeAttributes": {"k": "v"}}}]}});
    let made = cx.api.post(&cx.core("pods"), pod.clone()).await;
    assert_eq!(made["spec"]["volumes"][0], pod["spec"]["volumes"][0]);
    assert_eq!(names(&cx.api.get(&cx.core("pods?labelSelector=a%3Db")).await), ["p"]);
    let patched = cx.api.merge(&cx.core("pods/p"), json!({"metadata": {"annotations": {"p": "q"}}})).await;
    assert_eq!(patched["metadata"]["annotations"]["p"], "q");
    cx.api.delete(&cx.core("pods/p")).await;
    cx.api.gone(&cx.core("pods/p"), SOON).await;
}

async fn sysctl_names(cx: Cx) {
    let sysctls = json!([{"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "1"}, {"name": "bar..", "value": "42"}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"securityContext": {"sysctls": sysctls}, "containers": [{"name": "a", "image": "x"}]}});
    let no = cx.api.try_post(&cx.core("pods"), &pod).await.refused(422, "Invalid");
    let fields: Vec<_> =
        no["details"]["causes"].as_array().expect("causes").iter().map(|c| c["field"].clone()).collect();
    assert_eq!(fields, ["spec.securityContext.sysctls[0].name", "spec.securityContext.sysctls[2].name"]);
}
