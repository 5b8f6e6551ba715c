//! Questions about access, answered from the tables that decide it: `SubjectAccessReview` and its kin, `TokenReview`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;

use super::{strings, text};
use crate::authn::Authentication;
use crate::authz::{Rbac, Rule};
use crate::special::{Post, PostRequest};
use crate::{Attributes, Authorizer, Decision, User, Verb};

/// Whose access is asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Anyone,
    Myself,
    /// Anyone's, in the namespace of the review.
    Here,
}

pub struct Access {
    pub authorizer: Arc<dyn Authorizer>,
    pub scope: Scope,
}

#[async_trait]
impl Post for Access {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let mut review = r.body;
        let asked = question(&review, self.scope, r.attributes)?;
        let decision = self.authorizer.authorize(&asked);
        let mut status = json!({"allowed": decision == Decision::Allow});
        if let Decision::Deny(why) = decision {
            status["reason"] = json!(why);
        }
        review["status"] = status;
        Ok(review)
    }
}

fn question(review: &Value, scope: Scope, a: &Attributes) -> Result<Attributes, Status> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == path.is_object() {
        let why = match resource.is_object() {
            true => "cannot be specified in combination with resourceAttributes",
            false => "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        };
        let spec = api::field::Path::root("spec");
        let error = match resource.is_object() {
            true => api::field::Error::invalid(&spec.child("nonResourceAttributes"), path.clone(), why),
            false => api::field::Error::invalid(&spec.child("resourceAttributes"), Value::Null, why),
        };
        return Err(Status::invalid("authorization.k8s.io", text(review, "/kind"), "", &[error]));
    }
    let user = match scope {
        Scope::Myself => a.user.clone(),
        Scope::Anyone | Scope::Here => subject(spec, text(review, "/kind"))?,
    };
    if scope == Scope::Here {
        if path.is_object() {
            return Err(Status::bad_request("spec.nonResourceAttributes: disallowed on this kind of request"));
        }
        if text(resource, "/namespace") != a.namespace {
            let ns = &a.namespace;
            return Err(Status::bad_request(format!("spec.resourceAttributes.namespace must match namespace: {ns}")));
        }
    }
    let said = if resource.is_object() { resource } else { path };
    Ok(Attributes {
        user,
        verb: verb(text(said, "/verb")),
        group: text(resource, "/group").into(),
        version: text(resource, "/version").into(),
        resource: text(resource, "/resource").into(),
        subresource: text(resource, "/subresource").into(),
        namespace: text(resource, "/namespace").into(),
        name: text(resource, "/name").into(),
        path: text(path, "/path").into(),
    })
}

fn subject(spec: &Value, kind: &str) -> Result<Arc<User>, Status> {
    let (name, groups) = (text(spec, "/user"), strings(spec, "/groups"));
    if name.is_empty() && groups.is_empty() {
        let path = api::field::Path::root("spec");
        let why = "at least one of user or group must be specified";
        let error = api::field::Error::invalid(&path.child("user"), "", why);
        return Err(Status::invalid("authorization.k8s.io", kind, "", &[error]));
    }
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| {
            (k.clone(), v.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(Into::into)).collect())
        })
        .collect();
    Ok(Arc::new(User { name: name.into(), uid: text(spec, "/uid").into(), groups, extra }))
}

/// A verb that somebody asks about. Verbs that no request has are remembered, up to a bound; what is beyond it matches
/// only rules for all verbs.
pub(crate) fn verb(text: &str) -> Verb {
    const MOST: usize = 256;
    static ASKED: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    match text {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        other => {
            let mut asked = ASKED.lock();
            let asked = asked.get_or_insert_default();
            if let Some(known) = asked.get(other) {
                return Verb::Other(known);
            }
            if asked.len() >= MOST || other.len() > 64 {
                return Verb::Other("(unknown)");
            }
            let known: &'static str = Box::leak(other.to_owned().into_boxed_str());
            asked.insert(known);
            Verb::Other(known)
        }
    }
}

/// `SelfSubjectRulesReview`
pub struct Rules {
    pub rbac: Arc<Rbac>,
}

#[async_trait]
impl Post for Rules {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let mut review = r.body;
        let namespace = text(&review, "/spec/namespace");
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in self.rbac.rules_for(&r.attributes.user, namespace) {
            let Rule { verbs, api_groups, resources: names, resource_names, non_resource_urls } = rule;
            if !names.is_empty() {
                let mut out = json!({"verbs": verbs, "apiGroups": api_groups, "resources": names});
                if !resource_names.is_empty() {
                    out["resourceNames"] = json!(resource_names);
                }
                resources.push(out);
            }
            if !non_resource_urls.is_empty() {
                paths.push(json!({"verbs": verbs, "nonResourceURLs": non_resource_urls}));
            }
        }
        review["status"] = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
        Ok(review)
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// `TokenReview`
pub struct Token {
    pub authentication: Arc<Authentication>,
}

#[async_trait]
impl Post for Token {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let mut review = r.body;
        let token = text(&review, "/spec/token");
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        review["status"] = match self.authentication.review(token, &strings(&review, "/spec/audiences")).await {
            Ok(found) => json!({"authenticated": true, "user": user_info(&found.user), "audiences": found.audiences}),
            Err(error) => json!({"user": {}, "error": error}),
        };
        Ok(review)
    }
}

/// `SelfSubjectReview`
pub struct Myself;

#[async_trait]
impl Post for Myself {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let mut review = r.body;
        review["metadata"] = json!({"creationTimestamp": super::binding::now()});
        review["status"] = json!({"userInfo": user_info(&r.attributes.user)});
        Ok(review)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Attributes {
        crate::admission::testing::attributes("reviews", "ns", &User::system("me"))
    }

    #[test]
    fn a_review_becomes_a_question() {
        let review = json!({"spec": {"user": "ann", "groups": ["g"], "resourceAttributes":
            {"verb": "deploy", "group": "apps", "resource": "deployments", "subresource": "scale", "namespace": "ns"}}});
        let q = question(&review, Scope::Here, &me()).unwrap();
        assert_eq!((q.user.name.as_str(), q.verb.as_str(), q.subresource.as_str()), ("ann", "deploy", "scale"));
        assert_eq!(question(&review, Scope::Myself, &me()).unwrap().user.name, "me");
        let path = json!({"spec": {"user": "ann", "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
        let q = question(&path, Scope::Anyone, &me()).unwrap();
        assert_eq!((q.verb, q.path.as_str(), q.resource.as_str()), (Verb::Get, "/metrics", ""));
    }

    #[test]
    fn bad_questions_are_refused() {
        let elsewhere = json!({"spec": {"user": "ann", "resourceAttributes": {"namespace": "other"}}});
        for (review, scope, code) in [
            (json!({"spec": {"user": "ann"}}), Scope::Anyone, 422),
            (json!({"spec": {"resourceAttributes": {}}}), Scope::Anyone, 422),
            (elsewhere, Scope::Here, 400),
        ] {
            assert_eq!(question(&review, scope, &me()).unwrap_err().code, code, "{review}");
        }
    }

    #[test]
    fn a_verb_is_remembered_once() {
        assert_eq!(verb("list"), Verb::List);
        assert_eq!(verb("approve"), verb("approve"));
        assert_eq!(verb(&"x".repeat(100)), Verb::Other("(unknown)"));
    }
}
