//! `certificates.k8s.io`.

use super::def::cluster;
use crate::{Kind, NoStrategy};

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", NoStrategy)
            .short("csr")
            .status(),
    ]
}
