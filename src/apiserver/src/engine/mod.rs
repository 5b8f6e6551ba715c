//! The one REST engine that serves every kind: upstream's `registry.Store` with the handlers' semantics.

use std::sync::Arc;

use api::{Kind, Object, Status, Value};

/// Everything below HTTP. Callers are authenticated; [`crate::Server`] authorizes before it calls.
pub struct Engine {}

impl Engine {
    /// The kind that is served under a group, a version and a plural.
    pub fn kind(&self, _group: &str, _version: &str, _plural: &str) -> Option<Arc<Kind>> {
        None
    }
    /// Errors with `NotFound`.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let _ = namespace;
        Err(Status::not_found(&kind.group, &kind.plural, name))
    }
    /// Read-modify-write without admission and validation (upstream's `GuaranteedUpdate`): `change` is called again after a
    /// conflict, and may refuse. Answers the object as stored.
    pub async fn modify(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        dry_run: bool,
        change: impl Fn(&mut Value) -> Result<(), Status> + Send + Sync,
    ) -> Result<Arc<Object>, Status> {
        let object = self.get(kind, namespace, name)?;
        let _ = dry_run;
        change(&mut object.tree())?;
        Ok(object)
    }
}
