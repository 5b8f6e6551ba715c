//! Subresources and virtual kinds with code of their own: what is posted is answered, and seldom stored.

mod binding;
mod eviction;
mod reviews;
mod token;

pub(crate) use reviews::verb;

use std::sync::Arc;

use api::Value;
use serde_json::json;

use crate::Authorizer;
use crate::authn::{Authentication, ServiceAccounts};
use crate::authz::Rbac;
use crate::special::{Post, Specials, VirtualKind};

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
    let bindings = VirtualKind { group: "", version: "v1", kind: "Binding", plural: "bindings", namespaced: true };
    specials
        .virtual_kind(bindings, binding.clone())
        .post("", "pods", "binding", binding)
        .post("", "pods", "eviction", Arc::new(eviction::Evict))
        .post("", "serviceaccounts", "token", Arc::new(token::Tokens::new(parts.service_accounts.clone())));

    use reviews::Scope;
    let access = |scope| Arc::new(reviews::Access { authorizer: parts.authorizer.clone(), scope });
    let mut review = |group, kind, plural, namespaced, handler: Arc<dyn Post>| {
        let of = |version| VirtualKind { group, version, kind, plural, namespaced };
        specials.virtual_kind(of("v1"), handler.clone());
        specials.virtual_kind(of("v1beta1"), handler);
    };
    review(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", false, access(Scope::Anyone));
    review(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", false, access(Scope::Myself));
    review(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", true, access(Scope::Here));
    let rules = Arc::new(reviews::Rules { rbac: parts.rbac.clone() });
    review(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", false, rules);
    let token = Arc::new(reviews::Token { authentication: parts.authentication.clone() });
    review(AUTHENTICATION, "TokenReview", "tokenreviews", false, token);
    review(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", false, Arc::new(reviews::Myself));
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
