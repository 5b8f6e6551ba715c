//! The admission plugins around one write.

use std::any::Any;
use std::sync::Arc;

use api::{Object, Status, Value};

use super::{Call, Engine, Served};
use crate::Attributes;
use crate::admission::{Again, Plugin, Write};

/// The plugins that want to see a write, and what they hold until it is over: drop it after the commit.
pub(crate) struct Admission<'a> {
    plugins: Vec<&'a Arc<dyn Plugin>>,
    held: Vec<Box<dyn Any + Send>>,
    again: Again,
    connect: bool,
}

impl<'a> Admission<'a> {
    pub fn new(plugins: &'a [Arc<dyn Plugin>], call: &Call<'_>) -> Admission<'a> {
        let wanted = |p: &&Arc<dyn Plugin>| !call.unguarded && p.handles(call.attributes);
        let plugins = plugins.iter().filter(wanted).collect();
        Admission { plugins, held: Vec::new(), again: Again::default(), connect: false }
    }

    /// Once what webhooks and policies run on has changed, all plugins up to them run a second time: upstream's `reinvoker`.
    pub async fn mutate(
        &mut self,
        call: &mut Call<'_>,
        object: &mut Value,
        old: Option<&Arc<Object>>,
    ) -> Result<(), Status> {
        for at in 0..self.plugins.len() {
            let plugin = self.plugins[at];
            plugin.mutate(&mut self.write(call, object, old)).await?;
            if self.again.wanted && !self.again.second {
                self.again.second = true;
                for before in 0..=at {
                    let plugin = self.plugins[before];
                    plugin.mutate(&mut self.write(call, object, old)).await?;
                }
            }
        }
        Ok(())
    }

    pub async fn validate(
        &mut self,
        call: &mut Call<'_>,
        object: &mut Value,
        old: Option<&Arc<Object>>,
    ) -> Result<(), Status> {
        for at in 0..self.plugins.len() {
            let plugin = self.plugins[at];
            plugin.validate(&mut self.write(call, object, old)).await?;
        }
        Ok(())
    }

    fn write<'w>(
        &'w mut self,
        call: &'w mut Call<'_>,
        object: &'w mut Value,
        old: Option<&'w Arc<Object>>,
    ) -> Write<'w> {
        Write {
            attributes: call.attributes,
            kind: &call.served.kind,
            object,
            old,
            dry_run: call.dry_run,
            connect: self.connect,
            deletion: call.deletion.as_ref(),
            manager: &call.manager,
            warnings: &mut call.warnings,
            held: &mut self.held,
            again: &mut self.again,
        }
    }
}

impl Engine {
    /// The admission of a connection (`exec`, `proxy`, …), of which few plugins want to know. `options` are made if one does;
    /// they are the answer where they were changed.
    pub(crate) async fn admit_connection(
        &self,
        attributes: &Attributes,
        served: &Arc<Served>,
        options: impl FnOnce() -> Option<Value>,
    ) -> Result<Option<Value>, Status> {
        let plugins: Vec<_> = self.plugins.iter().filter(|p| p.connects() && p.handles(attributes)).collect();
        if plugins.is_empty() {
            return Ok(None);
        }
        let Some(asked) = options() else { return Ok(None) };
        let mut options = asked.clone();
        let mut admission = Admission { plugins, held: Vec::new(), again: Again::default(), connect: true };
        let mut call = Call::new(attributes, served, false);
        admission.mutate(&mut call, &mut options, None).await?;
        admission.validate(&mut call, &mut options, None).await?;
        Ok((options != asked).then_some(options))
    }
}
