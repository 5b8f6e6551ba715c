//! Writing and reading one object, over HTTPS: what upstream answers, this answers.

mod support;

use serde_json::{Value, json};
use support::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}})
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let c = Cluster::start().await;
    let made = c.made(MAPS, map("a", "1")).await;
    let meta = &made["metadata"];
    assert_eq!((&meta["name"], &meta["namespace"]), (&json!("a"), &json!("default")));
    assert!(meta["uid"].as_str().unwrap().len() == 36 && meta["creationTimestamp"].is_string());

    assert_eq!(c.get(&format!("{MAPS}/a")).await.json(), made);
    let yaml = c.send("GET", &format!("{MAPS}/a"), &[("accept", "application/yaml")], "").await;
    assert!(yaml.text().contains("kind: ConfigMap"), "{}", yaml.text());

    let again = c.json("POST", MAPS, map("a", "1")).await;
    assert_eq!(again.failure(), (409, "configmaps \"a\" already exists".into()));
    assert_eq!(again.json()["reason"], "AlreadyExists");

    // no change, no new revision
    let same = c.json("PUT", &format!("{MAPS}/a"), made.clone()).await;
    assert_eq!(same.json(), made);
    let changed = c.json("PUT", &format!("{MAPS}/a"), map("a", "2")).await.json();
    assert_eq!(changed["data"]["k"], "2");
    assert_eq!(changed["metadata"]["uid"], made["metadata"]["uid"]);

    // the old revision is refused
    let stale = c.json("PUT", &format!("{MAPS}/a"), made.clone()).await;
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
                the latest version and try again";
    assert_eq!(stale.failure(), (409, text.into()));
    let mut other = map("a", "3");
    other["metadata"]["uid"] = json!("not-this-one");
    let wrong = c.json("PUT", &format!("{MAPS}/a"), other).await.failure();
    assert!(wrong.0 == 409 && wrong.1.contains("Precondition failed: UID in precondition: not-this-one"), "{wrong:?}");

    let gone = c.delete(&format!("{MAPS}/a")).await;
    assert_eq!((gone.code, &gone.json()["status"]), (200, &json!("Success")));
    assert_eq!(gone.json()["details"]["uid"], made["metadata"]["uid"]);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.failure(), (404, "configmaps \"a\" not found".into()));
    assert_eq!(c.delete(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn what_a_client_may_not_say_is_refused() {
    let c = Cluster::start().await;
    c.made(MAPS, map("a", "1")).await;
    let one = format!("{MAPS}/a");
    let mut elsewhere = map("b", "1");
    elsewhere["metadata"]["namespace"] = json!("other");
    let mut versioned = map("b", "1");
    versioned["metadata"]["resourceVersion"] = json!("1");
    for (method, path, body, code, text) in [
        ("POST", MAPS, map("B_", "1"), 422, "ConfigMap \"B_\" is invalid: metadata.name: Invalid value"),
        ("POST", MAPS, elsewhere, 400, "the namespace of the provided object does not match"),
        ("POST", MAPS, versioned, 500, "resourceVersion should not be set on objects to be created"),
        ("POST", MAPS, json!({"kind": "Pod", "apiVersion": "v1"}), 400, "cannot be handled as a ConfigMap"),
        (
            "POST",
            MAPS,
            json!({"kind": "ConfigMap", "apiVersion": "v2"}),
            400,
            "does not match the expected API version (v1)",
        ),
        ("POST", MAPS, json!({"metadata": {"name": "x"}, "data": {"k": 1}}), 400, "json: cannot unmarshal number"),
        ("PUT", one.as_str(), map("b", "1"), 400, "the name of the object (b) does not match the name on the URL (a)"),
        ("PUT", "/api/v1/namespaces/default/configmaps/nope", map("nope", "1"), 404, "configmaps \"nope\" not found"),
        ("POST", "/api/v1/configmaps", map("b", "1"), 405, "does not allow this method"),
        ("DELETE", "/api/v1/configmaps", json!({}), 405, "does not allow this method"),
        ("PUT", MAPS, map("a", "1"), 405, "does not allow this method"),
        ("PATCH", MAPS, json!({}), 405, "does not allow this method"),
        ("DELETE", one.as_str(), map("a", "1"), 400, "no kind \"ConfigMap\" is registered"),
        ("POST", &format!("{MAPS}?dryRun="), map("c", "1"), 422, "dryRun: Unsupported value"),
        ("GET", &format!("{one}?resourceVersion=x"), Value::Null, 422, "resourceVersion: Invalid value: \"x\""),
        ("GET", &format!("{one}?resourceVersion=9999"), Value::Null, 504, "Timeout: Too large resource version: 9999"),
        ("POST", "/api/v1/namespaces/default/nothings", map("b", "1"), 404, "could not find the requested resource"),
        ("POST", one.as_str(), map("b", "1"), 405, "does not allow this method"),
        (
            "POST",
            "/api/v1/namespaces/secret/configmaps",
            map("b", "1"),
            403,
            "configmaps is forbidden: User \"tester\" cannot create",
        ),
    ] {
        let (got, message) = c.json(method, path, body).await.failure();
        assert!(got == code && message.contains(text), "{method} {path}: {got} {message}");
    }
    let cut = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
               unexpected end of JSON input ({)";
    assert_eq!(c.send("POST", MAPS, &[], "{").await.failure(), (400, cut.into()));
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(c.send("POST", MAPS, &protobuf, "k8s").await.code, 400);
    assert_eq!(c.send("POST", MAPS, &[("content-type", "text/plain")], "x").await.code, 415);
    assert_eq!(c.send("GET", &one, &[("accept", "text/html")], "").await.code, 406);
    let partial = |of: &str| format!("application/json;as=PartialObjectMetadata{of};g=meta.k8s.io;v=v1");
    for (path, of, code) in [(&*one, "", 200), (&one, "List", 406), (MAPS, "", 406), (MAPS, "List", 200)] {
        assert_eq!(c.send("GET", path, &[("accept", &partial(of))], "").await.code, code, "{path} {of}");
    }
    // one object is got, however it is asked
    assert_eq!(c.get(&format!("{one}?watch=true")).await.json()["metadata"]["name"], "a");
    let both = "application/vnd.kubernetes.protobuf,application/json";
    assert_eq!(c.send("GET", &one, &[("accept", both)], "").await.code, 200);
    assert_eq!(c.send("POST", MAPS, &[], vec![b'x'; 4 << 20]).await.code, 413);
    assert_eq!(c.send("GET", &one, &[("x-nobody", "1")], "").await.code, 401);
    assert_eq!(c.send("GET", "/livez", &[("x-nobody", "1")], "").await.text(), "ok");
}

#[tokio::test]
async fn names_are_generated_and_fields_checked() {
    let c = Cluster::start().await;
    let body = json!({"metadata": {"generateName": "gen-"}});
    let name = c.made(MAPS, body).await["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");

    let odd = json!({"metadata": {"name": "odd"}, "spec": {}, "data": {}});
    let strict = c.json("POST", &format!("{MAPS}?fieldValidation=Strict"), odd.clone()).await.failure();
    assert!(strict.0 == 400 && strict.1.contains("strict decoding error: unknown field \"spec\""), "{strict:?}");
    let warned = c.json("POST", MAPS, odd.clone()).await;
    assert_eq!((warned.code, warned.warnings()), (201, vec!["299 - \"unknown field \\\"spec\\\"\""]));
    assert!(warned.json().get("spec").is_none());
    let ignored = c.json("PUT", &format!("{MAPS}/odd?fieldValidation=Ignore"), odd).await;
    assert!(ignored.code == 200 && ignored.warnings().is_empty());
    let twice = c.send("POST", MAPS, &[], r#"{"metadata":{"name":"t"},"data":{"a":"1","a":"2"}}"#).await;
    assert_eq!(twice.warnings(), ["299 - \"duplicate field \\\"data.a\\\"\""]);
    let yaml = "metadata: {name: y}\ndata:\n  a: b\n";
    assert_eq!(c.send("POST", MAPS, &[("content-type", "application/yaml")], yaml).await.json()["data"]["a"], "b");

    // dry runs leave nothing behind
    assert_eq!(c.json("POST", &format!("{MAPS}?dryRun=All"), map("dry", "1")).await.code, 201);
    assert_eq!(c.get(&format!("{MAPS}/dry")).await.code, 404);
    c.made(MAPS, map("a", "1")).await;
    assert_eq!(c.json("PUT", &format!("{MAPS}/a?dryRun=All"), map("a", "2")).await.json()["data"]["k"], "2");
    assert_eq!(c.delete(&format!("{MAPS}/a?dryRun=All")).await.code, 200);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.json()["data"]["k"], "1");
    assert_eq!(c.json("POST", &format!("{MAPS}?dryRun=Some"), map("dry", "1")).await.code, 422);
}

#[tokio::test]
async fn applied_fields_have_owners() {
    let c = Cluster::start().await;
    let apply = |name: &'static str, query: &'static str, value: &'static str| {
        let body = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: \"{value}\"}}\n");
        let path = format!("{MAPS}/{name}?{query}");
        let c = &c;
        async move { c.send("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body).await }
    };
    let made = apply("a", "fieldManager=one", "1").await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["metadata"]["managedFields"][0]["manager"], "one");
    let same = apply("a", "fieldManager=one", "1").await;
    assert_eq!(same.code, 200);
    assert_eq!(same.json()["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);
    let refused = apply("a", "fieldManager=two", "2").await.failure();
    assert_eq!(refused, (409, "Apply failed with 1 conflict: conflict with \"one\": .data.k".into()));
    assert_eq!(apply("a", "fieldManager=two&force=true", "2").await.json()["data"]["k"], "2");
    assert_eq!(apply("a", "", "2").await.code, 422);
    // a write that is no apply is remembered as well
    let patched = c.json("PATCH", &format!("{MAPS}/a?fieldManager=three"), json!({"data": {"k": "3"}})).await.json();
    let fields = patched["metadata"]["managedFields"].as_array().unwrap();
    assert!(fields.iter().any(|f| f["manager"] == "three" && f["operation"] == "Update"), "{fields:?}");
    let (code, _) = c.json("PATCH", &format!("{MAPS}/a?force=true"), json!({"data": {}})).await.failure();
    assert_eq!(code, 422);
}

#[tokio::test]
async fn protobuf_is_understood() {
    let c = Cluster::start().await;
    let bytes = api::protobuf::encode("", "v1", "ConfigMap", &map("proto", "1")).unwrap();
    let media = "application/vnd.kubernetes.protobuf";
    let headers = [("content-type", media), ("accept", "application/vnd.kubernetes.protobuf, */*")];
    let made = c.send("POST", MAPS, &headers, bytes).await;
    assert_eq!((made.code, &made.json()["data"]["k"]), (201, &json!("1")), "{}", made.text());
}

#[tokio::test]
async fn patches() {
    let c = Cluster::start().await;
    c.made(MAPS, map("a", "1")).await;
    let one = format!("{MAPS}/a");
    for (kind, patch, code, want) in [
        ("merge-patch", r#"{"data":{"k":null,"m":"2"}}"#, 200, json!({"m": "2"})),
        ("json-patch", r#"[{"op":"add","path":"/data/j","value":"3"}]"#, 200, json!({"m": "2", "j": "3"})),
        ("strategic-merge-patch", r#"{"data":{"j":null,"$retainKeys":["m"]}}"#, 200, json!({"m": "2"})),
        ("json-patch", r#"[{"op":"test","path":"/data/m","value":"x"}]"#, 422, Value::Null),
        ("merge-patch", "[", 400, Value::Null),
        ("merge-patch", r#"{"metadata":{"resourceVersion":"1"}}"#, 409, Value::Null),
        ("merge-patch", r#"{"metadata":{"name":"b"}}"#, 400, Value::Null),
        // no patch makes another kind of it
        ("merge-patch", r#"{"kind":"Secret"}"#, 422, Value::Null),
        ("json-patch", r#"[{"op":"replace","path":"/apiVersion","value":"v2"}]"#, 422, Value::Null),
        ("merge-patch", r#"{"kind":null,"apiVersion":null}"#, 200, json!({"m": "2"})),
        ("strategic-merge-patch", r#"{"kind":"Secret"}"#, 200, json!({"m": "2"})),
        ("json-patch", r#"[{"op":"replace","path":"/data/j","value":"3"}]"#, 200, json!({"m": "2", "j": "3"})),
        ("merge-patch", r#"{"data":{"j":null}}"#, 200, json!({"m": "2"})),
        ("unknown-patch", "{}", 415, Value::Null),
    ] {
        let kind = format!("application/{kind}+json");
        let answer = c.send("PATCH", &one, &[("content-type", &kind)], patch.to_owned()).await;
        assert_eq!(answer.code, code, "{patch}: {}", answer.text());
        if code == 200 {
            assert_eq!((&answer.json()["data"], &answer.json()["kind"]), (&want, &json!("ConfigMap")), "{patch}");
        }
    }
    // twenty at once: each is applied to what the others left
    let send = |i: u32| c.json("PATCH", &one, json!({"data": {format!("p{i}"): "x"}}));
    let done = futures::future::join_all((0..20).map(send)).await;
    let fine = done.iter().filter(|a| a.code == 200).count();
    let have = c.get(&one).await.json()["data"].as_object().unwrap().len();
    assert_eq!(have, fine + 1);
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 9}})
}

#[tokio::test]
async fn what_go_leaves_out_changes_nothing() {
    let c = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let with = |env: Value| {
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template":
            {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "env": env}]}}}})
    };
    let made = c.made(path, with(json!([]))).await;
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0].get("env"), None);
    let one = format!("{path}/d");
    let put = c.json("PUT", &one, with(Value::Null)).await.json();
    let delete = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": []}]}}}});
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    let patched = c.send("PATCH", &one, &kind, delete.to_string()).await.json();
    for tree in [put, patched] {
        assert_eq!(tree["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "{tree}");
    }
}

#[tokio::test]
async fn status_and_scale_are_views_of_one_object() {
    let c = Cluster::start().await;
    let made = c.made(DEPLOYMENTS, deployment()).await;
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(made["status"]["replicas"].is_null());
    let one = format!("{DEPLOYMENTS}/d");

    let status =
        c.json("PATCH", &format!("{one}/status"), json!({"status": {"replicas": 1}, "spec": {"replicas": 7}})).await;
    let tree = status.json();
    assert_eq!((&tree["status"]["replicas"], &tree["spec"]["replicas"]), (&json!(1), &json!(2)));
    assert_eq!(tree["metadata"]["generation"], 1);
    let main = c.json("PATCH", &one, json!({"status": {"replicas": 5}, "spec": {"replicas": 3}})).await.json();
    assert_eq!((&main["status"]["replicas"], &main["metadata"]["generation"]), (&json!(1), &json!(2)));

    let mut scale = c.get(&format!("{one}/scale")).await.json();
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!("autoscaling/v1"), &json!(3))
    );
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    scale["spec"]["replicas"] = json!(4);
    assert_eq!(c.json("PUT", &format!("{one}/scale"), scale.clone()).await.json()["spec"]["replicas"], 4);
    assert_eq!(c.json("PUT", &format!("{one}/scale"), scale).await.code, 409);
    let patched = c.json("PATCH", &format!("{one}/scale"), json!({"spec": {"replicas": 0}})).await;
    assert_eq!((patched.code, c.get(&one).await.json()["spec"]["replicas"].clone()), (200, json!(0)));
    for (bad, why) in [
        (json!({"spec": {"replicas": "many"}}), "cannot unmarshal string"),
        (json!({"kind": "Deployment"}), "no kind \"Deployment\" is registered"),
    ] {
        let (code, message) = c.json("PATCH", &format!("{one}/scale"), bad).await.failure();
        assert!(code == 422 && message.contains(why), "{code} {message}");
    }
    let negative = c.json("PATCH", &format!("{one}/scale"), json!({"spec": {"replicas": -1}})).await;
    assert_eq!(negative.code, 422, "{}", negative.text());
    assert_eq!(c.get(&format!("{one}/nothing")).await.code, 404);
}

#[tokio::test]
async fn old_versions_are_converted_with_a_warning() {
    let c = Cluster::start().await;
    let mut old = deployment();
    old["apiVersion"] = json!("extensions/v1beta1");
    old["spec"].as_object_mut().unwrap().remove("selector");
    let path = "/apis/extensions/v1beta1/namespaces/default/deployments";
    let made = c.json("POST", path, old).await;
    assert_eq!((made.code, &made.json()["apiVersion"]), (201, &json!("extensions/v1beta1")), "{}", made.text());
    assert!(made.warnings()[0].contains("extensions/v1beta1 Deployment is deprecated"), "{:?}", made.warnings());
    let new = c.get(&format!("{DEPLOYMENTS}/d")).await.json();
    assert_eq!(
        (&new["apiVersion"], &new["spec"]["selector"]),
        (&json!("apps/v1"), &json!({"matchLabels": {"a": "b"}}))
    );
    let list = c.get(path).await.json();
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("extensions/v1beta1"), &json!("extensions/v1beta1"))
    );
}

struct Fragile;
#[async_trait::async_trait]
impl apiserver::admission::Plugin for Fragile {
    fn name(&self) -> &'static str {
        "Fragile"
    }
    fn handles(&self, a: &apiserver::Attributes) -> bool {
        a.verb == apiserver::Verb::Create
    }
    async fn mutate(&self, write: &mut apiserver::admission::Write<'_>) -> Result<(), api::Status> {
        match write.object["metadata"]["name"].as_str() {
            Some("boom") => panic!("a handler's mistake"),
            Some("no") => Err(write.refuse("it is not allowed")),
            _ => {
                write.object["metadata"]["labels"] = json!({"mutated": "yes"});
                write.warnings.push("mutated".into());
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn plugins_change_refuse_and_may_even_panic() {
    let c = Cluster::with(|config| config.plugins.push(std::sync::Arc::new(Fragile))).await;
    let fine = c.json("POST", MAPS, map("a", "1")).await;
    assert_eq!(
        (&fine.json()["metadata"]["labels"]["mutated"], fine.warnings()),
        (&json!("yes"), vec!["299 - \"mutated\""])
    );
    let refused = c.json("POST", MAPS, map("no", "1")).await.failure();
    assert_eq!(refused, (403, "configmaps \"no\" is forbidden: it is not allowed".into()));
    assert_eq!(c.json("POST", MAPS, map("boom", "1")).await.code, 500);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.code, 200);
}
