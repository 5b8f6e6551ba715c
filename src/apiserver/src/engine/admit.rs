//! The admission plugins around one write.

use std::any::Any;
use std::sync::Arc;

use api::{Object, Status, Value};

use super::Call;
use crate::admission::{Plugin, Write};

/// The plugins that want to see a write, and what they hold until it is over: drop it after the commit.
pub(crate) struct Admission<'a> {
    plugins: Vec<&'a Arc<dyn Plugin>>,
    held: Vec<Box<dyn Any + Send>>,
}

impl<'a> Admission<'a> {
    pub fn new(plugins: &'a [Arc<dyn Plugin>], call: &Call<'_>) -> Admission<'a> {
        let wanted = |p: &&Arc<dyn Plugin>| !call.unguarded && p.handles(call.attributes);
        let plugins = plugins.iter().filter(wanted).collect();
        Admission { plugins, held: Vec::new() }
    }

    pub async fn mutate(
        &mut self,
        call: &mut Call<'_>,
        object: &mut Value,
        old: Option<&Arc<Object>>,
    ) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.mutate(&mut write(call, object, old, &mut self.held)).await?;
        }
        Ok(())
    }

    pub async fn validate(
        &mut self,
        call: &mut Call<'_>,
        object: &mut Value,
        old: Option<&Arc<Object>>,
    ) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.validate(&mut write(call, object, old, &mut self.held)).await?;
        }
        Ok(())
    }
}

fn write<'a>(
    call: &'a mut Call<'_>,
    object: &'a mut Value,
    old: Option<&'a Arc<Object>>,
    held: &'a mut Vec<Box<dyn Any + Send>>,
) -> Write<'a> {
    let (attributes, kind, dry_run) = (call.attributes, &call.served.kind, call.dry_run);
    Write { attributes, kind, object, old, dry_run, warnings: &mut call.warnings, held }
}
