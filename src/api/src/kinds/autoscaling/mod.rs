//! `autoscaling`.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", NoStrategy)
            .short("hpa")
            .all()
            .status(),
    ]
}
