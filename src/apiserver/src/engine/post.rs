//! The special routes that take a tree and give one.

use std::sync::Arc;

use api::{Status, Value};

use super::admit::Admission;
use super::{Call, Engine, Served};
use crate::Attributes;
use crate::special::{Post, PostRequest};

impl Engine {
    /// Runs the handler behind the admission plugins; `served` is absent for a virtual kind, which has none.
    /// Answers the handler's tree and the warnings.
    pub async fn post(
        self: &Arc<Self>,
        attributes: &Attributes,
        served: Option<&Arc<Served>>,
        handler: &Arc<dyn Post>,
        mut body: Value,
        dry_run: bool,
    ) -> Result<(Value, Vec<String>), Status> {
        let mut warnings = Vec::new();
        let mut held = None;
        if let Some(served) = served {
            let mut call = Call::new(attributes, served, dry_run);
            let mut admission = Admission::new(&self.plugins, &call);
            admission.mutate(&mut call, &mut body, None).await?;
            admission.validate(&mut call, &mut body, None).await?;
            warnings = call.warnings;
            held = Some(admission);
        }
        let kind = served.map(|s| &s.kind);
        let request = PostRequest { attributes, engine: self, kind, body, dry_run, warnings: &mut warnings };
        let answer = handler.post(request).await;
        drop(held);
        Ok((answer?, warnings))
    }
}
