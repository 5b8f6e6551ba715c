//! The HTTP face of the engine: HTTP/1.1 and HTTP/2 over TLS.
//!
//! ```text
//!   listen ─► front (authn, route, authz) ─┬─► verbs (input → engine → output)      one object, a list, a watch
//!                                          ├─► special routes                       reviews, exec, log, …
//!                                          └─► discovery, OpenAPI, health, metrics
//! ```

mod body;
mod front;
mod gzip;
mod input;
mod listen;
pub(crate) mod negotiate;
pub(crate) mod output;
pub(crate) mod query;
mod route;
mod stall;
mod verbs;
mod watch;

pub use body::Body;
pub(crate) use front::Front;
pub(crate) use gzip::{gzip, is_accepted as accepts_gzip};
pub(crate) use listen::listen;
pub(crate) use route::not_found;

use crate::Attributes;

/// What metrics know of a request.
#[derive(Debug, Default)]
pub(crate) struct Label {
    pub verb: &'static str,
    /// `CleanScope`: `cluster`, `namespace` or `resource`.
    pub scope: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub long_running: bool,
}

impl Label {
    fn set(&mut self, a: &Attributes) {
        self.verb = a.verb.as_str();
        self.scope = match (a.name.is_empty(), a.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        self.group.clone_from(&a.group);
        self.version.clone_from(&a.version);
        self.resource.clone_from(&a.resource);
        self.subresource.clone_from(&a.subresource);
    }
}
