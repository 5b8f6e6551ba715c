//! `batch`.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("batch", "v1", "CronJob", "cronjobs", NoStrategy).short("cj").all().status(),
        namespaced("batch", "v1", "Job", "jobs", NoStrategy).all().status(),
    ]
}
