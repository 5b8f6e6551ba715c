//! What is written on a token: upstream's `privateClaims` and `legacyPrivateClaims`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::groups_of;
use crate::User;

/// The issuer of tokens that live in Secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Private {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    pub nbf: i64,
    pub sub: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Legacy {
    pub iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub account_uid: String,
    pub sub: String,
}

/// The claims of either kind of token.
pub enum Said {
    Bound(Box<Claims>),
    Legacy(Legacy),
}

pub fn user_name(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

impl Said {
    /// From verified claims; `None` for such as no token of ours has.
    pub fn read(claims: Value) -> Option<Said> {
        let said = if claims["iss"] == LEGACY_ISSUER {
            Said::Legacy(serde_json::from_value(claims).ok()?)
        } else {
            Said::Bound(serde_json::from_value(claims).ok()?)
        };
        let (sub, namespace, account) = match &said {
            Said::Bound(c) => (&c.sub, &c.kubernetes.namespace, &c.kubernetes.serviceaccount.name),
            Said::Legacy(c) => (&c.sub, &c.namespace, &c.account),
        };
        (*sub == user_name(namespace, account)).then_some(said)
    }

    pub fn user(&self) -> User {
        let mut extra = BTreeMap::new();
        let (name, uid, namespace) = match self {
            Said::Legacy(c) => (&c.sub, &c.account_uid, &c.namespace),
            Said::Bound(c) => {
                let mut note = |key: &str, value: &str| {
                    extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
                };
                note("credential-id", &format!("JTI={}", c.jti));
                if let Some(pod) = &c.kubernetes.pod {
                    note("pod-name", &pod.name);
                    note("pod-uid", &pod.uid);
                }
                if let Some(node) = &c.kubernetes.node {
                    note("node-name", &node.name);
                    note("node-uid", &node.uid);
                }
                (&c.sub, &c.kubernetes.serviceaccount.uid, &c.kubernetes.namespace)
            }
        };
        let mut groups = groups_of(namespace);
        groups.push("system:authenticated".into());
        User { name: name.clone(), uid: uid.clone(), groups, extra }
    }
}
