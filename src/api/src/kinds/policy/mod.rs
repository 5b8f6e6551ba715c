//! `policy`.

mod pod_disruption_budget;

use super::def::namespaced;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            pod_disruption_budget::PodDisruptionBudget,
        )
        .short("pdb")
        .status()
        .old(&["v1beta1"]),
    ]
}
