//! `storage.k8s.io`.

mod csi;
mod storage_class;

use super::def::{cluster, namespaced};
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers", csi::CsiDriver),
        cluster("storage.k8s.io", "v1", "CSINode", "csinodes", csi::CsiNode),
        namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", csi::CsiStorageCapacity),
        cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses", storage_class::StorageClass).short("sc"),
        cluster("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", csi::VolumeAttachment).status(),
        cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", csi::VolumeAttributesClass)
            .short("vac"),
    ]
}
