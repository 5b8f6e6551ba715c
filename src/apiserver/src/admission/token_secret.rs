//! Fills a Secret of type `kubernetes.io/service-account-token` while it is written: half of upstream's `tokens_controller`. The
//! other half is `controllers::token_secret`.

use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::tree::{object, text};
use super::{Operation, Plugin, Write, is};
use crate::authn::ServiceAccounts;
use crate::{Attributes, Lookup, Verb};

const ACCOUNT: &str = "/metadata/annotations/kubernetes.io~1service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const UID_PATH: &str = "/metadata/annotations/kubernetes.io~1service-account.uid";

pub struct TokenSecret {
    service_accounts: Arc<ServiceAccounts>,
    /// PEM of the authority that signs the API server's certificate.
    root_ca: String,
    lookup: Arc<dyn Lookup>,
}

impl TokenSecret {
    pub fn new(service_accounts: Arc<ServiceAccounts>, root_ca: &str, lookup: Arc<dyn Lookup>) -> TokenSecret {
        TokenSecret { service_accounts, root_ca: root_ca.into(), lookup }
    }
}

#[async_trait]
impl Plugin for TokenSecret {
    fn name(&self) -> &'static str {
        "ServiceAccountTokenSecret"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "secrets") && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let (namespace, name) = (&write.attributes.namespace, text(write.object, "/metadata/name").to_owned());
        let of_type = write.object["type"] == "kubernetes.io/service-account-token";
        if write.operation() == Operation::Delete || !of_type || name.is_empty() {
            return Ok(());
        }
        let Some(account) = self.lookup.get("serviceaccounts", namespace, text(write.object, ACCOUNT)) else {
            return Ok(());
        };
        // made for an earlier account of that name: the controller deletes it
        let given = text(write.object, UID_PATH);
        if !given.is_empty() && given != account.uid() {
            return Ok(());
        }
        let annotations = object(write.object, "metadata").and_then(|m| m.get_mut("annotations"));
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.insert(UID.into(), json!(account.uid()));
        }
        let Some(data) = object(write.object, "data") else { return Ok(()) };
        for (key, value) in [("ca.crt", self.root_ca.as_str()), ("namespace", namespace)] {
            data.insert(key.into(), json!(STANDARD.encode(value)));
        }
        if !data.contains_key("token") {
            let token = self.service_accounts.issue_legacy(namespace, account.name(), account.uid(), &name)?;
            data.insert("token".into(), json!(STANDARD.encode(token)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;
    use crate::authn::testing::fixture;

    #[tokio::test]
    async fn a_secret_gets_a_token_that_works() {
        let (cluster, _, accounts) = fixture();
        let accounts = Arc::new(accounts);
        let plugin = TokenSecret::new(accounts.clone(), "the CA", cluster.clone());
        let a = attributes("secrets", "ns", &User::system("t"));
        let secret = |account: &str| {
            json!({"metadata": {"name": "s", "namespace": "ns", "annotations": {"kubernetes.io/service-account.name": account}},
                "type": "kubernetes.io/service-account-token"})
        };
        let made = run(&plugin, &a, secret("bot"), None).await.unwrap();
        assert_eq!(made["metadata"]["annotations"][UID], "u1");
        assert_eq!(made["data"]["namespace"], STANDARD.encode("ns"));
        let token = STANDARD.decode(made["data"]["token"].as_str().unwrap()).unwrap();
        cluster.put("secrets", made.clone());
        assert!(accounts.authenticate(std::str::from_utf8(&token).unwrap()).is_ok());
        assert_eq!(run(&plugin, &a, made.clone(), None).await.unwrap(), made, "a token is given once");
        assert_eq!(run(&plugin, &a, secret("none"), None).await.unwrap(), secret("none"));
        let mut of_another = secret("bot");
        of_another["metadata"]["annotations"][UID] = json!("earlier");
        assert_eq!(run(&plugin, &a, of_another.clone(), None).await.unwrap(), of_another);
    }
}
