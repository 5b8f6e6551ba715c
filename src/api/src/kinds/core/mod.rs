//! The core group.

use super::def::{cluster, namespaced};
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("", "v1", "ConfigMap", "configmaps", NoStrategy).short("cm"),
        namespaced("", "v1", "Endpoints", "endpoints", NoStrategy).short("ep"),
        namespaced("", "v1", "Event", "events", NoStrategy).short("ev").also(&[("events.k8s.io", "v1")]).late_flush(),
        namespaced("", "v1", "LimitRange", "limitranges", NoStrategy).short("limits"),
        cluster("", "v1", "Namespace", "namespaces", NoStrategy).short("ns").status().without_verb("deletecollection"),
        cluster("", "v1", "Node", "nodes", NoStrategy).short("no").status(),
        namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", NoStrategy).short("pvc").status(),
        cluster("", "v1", "PersistentVolume", "persistentvolumes", NoStrategy).short("pv").status(),
        namespaced("", "v1", "Pod", "pods", NoStrategy).short("po").all().status(),
        namespaced("", "v1", "PodTemplate", "podtemplates", NoStrategy),
        namespaced("", "v1", "ReplicationController", "replicationcontrollers", NoStrategy)
            .short("rc")
            .all()
            .status()
            .scale(),
        namespaced("", "v1", "ResourceQuota", "resourcequotas", NoStrategy).short("quota").status(),
        namespaced("", "v1", "Secret", "secrets", NoStrategy),
        namespaced("", "v1", "ServiceAccount", "serviceaccounts", NoStrategy).short("sa"),
        namespaced("", "v1", "Service", "services", NoStrategy).short("svc").all().status(),
    ]
}
