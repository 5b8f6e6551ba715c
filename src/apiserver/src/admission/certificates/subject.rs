//! No certificate makes an administrator: upstream's `certificates/subjectrestriction`.

use api::Status;
use async_trait::async_trait;

use super::{is_part, requested, signer};
use crate::admission::{Operation, Plugin, Write};
use crate::{Attributes, Verb};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is_part(a, "") && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create || signer(write.object) != SIGNER {
            return Ok(());
        }
        let asked = requested(write.object).map_err(|error| write.refuse(format!("failed to parse CSR: {error}")))?;
        if asked.organizations.iter().any(|o| o == "system:masters") {
            return Err(write.refuse(format!("use of {SIGNER} signer with system:masters group is not allowed")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::super::testing::attributes;
    use super::*;
    use crate::admission::testing::run;

    #[tokio::test]
    async fn masters_are_refused() {
        let a = attributes(Verb::Create, "");
        for (group, signer, allowed) in
            [("system:masters", SIGNER, false), ("system:masters", "x.io/s", true), ("people", SIGNER, true)]
        {
            let request = pki::SigningRequest::new(&pki::Profile::client("x", &[group])).unwrap();
            let spec = json!({"signerName": signer, "request": STANDARD.encode(request.pem)});
            let got = run(&CertificateSubjectRestriction, &a, json!({"spec": spec}), None).await;
            assert_eq!(got.is_ok(), allowed, "{group} {signer}");
        }
        let broken = json!({"spec": {"signerName": SIGNER, "request": "eA=="}});
        assert!(
            run(&CertificateSubjectRestriction, &a, broken, None)
                .await
                .unwrap_err()
                .message
                .contains("failed to parse CSR")
        );
    }
}
