//! A node asks for certificates in its own name only: the part of upstream's `noderestriction` that is about requests.

use api::Status;
use async_trait::async_trait;

use super::{is_part, requested, signer};
use crate::admission::{Operation, Plugin, Write};
use crate::authz::node_name;
use crate::{Attributes, Verb};

const SIGNERS: [&str; 2] = ["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"];

pub struct NodeRequests;

#[async_trait]
impl Plugin for NodeRequests {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is_part(a, "") && a.verb == Verb::Create && node_name(&a.user).is_some()
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let a = write.attributes;
        let Some(node) = node_name(&a.user).filter(|_| write.operation() == Operation::Create) else { return Ok(()) };
        if !SIGNERS.contains(&signer(write.object)) {
            return Ok(());
        }
        let asked = requested(write.object).map_err(|e| write.refuse(format!("unable to parse csr: {e}")))?;
        let (own, name) = (format!("system:node:{node}"), asked.common_name);
        if name.starts_with("system:node:") && name != own {
            return Err(write.refuse(format!("can only create a node CSR with CN={own}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::super::testing::attributes;
    use super::*;
    use crate::User;
    use crate::admission::testing::run;

    #[tokio::test]
    async fn a_node_asks_for_itself() {
        let user = User { name: "system:node:a".into(), groups: vec!["system:nodes".into()], ..User::default() };
        let a = Attributes { user: Arc::new(user), ..attributes(Verb::Create, "") };
        for (node, signer, allowed) in
            [("a", SIGNERS[0], true), ("b", SIGNERS[0], false), ("b", SIGNERS[1], false), ("b", "x.io/s", true)]
        {
            let request = pki::SigningRequest::new(&pki::Profile::node(node)).unwrap();
            let spec = json!({"signerName": signer, "request": STANDARD.encode(request.pem)});
            assert_eq!(run(&NodeRequests, &a, json!({"spec": spec}), None).await.is_ok(), allowed, "{node} {signer}");
        }
        let broken = json!({"spec": {"signerName": SIGNERS[0], "request": "eA=="}});
        assert!(run(&NodeRequests, &a, broken, None).await.unwrap_err().message.contains("unable to parse csr"));
    }
}
