//! What guards certificate signing requests: who asks is written into them, and approving and signing are permissions of
//! their own, per signer.

mod approval;
mod node;
mod requester;
mod signing;
mod subject;

use std::sync::Arc;

use api::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Plugin;
use crate::{Attributes, Authorizer, Decision, Verb};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";

/// In the order in which they run.
pub fn plugins(authorizer: &Arc<dyn Authorizer>) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(requester::Requester),
        Arc::new(node::NodeRequests),
        Arc::new(approval::CertificateApproval(authorizer.clone())),
        Arc::new(signing::CertificateSigning(authorizer.clone())),
        Arc::new(subject::CertificateSubjectRestriction),
    ]
}

/// Whether the write is of this part of a request; empty: of the request itself.
fn is_part(a: &Attributes, subresource: &str) -> bool {
    a.group == GROUP && a.resource == RESOURCE && a.subresource == subresource
}

fn signer(request: &Value) -> &str {
    request["spec"]["signerName"].as_str().unwrap_or_default()
}

/// Whom the request is for.
fn requested(request: &Value) -> Result<pki::Profile, pki::Error> {
    let pem = request["spec"]["request"].as_str().and_then(|r| STANDARD.decode(r).ok()).unwrap_or_default();
    pki::requested(&String::from_utf8_lossy(&pem))
}

/// `IsAuthorizedForSignerName`: `verb` on the signer itself or on all of its domain.
fn may(authorizer: &Arc<dyn Authorizer>, a: &Attributes, verb: &'static str, signer: &str) -> bool {
    let all = signer.split_once('/').map(|(domain, _)| format!("{domain}/*")).unwrap_or_default();
    [signer.to_owned(), all].into_iter().any(|name| {
        let asked = Attributes {
            user: a.user.clone(),
            verb: Verb::Other(verb),
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            subresource: String::new(),
            namespace: String::new(),
            name,
            path: String::new(),
        };
        authorizer.authorize(&asked) == Decision::Allow
    })
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::User;

    /// Lets everyone do `verb` with one signer.
    pub struct Only(pub &'static str, pub &'static str);

    impl Authorizer for Only {
        fn authorize(&self, a: &Attributes) -> Decision {
            let allowed = a.verb == Verb::Other(self.0) && a.name == self.1 && a.resource == "signers";
            if allowed { Decision::Allow } else { Decision::NoOpinion }
        }
    }

    pub fn attributes(verb: Verb, subresource: &str) -> Attributes {
        let user = User { name: "u".into(), uid: "7".into(), groups: vec!["g".into()], ..User::default() };
        Attributes {
            verb,
            group: GROUP.into(),
            subresource: subresource.into(),
            name: "c".into(),
            ..super::super::testing::attributes(RESOURCE, "", &Arc::new(user))
        }
    }
}
