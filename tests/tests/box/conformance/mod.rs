//! What upstream's conformance suite asks for since v1.21. Its 1.20 suite is run as it is; what came later is asked here, and
//! `docs/conformance.md` says which test of ours answers which of upstream's.

mod admission;
mod jobs;
mod lifecycle;
mod networks;
mod objects;
mod pods;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    [admission::trials(), jobs::trials(), lifecycle::trials(), networks::trials(), objects::trials(), pods::trials()]
        .into_iter()
        .flatten()
        .collect()
}
