//! `node.k8s.io`.

use super::def::cluster;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", NoStrategy)]
}
