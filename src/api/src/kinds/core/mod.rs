//! The core group.

mod component_status;
mod config_map;
mod endpoints;
mod event;
mod limit_range;
pub mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;
mod taint;
mod volume;
mod volume_source;

use super::def::{cluster, namespaced};
use crate::Kind;

pub(super) use persistent_volume::validate_spec as validate_volume_spec;
pub(super) use pod::node_selector;
pub(super) use taint::validate_tolerations;

pub(super) use persistent_volume_claim::{default as default_claim, validate_spec as validate_claim_spec};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("", "v1", "ComponentStatus", "componentstatuses", component_status::ComponentStatus)
            .short("cs")
            .verbs(&["get", "list"]),
        namespaced("", "v1", "ConfigMap", "configmaps", config_map::ConfigMap).short("cm"),
        namespaced("", "v1", "Endpoints", "endpoints", endpoints::Endpoints).short("ep"),
        namespaced("", "v1", "Event", "events", event::Event)
            .short("ev")
            .also(&[("events.k8s.io", "v1"), ("events.k8s.io", "v1beta1")])
            .late_flush(),
        namespaced("", "v1", "LimitRange", "limitranges", limit_range::LimitRange).short("limits"),
        cluster("", "v1", "Namespace", "namespaces", namespace::Namespace)
            .short("ns")
            .status()
            .without_verb("deletecollection"),
        cluster("", "v1", "Node", "nodes", node::Node).short("no").status(),
        namespaced(
            "",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            persistent_volume_claim::PersistentVolumeClaim,
        )
        .short("pvc")
        .status(),
        cluster("", "v1", "PersistentVolume", "persistentvolumes", persistent_volume::PersistentVolume)
            .short("pv")
            .status(),
        namespaced("", "v1", "Pod", "pods", pod::Pod).short("po").all().status(),
        namespaced("", "v1", "PodTemplate", "podtemplates", pod_template::PodTemplate),
        namespaced(
            "",
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            replication_controller::ReplicationController,
        )
        .short("rc")
        .all()
        .status()
        .scale(),
        namespaced("", "v1", "ResourceQuota", "resourcequotas", resource_quota::ResourceQuota).short("quota").status(),
        namespaced("", "v1", "Secret", "secrets", secret::Secret),
        namespaced("", "v1", "ServiceAccount", "serviceaccounts", service_account::ServiceAccount).short("sa"),
        namespaced("", "v1", "Service", "services", service::Service).short("svc").all().status(),
    ]
}
