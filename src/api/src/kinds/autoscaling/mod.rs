//! `autoscaling`.

mod horizontal_pod_autoscaler;
mod metrics;

use super::def::namespaced;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            horizontal_pod_autoscaler::HorizontalPodAutoscaler,
        )
        .short("hpa")
        .all()
        .status()
        .old(&["v1", "v2beta2", "v2beta1"]),
    ]
}
