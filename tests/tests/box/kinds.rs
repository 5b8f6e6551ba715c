//! One object of every kind, through every version in which it is served.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Api, Cx, SOON};

pub fn trials() -> Vec<Trial> {
    crate::trials!(ControlPlane: discovery_is_upstreams, every_version_of_every_kind, old_reviews_and_evictions, flow_control,
        component_statuses, device_claims)
}

/// What upstream's discovery says: `v1 pods Pod pod po all N *`.
const UPSTREAM: &str = include_str!("../../../src/api/data/resources.txt");
const OBJECTS: &str = include_str!("kinds.yaml");

fn list_path(group_version: &str) -> String {
    if group_version.contains('/') { format!("/apis/{group_version}") } else { format!("/api/{group_version}") }
}

fn is_old(group_version: &str) -> bool {
    group_version.contains("alpha") || group_version.contains("beta")
}

async fn group_versions(api: &Api) -> Vec<String> {
    let groups = api.get("/apis").await;
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|g| g["versions"].as_array().unwrap().clone());
    let mut all = vec!["v1".to_owned()];
    all.extend(versions.map(|v| v["groupVersion"].as_str().unwrap().to_owned()));
    all
}

async fn discovery_is_upstreams(cx: Cx) {
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut group_version = "";
    for line in UPSTREAM.lines().filter(|l| !l.starts_with('#')) {
        match line.strip_prefix(' ') {
            None => group_version = line,
            Some(line) => drop(wanted.entry(group_version).or_default().insert(line.to_owned())),
        }
    }
    for (group_version, wanted) in wanted {
        let list = cx.api.get(&list_path(group_version)).await;
        let found: BTreeSet<String> = list["resources"].as_array().unwrap().iter().map(shown).collect();
        let (missing, odd): (Vec<_>, Vec<_>) =
            (wanted.difference(&found).collect(), found.difference(&wanted).collect());
        assert!(missing.is_empty() && odd.is_empty(), "{group_version}: missing {missing:#?}, odd {odd:#?}");
    }
}

/// A resource of discovery as a line of the table.
fn shown(r: &Value) -> String {
    let text = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
    let or_none = |s: String| if s.is_empty() { "-".to_owned() } else { s };
    let list = |key: &str| {
        let all = r[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        or_none(all.collect::<Vec<_>>().join(","))
    };
    let kind = match (text("kind"), text("version"), text("group")) {
        (kind, version, _) if version.is_empty() => kind,
        (kind, version, group) => format!("{kind}.{version}.{group}"),
    };
    let scope = if r["namespaced"] == true { "N" } else { "C" };
    let verbs = list("verbs");
    let verbs = if verbs == "create,delete,deletecollection,get,list,patch,update,watch" { "*".into() } else { verbs };
    let names = [or_none(text("singularName")), list("shortNames"), list("categories")].join(" ");
    format!("{} {kind} {names} {scope} {verbs}", text("name"))
}

/// What an object says for itself, without what the server adds.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    let o = object.as_object_mut().unwrap();
    for key in ["metadata", "apiVersion", "status"] {
        o.remove(key);
    }
    // controllers give a node its addresses and taints
    if let Some(spec) = o.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|k, _| !k.starts_with("podCIDR") && k != "taints");
    }
    object
}

fn renamed(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    let metadata = &object["metadata"];
    object["metadata"] = json!({"name": name, "annotations": metadata["annotations"], "labels": metadata["labels"]});
    object.as_object_mut().unwrap().remove("status");
    object
}

