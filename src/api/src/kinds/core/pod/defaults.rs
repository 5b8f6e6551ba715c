//! `SetDefaults_Pod`, `SetDefaults_PodSpec` and all below them.

use serde_json::{Value, json};

use super::super::volume;
use crate::kinds::resources::{requests_from_limits, round_list, round_requirements};
use crate::kinds::tree::{child, flag, items_mut, made, number, or, or_zero, text};

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// A pod: what a template has, and what only a pod gets.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = made(pod, "spec") else { return };
    pod_spec(spec);
    or(spec, "enableServiceLinks", true);
    let host_network = flag(spec, "hostNetwork");
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            if let Some(resources) = child(container, "resources") {
                requests_from_limits(resources);
            }
            for port in items_mut(container, "ports").iter_mut().filter(|_| host_network) {
                let number = number(port, "containerPort");
                or_zero(port, "hostPort", number);
            }
        }
    }
    if let Some(resources) = child(spec, "resources") {
        requests_from_limits(resources);
    }
}

/// The spec of a `PodTemplateSpec`.
pub(crate) fn template(template: &mut Value) {
    if let Some(spec) = made(template, "spec") {
        pod_spec(spec);
    }
}

/// `SetDefaults_PodSpec` with containers and volumes.
pub(crate) fn pod_spec(spec: &mut Value) {
    or_zero(spec, "dnsPolicy", "ClusterFirst");
    or_zero(spec, "restartPolicy", "Always");
    or(spec, "securityContext", json!({}));
    or(spec, "terminationGracePeriodSeconds", 30);
    or_zero(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    round_list(spec, "overhead");
    if let Some(resources) = child(spec, "resources") {
        round_requirements(resources);
    }
    for list in CONTAINERS {
        items_mut(spec, list).iter_mut().for_each(container);
    }
    items_mut(spec, "volumes").iter_mut().for_each(volume::default);
}

/// The old name and the new one are one field upstream; both are given out.
fn service_account(spec: &mut Value) {
    let name = [text(spec, "serviceAccountName"), text(spec, "serviceAccount")].into_iter().find(|n| !n.is_empty());
    if let Some(name) = name.map(str::to_owned) {
        spec["serviceAccountName"] = name.clone().into();
        spec["serviceAccount"] = name.into();
    }
}

/// `Always` for `:latest`, said or meant: upstream's `parsers.ParseImageName`.
pub(crate) fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    match name.split_once(':') {
        _ if image.is_empty() || image.contains('@') => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

pub(super) fn container(c: &mut Value) {
    let policy = pull_policy(text(c, "image"));
    or_zero(c, "imagePullPolicy", policy);
    or_zero(c, "terminationMessagePath", "/dev/termination-log");
    or_zero(c, "terminationMessagePolicy", "File");
    or(c, "resources", json!({}));
    if let Some(resources) = child(c, "resources") {
        round_requirements(resources);
    }
    for port in items_mut(c, "ports") {
        or_zero(port, "protocol", "TCP");
    }
    for env in items_mut(c, "env") {
        if let Some(from) = child(env, "valueFrom") {
            reference(from);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(c, name) {
            or_zero(probe, "timeoutSeconds", 1);
            or_zero(probe, "periodSeconds", 10);
            or_zero(probe, "successThreshold", 1);
            or_zero(probe, "failureThreshold", 3);
            http_get(probe);
            if let Some(grpc) = child(probe, "grpc") {
                or(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = child(c, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = child(lifecycle, hook) {
                http_get(handler);
            }
        }
    }
}

fn http_get(handler: &mut Value) {
    if let Some(get) = child(handler, "httpGet") {
        or_zero(get, "path", "/");
        or_zero(get, "scheme", "HTTP");
    }
}

/// `fieldRef`, `resourceFieldRef` and `fileKeyRef`, of a variable or of a file in a downward API volume.
pub(crate) fn reference(from: &mut Value) {
    if let Some(field) = child(from, "fieldRef") {
        or_zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = child(from, "resourceFieldRef") {
        or_zero(resource, "divisor", "0");
    }
    if let Some(file) = child(from, "fileKeyRef") {
        or(file, "optional", false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.15", "IfNotPresent"),
            ("reg:5000/nginx", "Always"),
            ("reg:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn a_plain_pod_gets_upstreams_defaults() {
        let mut p = json!({"spec": {"containers": [{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
            "volumes": [{"name": "e"}, {"name": "h", "hostPath": {"path": "/x"}}, {"name": "s", "secret": {"secretName": "y"}},
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}});
        pod(&mut p);
        assert_eq!(
            p["spec"],
            json!({"containers": [{"name": "a", "image": "nginx", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}},
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "volumes": [{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}},
                {"name": "s", "secret": {"secretName": "y", "defaultMode": 420}},
                {"name": "t", "projected": {"defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true})
        );
        let before = p.clone();
        pod(&mut p);
        assert_eq!(p, before, "defaulting twice changes nothing");
    }
}
