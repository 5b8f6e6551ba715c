//! The specs of old versions whose fields are not the newest's.

use serde_json::{Value, json};

const SELECTOR: &str = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector";
const QUANTITY: &str = "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity";
const TARGET: &str = "#/definitions/io.k8s.api.autoscaling.v2.CrossVersionObjectReference";

/// Of the definitions that the old ones refer to, the one that the newest do not.
pub(super) const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Turns the newest version's spec into an old one's.
pub(super) fn reshape(kind: &str, version: &str, spec: &mut Value) {
    let Some(fields) = spec.get_mut("properties").and_then(Value::as_object_mut) else { return };
    match (kind, version) {
        ("Ingress", _) => {
            fields.remove("defaultBackend");
            fields.insert("backend".into(), backend());
            fields.insert("rules".into(), rules());
        }
        ("HorizontalPodAutoscaler", "v2beta1") => {
            fields.remove("behavior");
            fields.insert("metrics".into(), metrics());
        }
        _ => {}
    }
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn backend() -> Value {
    json!({"type": "object", "description": "IngressBackend describes all endpoints for a given service and port.", "properties": {
        "resource": {"$ref": "#/definitions/io.k8s.api.core.v1.TypedLocalObjectReference"},
        "serviceName": text("Specifies the name of the referenced service."),
        "servicePort": {"$ref": format!("#/definitions/{INT_OR_STRING}")}}})
}

fn rules() -> Value {
    let path = json!({"type": "object", "required": ["backend"], "properties": {
        "backend": backend(),
        "path": text("Path is matched against the path of an incoming request."),
        "pathType": text("PathType determines the interpretation of the Path matching. Defaults to ImplementationSpecific.")}});
    let http = json!({"type": "object", "required": ["paths"], "properties": {
        "paths": {"type": "array", "description": "A collection of paths that map requests to backends.", "items": path}}});
    json!({"type": "array", "x-kubernetes-list-type": "atomic",
        "description": "A list of host rules used to configure the Ingress. If unspecified, or no rule matches, all traffic is sent to the default backend.",
        "items": {"type": "object", "properties": {"host": text("Host is the fully qualified domain name of a network host."), "http": http}}})
}

fn metrics() -> Value {
    let quantity = || json!({"$ref": QUANTITY});
    let percent = || json!({"type": "integer", "format": "int32", "description": "the target value of the average of the resource metric across all relevant pods, as a percentage of the requested value"});
    let metric = || text("the name of the metric in question");
    let selector = || json!({"$ref": SELECTOR});
    let source = |fields: Value| json!({"type": "object", "properties": fields});
    json!({"type": "array", "description": "the specifications for which to use to calculate the desired replica count", "items": {
        "type": "object", "required": ["type"], "properties": {
            "type": text("the type of metric source: ContainerResource, External, Object, Pods or Resource"),
            "containerResource": source(json!({"name": text("the name of the resource"), "container": text("the name of the container"),
                "targetAverageUtilization": percent(), "targetAverageValue": quantity()})),
            "external": source(json!({"metricName": metric(), "metricSelector": selector(), "targetAverageValue": quantity(),
                "targetValue": quantity()})),
            "object": source(json!({"target": {"$ref": TARGET}, "metricName": metric(), "targetValue": quantity(),
                "selector": selector(), "averageValue": quantity()})),
            "pods": source(json!({"metricName": metric(), "selector": selector(), "targetAverageValue": quantity()})),
            "resource": source(json!({"name": text("the name of the resource"), "targetAverageUtilization": percent(),
                "targetAverageValue": quantity()}))}}})
}
