use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::kinds::registry;

fn references(v: &Value, prefix: &str, out: &mut BTreeSet<String>) {
    match v {
        Value::String(s) => out.extend(s.strip_prefix(prefix).map(str::to_owned)),
        Value::Array(a) => a.iter().for_each(|v| references(v, prefix, out)),
        Value::Object(o) => o.values().for_each(|v| references(v, prefix, out)),
        _ => {}
    }
}

#[test]
fn v2_is_closed_and_tells_what_kubectl_asks() {
    let doc: Value = serde_json::from_slice(&v2(&registry(), &|_| None, &Extra::default())).unwrap();
    let mut wanted = BTreeSet::new();
    references(&doc, "#/definitions/", &mut wanted);
    let definitions = doc["definitions"].as_object().unwrap();
    let missing: Vec<_> = wanted.iter().filter(|n| !definitions.contains_key(*n)).collect();
    assert_eq!(missing, Vec::<&String>::new());

    let patch = &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(
        ["dryRun", "fieldManager", "fieldValidation", "force", "body"].iter().all(|n| names.contains(n)),
        "{names:?}"
    );
    assert_eq!(doc["paths"]["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    assert!(doc["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"].is_object());

    let old = &definitions["io.k8s.api.extensions.v1beta1.Deployment"];
    assert_eq!(old["x-kubernetes-group-version-kind"][0]["group"], "extensions");
    assert_eq!(old["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.extensions.v1beta1.DeploymentSpec");
    let spec = &definitions["io.k8s.api.extensions.v1beta1.DeploymentSpec"];
    assert_eq!(spec["required"], serde_json::json!(["template"]));
    assert!(spec["properties"]["rollbackTo"].is_object());
}

#[test]
fn v3_documents_are_closed_and_in_the_index() {
    let registry = registry();
    let index = v3_index(&registry);
    for (path, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        let parts: Vec<&str> = path.split('/').collect();
        let (group, version) = if parts[0] == "api" { ("", parts[1]) } else { (parts[1], parts[2]) };
        let doc: Value = serde_json::from_slice(&v3(&registry, &|_| None, group, version).unwrap()).unwrap();
        let (mut wanted, mut stale) = (BTreeSet::new(), BTreeSet::new());
        references(&doc, "#/components/schemas/", &mut wanted);
        references(&doc, "#/definitions/", &mut stale);
        let schemas = doc["components"]["schemas"].as_object().unwrap();
        let missing: Vec<_> = wanted.iter().filter(|n| !schemas.contains_key(*n)).collect();
        assert_eq!((missing, stale.len()), (Vec::<&String>::new(), 0), "{path}");
    }
    assert!(v3(&registry, &|_| None, "nope", "v1").is_none());
}

/// Reads the fields of a message: number and payload.
fn fields(mut m: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(m: &mut &[u8]) -> u64 {
        let (mut v, mut shift) = (0, 0);
        loop {
            let (first, rest) = m.split_first().unwrap();
            *m = rest;
            v |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                return v;
            }
        }
    }
    let mut out = Vec::new();
    while !m.is_empty() {
        let tag = varint(&mut m);
        let length = if tag & 7 == 2 {
            varint(&mut m) as usize
        } else {
            let _ = varint(&mut m);
            0
        };
        let (head, rest) = m.split_at(length);
        m = rest;
        out.push((tag >> 3, head));
    }
    out
}

#[test]
fn protobuf_holds_what_json_holds() {
    let registry = registry();
    let doc: Value = serde_json::from_slice(&v2(&registry, &|_| None, &Extra::default())).unwrap();
    let proto = v2_protobuf(&registry, &|_| None, &Extra::default());
    let document = fields(&proto);
    let message = |number| document.iter().find(|(n, _)| *n == number).unwrap().1;
    let names = |m| -> Vec<String> {
        fields(m).into_iter().map(|(_, named)| String::from_utf8(fields(named)[0].1.to_vec()).unwrap()).collect()
    };
    let keys = |v: &Value| -> BTreeSet<String> { v.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(fields(&proto)[0], (1, &b"2.0"[..]));
    assert_eq!(names(message(8)).into_iter().collect::<BTreeSet<_>>(), keys(&doc["paths"]));
    assert_eq!(names(message(9)).into_iter().collect::<BTreeSet<_>>(), keys(&doc["definitions"]));
}
