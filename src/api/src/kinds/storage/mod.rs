//! `storage.k8s.io`.

mod csi;
mod rules;
mod storage_class;

use super::def::{cluster, namespaced};
use crate::Kind;

const GROUP: &str = "storage.k8s.io";
const OLD: &[&str] = &["v1beta1"];

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(GROUP, "v1", "CSIDriver", "csidrivers", csi::CsiDriver).old(OLD),
        cluster(GROUP, "v1", "CSINode", "csinodes", csi::CsiNode).old(OLD),
        namespaced(GROUP, "v1", "CSIStorageCapacity", "csistoragecapacities", csi::CsiStorageCapacity).old(OLD),
        cluster(GROUP, "v1", "StorageClass", "storageclasses", storage_class::StorageClass).short("sc").old(OLD),
        cluster(GROUP, "v1", "VolumeAttachment", "volumeattachments", csi::VolumeAttachment).status().old(OLD),
        cluster(GROUP, "v1", "VolumeAttributesClass", "volumeattributesclasses", csi::VolumeAttributesClass)
            .short("vac")
            .old(OLD),
    ]
}
