//! `admissionregistration.k8s.io`.

use super::def::cluster;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            NoStrategy,
        )
        .category("api-extensions"),
        cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            NoStrategy,
        )
        .category("api-extensions"),
    ]
}
