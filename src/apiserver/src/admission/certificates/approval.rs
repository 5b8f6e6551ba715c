//! To approve is a permission per signer: upstream's `certificates/approval`.

use std::sync::Arc;

use api::Status;
use async_trait::async_trait;

use super::{is_part, may, signer};
use crate::admission::{Plugin, Write};
use crate::{Attributes, Authorizer, Verb};

pub struct CertificateApproval(pub Arc<dyn Authorizer>);

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is_part(a, "approval") && matches!(a.verb, Verb::Update | Verb::Patch)
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        // the stored one's: what is sent may say anything
        let Some(old) = write.old.map(|o| o.tree()) else { return Ok(()) };
        if may(&self.0, write.attributes, "approve", signer(&old)) {
            return Ok(());
        }
        Err(write.refuse(format!("user not permitted to approve requests with signerName {:?}", signer(&old))))
    }
}

#[cfg(test)]
mod tests {
    use api::Draft;
    use serde_json::json;

    use super::super::testing::{Only, attributes};
    use super::*;
    use crate::admission::testing::run;

    #[tokio::test]
    async fn a_signers_approvers_approve() {
        let a = attributes(Verb::Update, "approval");
        let tree = json!({"metadata": {"name": "c"}, "spec": {"signerName": "x.io/s"}});
        let old = Arc::new(Draft::encode(&tree).unwrap().at(1));
        for (verb, name, allowed) in [
            ("approve", "x.io/s", true),
            ("approve", "x.io/*", true),
            ("approve", "x.io/t", false),
            ("sign", "x.io/s", false),
        ] {
            let plugin = CertificateApproval(Arc::new(Only(verb, name)));
            assert_eq!(run(&plugin, &a, tree.clone(), Some(&old)).await.is_ok(), allowed, "{verb} {name}");
        }
        let refused = run(&CertificateApproval(Arc::new(Only("", ""))), &a, tree, Some(&old)).await.unwrap_err();
        let want = r#"certificatesigningrequests.certificates.k8s.io "c" is forbidden: user not permitted to approve requests with signerName "x.io/s""#;
        assert_eq!(refused.message, want);
    }
}