async fn every_version_of_every_kind(cx: Cx) {
    let text = OBJECTS.replace("namespace: NS", &format!("namespace: {}", cx.ns));
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|d| <Value as serde::Deserialize>::deserialize(d).expect("YAML"));
    let objects: Vec<Value> = objects.filter(|o| !o.is_null()).collect();
    // where each kind is: version, plural, namespaced
    let mut places: BTreeMap<String, Vec<(String, String, bool)>> = BTreeMap::new();
    for version in group_versions(&cx.api).await {
        let list = cx.api.get(&list_path(&version)).await;
        for r in list["resources"].as_array().unwrap() {
            let (name, kind) = (r["name"].as_str().unwrap(), r["kind"].as_str().unwrap());
            let whole = r["verbs"].as_array().unwrap().iter().filter(|v| *v == "create" || *v == "delete").count() == 2;
            if !name.contains('/') && whole {
                let place = (version.clone(), name.to_owned(), r["namespaced"] == true);
                places.entry(kind.to_owned()).or_default().push(place);
            }
        }
    }
    let mut tried: BTreeSet<String> = BTreeSet::new();
    for object in &objects {
        let (kind, home) = (object["kind"].as_str().unwrap(), object["apiVersion"].as_str().unwrap());
        tried.insert(kind.to_owned());
        let of_kind = &places[kind];
        let group = home.split_once('/').map_or("", |(g, _)| g);
        // a custom resource of another test may be of the same kind
        let mine = of_kind.iter().filter(|(v, ..)| {
            let g = v.split_once('/').map_or("", |(g, _)| g);
            g == group || g == "extensions" || kind == "Event"
        });
        for (version, plural, namespaced) in mine {
            one(&cx, object, home, (version, plural, *namespaced)).await;
        }
    }
    let untried: Vec<_> = places
        .iter()
        // an APIService would make a group that nobody serves
        .filter(|(kind, at)| {
            !tried.contains(*kind)
                && *kind != "APIService"
                && at.iter().any(|(v, ..)| !v.contains('.') || v.contains(".k8s.io/"))
        })
        .map(|(kind, _)| kind)
        .collect();
    assert!(untried.is_empty(), "kinds.yaml has none of {untried:?}");
}

/// Makes an object at home, reads it in another version, makes what it has read in that version, and compares at home.
async fn one(cx: &Cx, object: &Value, home: &str, (version, plural, namespaced): (&str, &str, bool)) {
    let within = if namespaced { format!("/namespaces/{}", cx.ns) } else { String::new() };
    let at = |gv: &str, name: &str| format!("{}{within}/{plural}{name}", list_path(gv));
    let fixed = object["metadata"]["name"].as_str().unwrap();
    let what = format!("{version} {plural}");
    let name = format!("/{fixed}");
    let made = cx.api.try_post(&at(home, ""), object).await;
    assert!(made.code.is_success(), "{home} {plural}: {}", made.body);
    let made = made.ok();

    let read = cx.api.try_get(&at(version, &name)).await;
    let warned = read.warnings().iter().any(|w| w.starts_with("299 - ") && w.contains("is deprecated in v1."));
    assert_eq!(warned, is_old(version) || plural == "endpoints", "{what}: {:?}", read.warnings());
    let read = read.ok();
    assert_eq!(read["apiVersion"], version, "{what}");
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"], "{what}");
    let list = cx.api.get(&at(version, "")).await;
    assert_eq!(list["kind"], format!("{}List", object["kind"].as_str().unwrap()), "{what}");
    assert!(list["items"].as_array().unwrap().iter().any(|i| i["metadata"]["name"] == fixed), "{what}");

    let request =
        http::Request::get(at(version, &name)).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table: Value = cx.api.kube.request(request.body(Vec::new()).unwrap()).await.expect("a table");
    let columns = table["columnDefinitions"].as_array().unwrap().len();
    assert_eq!((columns, columns > 1), (table["rows"][0]["cells"].as_array().unwrap().len(), true), "{what}");

    cx.api.delete(&at(version, &name)).await;
    cx.api.gone(&at(home, &name), SOON).await;

    // and now as who knows only that version
    let again = cx.api.try_post(&at(version, ""), &renamed(&read, fixed)).await;
    assert!(again.code.is_success(), "{what}: {}\n{read}", again.body);
    let back = cx.api.get(&at(home, &name)).await;
    assert_eq!(content(&back), content(&made), "{what}");
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
    let patched = cx.api.merge(&at(version, &name), patch).await;
    assert_eq!(
        (&patched["metadata"]["labels"]["patched"], &patched["apiVersion"]),
        (&json!("yes"), &json!(version)),
        "{what}"
    );
    cx.api.delete(&at(version, &name)).await;
    cx.api.gone(&at(home, &name), SOON).await;
}

