//! `scheduling.k8s.io`.

mod priority_class;

use super::def::cluster;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", priority_class::PriorityClass)
            .short("pc")
            .old(&["v1beta1", "v1alpha1"]),
    ]
}
