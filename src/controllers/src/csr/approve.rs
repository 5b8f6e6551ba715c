//! Which requests are a node's own, for the certificate it speaks to the API with.

use api::Value;

use super::sign::{KUBELET_CLIENT, kubelet_client};

/// The permissions of which one approves it (subresources of signing requests that can be created), each with the message of
/// the approval. `None` if it is no node's.
pub fn recognized(
    request: &Value,
    profile: &pki::Profile,
) -> Option<impl Iterator<Item = (&'static str, &'static str)> + use<>> {
    if request["spec"]["signerName"] != KUBELET_CLIENT || kubelet_client(profile, &super::usages(request)).is_err() {
        return None;
    }
    let own = request["spec"]["username"] == profile.common_name.as_str();
    let renewal = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
    let first = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    Some(own.then_some(renewal).into_iter().chain([first]))
}
