//! Typed views. Every type's (de)serialisation is instantiated here and nowhere else: it is heavy to compile.

use k8s_openapi::api::{
    apps::v1 as apps, batch::v1 as batch, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, rbac::v1 as rbac, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// Bytes or a tree do not fit the type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    pub fn other(message: impl Into<String>) -> DecodeError {
        DecodeError(message.into())
    }
}
impl From<serde_json::Error> for DecodeError {
    fn from(e: serde_json::Error) -> Self {
        DecodeError(e.to_string())
    }
}

/// A kind with a typed view. The (group, version) is the storage version.
pub trait Resource: Sized + Send + Sync + Clone + std::fmt::Debug + 'static {
    const GROUP: &'static str;
    const VERSION: &'static str;
    const KIND: &'static str;
    const PLURAL: &'static str;
    const NAMESPACED: bool;

    fn decode(json: &[u8]) -> Result<Self, DecodeError>;
    fn from_value(tree: Value) -> Result<Self, DecodeError>;
    /// The tree, `apiVersion` and `kind` included.
    fn to_value(&self) -> Value;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    fn gvr() -> crate::Gvr {
        crate::Gvr::new(Self::GROUP, Self::VERSION, Self::PLURAL)
    }
}

macro_rules! resources {
    ($($t:ty, $plural:literal, $namespaced:literal;)*) => {$(
        impl Resource for $t {
            const GROUP: &'static str = <$t as k8s_openapi::Resource>::GROUP;
            const VERSION: &'static str = <$t as k8s_openapi::Resource>::VERSION;
            const KIND: &'static str = <$t as k8s_openapi::Resource>::KIND;
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;

            fn decode(json: &[u8]) -> Result<Self, DecodeError> {
                Ok(serde_json::from_slice(json)?)
            }
            fn from_value(tree: Value) -> Result<Self, DecodeError> {
                Ok(serde_json::from_value(tree)?)
            }
            fn to_value(&self) -> Value {
                serde_json::to_value(self).expect("a typed object encodes to a tree")
            }
            fn metadata(&self) -> &ObjectMeta {
                k8s_openapi::Metadata::metadata(self)
            }
            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                k8s_openapi::Metadata::metadata_mut(self)
            }
        }
    )*};
}

resources! {
    core::ConfigMap, "configmaps", true;
    core::Endpoints, "endpoints", true;
    core::Event, "events", true;
    core::LimitRange, "limitranges", true;
    core::Namespace, "namespaces", false;
    core::Node, "nodes", false;
    core::PersistentVolume, "persistentvolumes", false;
    core::PersistentVolumeClaim, "persistentvolumeclaims", true;
    core::Pod, "pods", true;
    core::PodTemplate, "podtemplates", true;
    core::ReplicationController, "replicationcontrollers", true;
    core::ResourceQuota, "resourcequotas", true;
    core::Secret, "secrets", true;
    core::Service, "services", true;
    core::ServiceAccount, "serviceaccounts", true;
    apps::ControllerRevision, "controllerrevisions", true;
    apps::DaemonSet, "daemonsets", true;
    apps::Deployment, "deployments", true;
    apps::ReplicaSet, "replicasets", true;
    apps::StatefulSet, "statefulsets", true;
    batch::Job, "jobs", true;
    coordination::Lease, "leases", true;
    discovery::EndpointSlice, "endpointslices", true;
    events::Event, "events", true;
    rbac::ClusterRole, "clusterroles", false;
    rbac::ClusterRoleBinding, "clusterrolebindings", false;
    rbac::Role, "roles", true;
    rbac::RoleBinding, "rolebindings", true;
    scheduling::PriorityClass, "priorityclasses", false;
    storage::StorageClass, "storageclasses", false;
}
