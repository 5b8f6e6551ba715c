//! Admission: what changes or refuses a write after it is authorized and before it is stored.

use std::any::Any;
use std::sync::Arc;

use api::{Kind, Object, Status, Value};
use async_trait::async_trait;

use crate::Attributes;

/// A write as a plugin sees it. On create `old` is absent; on delete `object` is `Null`.
pub struct Write<'a> {
    pub attributes: &'a Attributes,
    pub kind: &'a Arc<Kind>,
    pub object: &'a mut Value,
    pub old: Option<&'a Arc<Object>>,
    pub dry_run: bool,
    /// `Warning` headers for the client.
    pub warnings: &'a mut Vec<String>,
    /// What a plugin holds until the write is over: the engine drops it once the commit has been published or has failed.
    /// A reservation's `Drop` looks into the store for what became of it, so a write that is cancelled gives it back too.
    pub held: &'a mut Vec<Box<dyn Any + Send>>,
}

/// One admission plugin. `mutate` of all plugins runs before `validate` of any.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Whether it wants to see this write at all; must be cheap.
    fn handles(&self, attributes: &Attributes) -> bool;
    async fn mutate(&self, _write: &mut Write<'_>) -> Result<(), Status> {
        Ok(())
    }
    async fn validate(&self, _write: &mut Write<'_>) -> Result<(), Status> {
        Ok(())
    }
}
