//! Subresources and virtual kinds with code of their own: what is posted is answered, and seldom stored.

mod binding;
mod eviction;
mod reviews;
mod token;

use std::sync::Arc;

use api::Value;
use serde_json::json;

use crate::Authorizer;
use crate::authn::{Authentication, ServiceAccounts};
use crate::authz::Rbac;
use crate::special::{Specials, VirtualKind};

/// What the handlers need of the server.
pub struct Parts {
    pub service_accounts: Arc<ServiceAccounts>,
    pub authentication: Arc<Authentication>,
    pub authorizer: Arc<dyn Authorizer>,
    pub rbac: Arc<Rbac>,
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Puts all of them into the table.
pub fn register(specials: &mut Specials, parts: &Parts) {
    let binding = Arc::new(binding::Bind);
    specials
        .post("", "pods", "binding", binding.clone())
        .post("", "bindings", "", binding)
        .post("", "pods", "eviction", Arc::new(eviction::Evict))
        .post("", "serviceaccounts", "token", Arc::new(token::Tokens::new(parts.service_accounts.clone())));

    let access = |scope| Arc::new(reviews::Access { authorizer: parts.authorizer.clone(), scope });
    let kind = |group, kind, plural, namespaced| VirtualKind { group, version: "v1", kind, plural, namespaced };
    use reviews::Scope;
    specials
        .virtual_kind(kind(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", false), access(Scope::Anyone))
        .virtual_kind(
            kind(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
            access(Scope::Myself),
        )
        .virtual_kind(
            kind(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", true),
            access(Scope::Here),
        )
        .virtual_kind(
            kind(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", false),
            Arc::new(reviews::Rules { rbac: parts.rbac.clone() }),
        )
        .virtual_kind(
            kind(AUTHENTICATION, "TokenReview", "tokenreviews", false),
            Arc::new(reviews::Token { authentication: parts.authentication.clone() }),
        )
        .virtual_kind(
            kind(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", false),
            Arc::new(reviews::Myself),
        );
}

/// What upstream answers where there is no object to show.
fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn strings(v: &Value, pointer: &str) -> Vec<String> {
    let list = v.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
}
