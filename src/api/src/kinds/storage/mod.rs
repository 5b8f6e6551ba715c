//! `storage.k8s.io`.

mod csi;
mod rules;
mod storage_class;

use serde_json::Value;

use super::def::{cluster, namespaced};
use super::tree::same;
use crate::Kind;
use crate::field::{Error, Path};

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

/// Fields of a class that an update may not touch, in its own words.
fn fixed(new: &Value, old: &Value, keys: &[&str]) -> Vec<Error> {
    let changed = keys.iter().filter(|key| !same(&new[**key], &old[**key]));
    changed.map(|key| Error::forbidden(&Path::root(key), &format!("updates to {key} are forbidden."))).collect()
}
