//! `scheduling.k8s.io`.

use super::def::cluster;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", NoStrategy).short("pc")]
}
