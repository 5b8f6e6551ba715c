//! `storage.k8s.io`.

use super::def::{cluster, namespaced};
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers", NoStrategy),
        cluster("storage.k8s.io", "v1", "CSINode", "csinodes", NoStrategy),
        namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", NoStrategy),
        cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses", NoStrategy).short("sc"),
        cluster("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", NoStrategy).status(),
        cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", NoStrategy).short("vac"),
    ]
}
