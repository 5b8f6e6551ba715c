//! `serviceaccounts/token`: a token for an account, perhaps bound to a pod, secret or node. Upstream's `TokenREST`.

use std::sync::Arc;

use api::field::{Error, Path};
use api::{Object, Status, Value};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::binding::now;
use super::{strings, text};
use crate::authn::{Bound, Request, ServiceAccounts};
use crate::special::{Post, PostRequest};

const DEFAULT_SECONDS: i64 = 3600;
/// What the admission plugin asks for; such tokens live a year and are renewed by the kubelet all the same, for
/// programs that read their token only once.
const EXTENDABLE_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

pub struct Tokens {
    service_accounts: Arc<ServiceAccounts>,
}

impl Tokens {
    pub fn new(service_accounts: Arc<ServiceAccounts>) -> Tokens {
        Tokens { service_accounts }
    }
}

#[async_trait]
impl Post for Tokens {
    async fn post(&self, r: PostRequest<'_>) -> Result<Value, Status> {
        let (namespace, name) = (&r.attributes.namespace, &r.attributes.name);
        let mut request = r.body;
        let get = |resource: &str, namespace: &str, name: &str| -> Result<Arc<Object>, Status> {
            let kind = r.engine.kind("", "v1", resource).ok_or_else(|| Status::not_found("", resource, name))?;
            r.engine.get(&kind, namespace, name)
        };
        let asked_name = text(&request, "/metadata/name");
        if !asked_name.is_empty() && asked_name != name {
            return Err(Status::bad_request(format!(
                "metadata.name: Invalid value: {asked_name:?}: must match the service account name if specified"
            )));
        }
        let account = get("serviceaccounts", namespace, name)?;
        let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
        if let Some(error) = bad_duration(seconds) {
            return Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, &[error]));
        }
        let bound = bound(&request, namespace, name, get)?;
        let audiences = strings(&request, "/spec/audiences");
        let for_server = audiences.is_empty() || audiences.iter().all(|a| a == self.service_accounts.issuer());
        let extend = seconds == EXTENDABLE_SECONDS && matches!(bound, Bound::Pod(..)) && for_server;
        let issued = self.service_accounts.issue(Request {
            namespace: namespace.clone(),
            account: name.clone(),
            account_uid: account.uid().to_owned(),
            audiences,
            seconds: if extend { EXTENDED_SECONDS } else { seconds },
            warn_after: extend.then_some(seconds),
            bound,
        })?;
        let lives = if extend { EXTENDED_SECONDS - seconds } else { 0 };
        let expires = Timestamp::from_second(issued.expires - lives).map_err(Status::internal)?.to_string();
        request["metadata"] = json!({"name": name, "namespace": namespace, "creationTimestamp": now()});
        if !request["spec"].is_object() {
            request["spec"] = json!({});
        }
        request["spec"]["audiences"] = json!(issued.audiences);
        request["spec"]["expirationSeconds"] = json!(seconds);
        if request["spec"].get("boundObjectRef").is_none() {
            request["spec"]["boundObjectRef"] = Value::Null;
        }
        request["status"] = json!({"token": issued.token, "expirationTimestamp": expires});
        Ok(request)
    }
}

/// `ValidateTokenRequest`
fn bad_duration(seconds: i64) -> Option<Error> {
    let why = match seconds {
        i64::MIN..600 => "may not specify a duration less than 10 minutes",
        n if n > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
        _ => return None,
    };
    Some(Error::invalid(&Path::root("spec").child("expirationSeconds"), seconds, why))
}

/// The object that the token is to die with; it must be there, and a pod must run as this account.
fn bound(
    request: &Value,
    namespace: &str,
    account: &str,
    get: impl Fn(&str, &str, &str) -> Result<Arc<Object>, Status>,
) -> Result<Bound, Status> {
    let Some(reference) = request.pointer("/spec/boundObjectRef").filter(|r| r.is_object()) else {
        return Ok(Bound::Account);
    };
    let (version, kind) = (text(reference, "/apiVersion"), text(reference, "/kind"));
    let (name, uid) = (text(reference, "/name"), text(reference, "/uid"));
    let same = |object: &Object| match uid.is_empty() || uid == object.uid() {
        true => Ok((object.name().to_owned(), object.uid().to_owned())),
        false => Err(Status::conflict(
            "",
            kind,
            name,
            &format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            ),
        )),
    };
    match (version, kind) {
        ("v1" | "", "Pod") => {
            let pod = get("pods", namespace, name)?;
            let tree = pod.tree();
            if text(&tree, "/spec/serviceAccountName") != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = text(&tree, "/spec/nodeName");
            let node = (!node.is_empty()).then(|| {
                let uid = get("nodes", "", node).map(|n| n.uid().to_owned()).unwrap_or_default();
                (node.to_owned(), uid)
            });
            same(&pod).map(|(name, uid)| Bound::Pod(name, uid, node))
        }
        ("v1" | "", "Secret") => same(&*get("secrets", namespace, name)?).map(|(name, uid)| Bound::Secret(name, uid)),
        ("v1" | "", "Node") => same(&*get("nodes", "", name)?).map(|(name, uid)| Bound::Node(name, uid)),
        _ => Err(Status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lookup;
    use crate::lookup::fake::Cluster;

    #[test]
    fn a_token_lives_between_ten_minutes_and_an_age() {
        assert!(bad_duration(600).is_none() && bad_duration(1 << 32).is_none());
        assert_eq!(
            bad_duration(599).unwrap().to_string(),
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
        );
        assert!(bad_duration((1 << 32) + 1).is_some());
    }

    #[test]
    fn a_token_is_bound_to_what_is_there() {
        let cluster = Cluster::default();
        cluster.put(
            "pods",
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"serviceAccountName": "sa", "nodeName": "n"}}),
        );
        cluster.put("nodes", json!({"metadata": {"name": "n", "uid": "nu"}}));
        let ask = |account: &str, reference: Value| {
            let request = json!({"spec": {"boundObjectRef": reference}});
            bound(&request, "ns", account, |resource, namespace, name| {
                cluster.get(resource, namespace, name).ok_or_else(|| Status::not_found("", resource, name))
            })
        };
        let pod = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
        assert_eq!(ask("sa", Value::Null).unwrap(), Bound::Account);
        let node = Some(("n".to_owned(), "nu".to_owned()));
        assert_eq!(ask("sa", pod("u")).unwrap(), Bound::Pod("p".into(), "u".into(), node));
        assert!(ask("sa", pod("old")).unwrap_err().is_conflict());
        assert_eq!(ask("other", pod("u")).unwrap_err().code, 400);
        assert!(ask("sa", json!({"kind": "Secret", "name": "none"})).unwrap_err().is_not_found());
        assert_eq!(ask("sa", json!({"kind": "ConfigMap", "name": "c"})).unwrap_err().code, 400);
    }
}
