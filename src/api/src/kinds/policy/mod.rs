//! `policy`.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", NoStrategy).short("pdb").status()]
}
