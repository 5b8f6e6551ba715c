//! `admissionregistration.k8s.io`: webhook configurations, admission policies and their bindings.

mod bindings;
mod expressions;
mod policies;
mod rules;
mod webhooks;

use super::def::cluster;
use crate::Kind;

const GROUP: &str = "admissionregistration.k8s.io";

pub(super) fn kinds() -> Vec<Kind> {
    let webhooks = |kind: &str, plural: &str, mutating| {
        cluster(GROUP, "v1", kind, plural, webhooks::Webhooks { mutating }).category("api-extensions").old(&["v1beta1"])
    };
    let policy = |kind: &str, plural: &str, mutating| {
        cluster(GROUP, "v1", kind, plural, policies::Policy { mutating }).category("api-extensions")
    };
    let binding = |kind: &str, plural: &str, mutating| {
        cluster(GROUP, "v1", kind, plural, bindings::Binding { mutating }).category("api-extensions")
    };
    vec![
        policy("MutatingAdmissionPolicy", "mutatingadmissionpolicies", true),
        binding("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", true),
        webhooks("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", true),
        policy("ValidatingAdmissionPolicy", "validatingadmissionpolicies", false).status().old(&["v1beta1"]),
        binding("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false).old(&["v1beta1"]),
        webhooks("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ]
}
