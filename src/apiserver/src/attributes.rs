//! Who asks for what: upstream's `user.Info` and `authorizer.Attributes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use futures::future::BoxFuture;

/// An authenticated identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    /// `system:authenticated` included.
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A component of skiff itself: `system:masters` lets it do everything.
    pub fn system(name: &str) -> Arc<User> {
        let groups = vec!["system:masters".into(), "system:authenticated".into()];
        Arc::new(User { name: name.into(), groups, ..User::default() })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// `bind`, `escalate`, `impersonate`, `use`, `approve`, … are asked by checks, never by a request.
    Other(&'static str),
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Other(v) => v,
        }
    }
}

/// What a request does, as authorization and admission see it.
#[derive(Debug, Clone)]
pub struct Attributes {
    pub user: Arc<User>,
    pub verb: Verb,
    pub group: String,
    pub version: String,
    /// The plural; empty for a non-resource request.
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Of a non-resource request: `/metrics`.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// With the reason that goes into the `Forbidden` text, often empty.
    Deny(String),
    NoOpinion,
}

/// Decides from memory, without I/O.
pub trait Authorizer: Send + Sync + 'static {
    fn authorize(&self, attributes: &Attributes) -> Decision;
}

/// Finds who a request comes from: `certificates` is the client's verified chain (DER, leaf first), may be empty.
///
/// `Ok(None)`: no credentials of the kind this authenticator knows. `Err(Unauthorized)`: bad ones.
pub trait Authenticator: Send + Sync + 'static {
    fn authenticate(&self, headers: &http::HeaderMap, certificates: &[Vec<u8>]) -> Result<Option<Arc<User>>, Status>;

    /// Where memory has refused: the answer of those outside that may know the token, if there are any. It is remembered.
    fn inquire(&self, _headers: &http::HeaderMap) -> Option<BoxFuture<'static, Result<Arc<User>, Status>>> {
        None
    }
}
