//! `batch`.

mod cron_job;
mod indexes;
mod job;
mod job_spec;
mod job_status;
mod policies;

use super::def::namespaced;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("batch", "v1", "CronJob", "cronjobs", cron_job::CronJob)
            .short("cj")
            .all()
            .status()
            .old(&["v1beta1"]),
        namespaced("batch", "v1", "Job", "jobs", job::Job).all().status(),
    ]
}
