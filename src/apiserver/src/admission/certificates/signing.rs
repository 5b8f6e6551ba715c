//! To sign is a permission per signer: upstream's `certificates/signing`.

use std::sync::Arc;

use api::Status;
use async_trait::async_trait;

use super::{is_part, may, signer};
use crate::admission::{Plugin, Write};
use crate::{Attributes, Authorizer, Verb};

pub struct CertificateSigning(pub Arc<dyn Authorizer>);

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is_part(a, "status") && matches!(a.verb, Verb::Update | Verb::Patch)
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let Some(old) = write.old.map(|o| o.tree()) else { return Ok(()) };
        let same = |p: &str| old.pointer(p) == write.object.pointer(p);
        if same("/status/certificate") && same("/status/conditions")
            || may(&self.0, write.attributes, "sign", signer(&old))
        {
            return Ok(());
        }
        Err(write.refuse(format!("user not permitted to sign requests with signerName {:?}", signer(&old))))
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
    async fn a_signer_signs_for_itself() {
        let a = attributes(Verb::Update, "status");
        let old = json!({"metadata": {"name": "c"}, "spec": {"signerName": "x.io/s"}});
        let mut new = old.clone();
        new["status"] = json!({"certificate": "eA=="});
        let stored = Arc::new(Draft::encode(&old).unwrap().at(1));
        let plugin = CertificateSigning(Arc::new(Only("sign", "x.io/t")));
        assert!(run(&plugin, &a, old, Some(&stored)).await.is_ok(), "nothing is signed");
        let refused = run(&plugin, &a, new.clone(), Some(&stored)).await.unwrap_err();
        assert!(refused.message.ends_with("user not permitted to sign requests with signerName \"x.io/s\""));
        let plugin = CertificateSigning(Arc::new(Only("sign", "x.io/s")));
        assert!(run(&plugin, &a, new, Some(&stored)).await.is_ok());
    }
}
