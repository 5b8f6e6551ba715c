//! Ingress of `extensions/v1beta1` and `networking.k8s.io/v1beta1`: flat backends, and paths without a type.

use serde_json::{Map, Value, json};

/// Every path of every rule.
fn paths(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    let paths = rules.filter_map(|r| r.get_mut("http")?.get_mut("paths")?.as_array_mut());
    paths.flatten().filter_map(Value::as_object_mut)
}

pub(super) fn to_v1(tree: &mut Value) {
    let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(mut backend) = spec.remove("backend") {
        nest(&mut backend);
        spec.insert("defaultBackend".into(), backend);
    }
    for path in paths(spec) {
        if path.get("pathType").is_none_or(Value::is_null) {
            path.insert("pathType".into(), "ImplementationSpecific".into());
        }
        path.get_mut("backend").map(nest);
    }
}

pub(super) fn from_v1(tree: &mut Value) {
    let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(mut backend) = spec.remove("defaultBackend") {
        flatten(&mut backend);
        spec.insert("backend".into(), backend);
    }
    paths(spec).filter_map(|p| p.get_mut("backend")).for_each(flatten);
}

fn nest(backend: &mut Value) {
    let Some(backend) = backend.as_object_mut() else { return };
    let (name, port) = (backend.remove("serviceName"), backend.remove("servicePort"));
    if name.is_none() && port.is_none() {
        return;
    }
    let mut service = Map::new();
    service.extend(name.map(|n| ("name".to_owned(), n)));
    match port {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => drop(service.insert("port".into(), json!({"name": text}))),
        Some(number) => drop(service.insert("port".into(), json!({"number": number}))),
    }
    backend.insert("service".into(), service.into());
}

fn flatten(backend: &mut Value) {
    let Some(backend) = backend.as_object_mut() else { return };
    let Some(Value::Object(mut service)) = backend.remove("service") else { return };
    backend.extend(service.remove("name").map(|n| ("serviceName".to_owned(), n)));
    let port = service.get("port").and_then(|p| p.get("name").or_else(|| p.get("number")));
    backend.insert("servicePort".into(), port.cloned().unwrap_or_else(|| 0.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_nest_and_paths_get_a_type() {
        let old = json!({"spec": {"backend": {"serviceName": "d", "servicePort": "http"}, "rules": [{"host": "a.b", "http": {"paths": [
            {"path": "/x", "backend": {"serviceName": "s", "servicePort": 80}},
            {"pathType": "Prefix", "path": "/", "backend": {"resource": {"kind": "K", "name": "n"}}}]}}]}});
        let mut tree = old.clone();
        to_v1(&mut tree);
        let path = |i: usize| tree.pointer(&format!("/spec/rules/0/http/paths/{i}")).unwrap();
        assert_eq!(
            (&tree["spec"]["defaultBackend"], path(0)),
            (
                &json!({"service": {"name": "d", "port": {"name": "http"}}}),
                &json!({"path": "/x", "pathType": "ImplementationSpecific", "backend": {"service": {"name": "s", "port": {"number": 80}}}})
            )
        );
        assert_eq!(path(1)["backend"], json!({"resource": {"kind": "K", "name": "n"}}));
        let new = tree.clone();
        from_v1(&mut tree);
        assert_eq!(tree["spec"]["backend"], old["spec"]["backend"]);
        to_v1(&mut tree);
        assert_eq!(tree, new);
    }
}