async fn old_reviews_and_evictions(cx: Cx) {
    let review = json!({"apiVersion": "authorization.k8s.io/v1beta1", "kind": "SubjectAccessReview",
        "spec": {"group": ["system:masters"], "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let answer = cx.api.try_post("/apis/authorization.k8s.io/v1beta1/subjectaccessreviews", &review).await;
    assert!(
        answer.warnings()[0].contains("use authorization.k8s.io/v1 SubjectAccessReview"),
        "{:?}",
        answer.warnings()
    );
    let answer = answer.ok();
    assert_eq!(
        (&answer["status"]["allowed"], &answer["spec"]["group"], &answer["apiVersion"]),
        (&json!(true), &json!(["system:masters"]), &json!("authorization.k8s.io/v1beta1"))
    );
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    let eviction = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"}});
    let evicted = cx.api.try_post(&cx.core("pods/p/eviction"), &eviction).await;
    assert!(evicted.warnings()[0].contains("use policy/v1 Eviction"), "{:?}", evicted.warnings());
    evicted.ok();
    cx.api.gone(&cx.core("pods/p"), SOON).await;
}

async fn flow_control(cx: Cx) {
    let root = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let is = |status: &'static str| {
        move |s: &Value| {
            s["status"]["conditions"][0]["type"] == "Dangling" && s["status"]["conditions"][0]["status"] == status
        }
    };
    let schema = cx.api.wait("is found", &format!("{root}/flowschemas/global-default"), SOON, is("False")).await;
    assert_eq!(schema["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"], "true");
    let exempt = cx.api.get(&format!("{root}/prioritylevelconfigurations/exempt")).await;
    assert_eq!(exempt["spec"]["type"], "Exempt");
    // what ships comes back
    cx.api.delete(&format!("{root}/flowschemas/probes")).await;
    cx.api.wait("is made again", &format!("{root}/flowschemas/probes"), SOON, is("False")).await;
    let mine = json!({"metadata": {"name": "of-the-test"}, "spec": {"priorityLevelConfiguration": {"name": "none-such"}, "matchingPrecedence": 9999,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    cx.api.post(&format!("{root}/flowschemas"), mine).await;
    let at = format!("{root}/flowschemas/of-the-test");
    cx.api.wait("dangles", &at, SOON, is("True")).await;
    cx.api.delete(&at).await;
    let mut other = cx.api.get(&format!("{root}/flowschemas/catch-all")).await;
    other["spec"]["matchingPrecedence"] = json!(7);
    let no = cx.api.try_put(&format!("{root}/flowschemas/catch-all"), &other).await.refused(422, "Invalid");
    assert!(no["message"].as_str().unwrap().contains("spec of 'catch-all' must equal the fixed value"), "{no}");
}

async fn component_statuses(cx: Cx) {
    let reply = cx.api.try_get("/api/v1/componentstatuses").await;
    assert!(reply.warnings()[0].contains("v1 ComponentStatus is deprecated in v1.19+"), "{:?}", reply.warnings());
    assert_eq!(super::crud::names(&reply.ok()), ["controller-manager", "etcd-0", "scheduler"]);
    let mine = json!({"metadata": {"name": "x"}});
    cx.api.try_post("/api/v1/componentstatuses", &mine).await.refused(405, "MethodNotAllowed");
}

async fn device_claims(cx: Cx) {
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "none"}}]);
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": requests}}}});
    cx.api.post(&cx.of("resource.k8s.io/v1", "resourceclaimtemplates"), template).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}],
        "containers": [{"name": "a", "image": "x", "resources": {"claims": [{"name": "gpu"}]}}]}});
    cx.api.post(&cx.core("pods"), pod).await;
    let noted = |p: &Value| p["status"]["resourceClaimStatuses"][0]["resourceClaimName"].is_string();
    let pod = cx.api.wait("has a claim", &cx.core("pods/p"), SOON, noted).await;
    let name = pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap();
    let at = cx.of("resource.k8s.io/v1", &format!("resourceclaims/{name}"));
    let claim = cx.api.get(&at).await;
    assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"]);
    let changed = json!({"spec": {"devices": {"requests": []}}});
    cx.api.try_patch(&at, tests::api::MERGE_PATCH, &changed).await.refused(422, "Invalid");
    cx.api.delete(&cx.core("pods/p")).await;
    cx.api.gone(&at, SOON).await;
}
