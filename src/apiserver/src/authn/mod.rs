//! Authentication: who a request comes from.
//!
//! A client certificate, or a bearer token (header, or WebSocket subprotocol) that is a service account's or for joining.
//! Without credentials a request is nobody's: `Ok(None)`, and the caller answers 401 but for the public health paths.

mod bearer;
pub mod bootstrap;
mod cache;
mod impersonate;
pub mod oidc;
pub mod outside;
pub mod revoked;
mod service_account;
mod x509;

use std::sync::{Arc, OnceLock};

use api::Status;
use futures::future::BoxFuture;
use http::HeaderMap;

pub use bearer::{bearer, without_bearer};
pub use impersonate::impersonate;
pub use service_account::{Bound, Issued, Request, Review, ServiceAccounts, groups_of};

#[cfg(test)]
pub use service_account::tests as testing;

pub use bootstrap::{BootstrapTokens, OwnSecrets};

use crate::authz::node_name;
use crate::{Authenticator, Lookup, User};
use outside::Outside;
use revoked::Revoked;
use x509::Certificates;

/// Paths that anyone may read.
pub fn is_public(path: &str) -> bool {
    matches!(path, "/version" | "/version/")
        || ["/livez", "/readyz", "/healthz"]
            .iter()
            .any(|p| path.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('/')))
}

/// Who shows nothing: `system:anonymous`.
pub fn anonymous() -> Arc<User> {
    let groups = vec!["system:unauthenticated".into()];
    Arc::new(User { name: "system:anonymous".into(), groups, ..User::default() })
}

/// All authenticators of the server as one.
pub struct Authentication {
    certificates: Certificates,
    revoked: Revoked,
    pub service_accounts: Arc<ServiceAccounts>,
    pub bootstrap: Arc<BootstrapTokens>,
    outside: OnceLock<Arc<Outside>>,
}

impl Authentication {
    pub fn new(
        service_accounts: Arc<ServiceAccounts>,
        bootstrap: Arc<BootstrapTokens>,
        lookup: Arc<dyn Lookup>,
    ) -> Authentication {
        let (certificates, revoked) = (Certificates::default(), Revoked::new(lookup));
        Authentication { certificates, revoked, service_accounts, bootstrap, outside: OnceLock::new() }
    }

    /// Those outside who are asked about tokens that nobody here knows. To be said once, before the first request.
    pub fn ask_also(&self, outside: Outside) {
        if !outside.is_empty() {
            let _ = self.outside.set(Arc::new(outside));
        }
    }

    /// `TokenReview`: whose token it is, for one of `audiences` (empty: the API server's own).
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Review, String> {
        let error = match self.service_accounts.review(token, audiences) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let own = self.service_accounts.issuer().to_owned();
        if !audiences.is_empty() && !audiences.contains(&own) {
            return Err(error);
        }
        let user = match self.bootstrap.authenticate(token) {
            Ok(Some(user)) => user,
            _ => match self.outside.get() {
                Some(outside) => outside.ask(token).await?,
                None => return Err(error),
            },
        };
        Ok(Review { user, audiences: vec![own] })
    }
}

impl Authenticator for Authentication {
    fn authenticate(&self, headers: &HeaderMap, certificates: &[Vec<u8>]) -> Result<Option<Arc<User>>, Status> {
        if let Some(leaf) = certificates.first()
            && let Some((user, not_before)) = self.certificates.user(leaf)?
        {
            if node_name(&user).is_some_and(|node| self.revoked.refuses(node, not_before)) {
                tracing::debug!(user = user.name, "a revoked certificate");
                return Err(Status::unauthorized());
            }
            return Ok(Some(user));
        }
        let token = bearer(headers);
        if let Some(token) = &token
            && let Some(user) = self.bootstrap.authenticate(token)?
        {
            return Ok(Some(user));
        }
        match token {
            Some(token) => match self.service_accounts.authenticate(&token) {
                Ok(user) => Ok(Some(user)),
                Err(error) => match self.outside.get().and_then(|o| o.recall(&token)) {
                    Some(user) => Ok(Some(user)),
                    None => {
                        tracing::debug!(%error, "bearer token refused");
                        Err(Status::unauthorized())
                    }
                },
            },
            None => Ok(None),
        }
    }

    fn inquire(&self, headers: &HeaderMap) -> Option<BoxFuture<'static, Result<Arc<User>, Status>>> {
        let (outside, token) = (self.outside.get()?.clone(), bearer(headers)?);
        Some(Box::pin(async move {
            outside.ask(&token).await.map_err(|error| {
                tracing::debug!(%error, "bearer token refused");
                Status::unauthorized()
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_and_version_are_public() {
        for (path, public) in [
            ("/livez", true),
            ("/readyz/ping", true),
            ("/healthz", true),
            ("/version", true),
            ("/livezx", false),
            ("/api", false),
            ("/metrics", false),
        ] {
            assert_eq!(is_public(path), public, "{path}");
        }
    }
}
