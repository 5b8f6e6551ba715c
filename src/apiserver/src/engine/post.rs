//! The special routes that take a tree and give one.

use std::sync::Arc;

use api::{Status, Value, convert};

use super::admit::Admission;
use super::{Call, Engine, Served};
use crate::Attributes;
use crate::special::{Post, PostRequest};

impl Engine {
    /// Runs the handler behind the admission plugins; `served` is the resource's whose subresource it is, or a virtual kind's.
    /// Answers the handler's tree and the warnings.
    pub async fn post(
        self: &Arc<Self>,
        attributes: &Attributes,
        served: &Arc<Served>,
        handler: &Arc<dyn Post>,
        mut body: Value,
        dry_run: bool,
    ) -> Result<(Value, Vec<String>), Status> {
        // what is posted to a subresource has a kind of its own
        let old = attributes.subresource.is_empty() && !served.as_stored;
        if old {
            convert::to_storage(&served.kind, &served.group, &served.version, &mut body);
        }
        let mut call = Call::new(attributes, served, dry_run);
        let mut admission = Admission::new(&self.plugins, &call);
        admission.mutate(&mut call, &mut body, None).await?;
        admission.validate(&mut call, &mut body, None).await?;
        let mut warnings = call.warnings;
        if old {
            warnings.extend(served.warning.clone());
        }
        let request = PostRequest { attributes, engine: self, body, dry_run, warnings: &mut warnings };
        let answer = handler.post(request).await;
        drop(admission);
        let mut answer = answer?;
        if old {
            convert::from_storage(&served.kind, &served.group, &served.version, &mut answer);
        }
        Ok((answer, warnings))
    }
}
