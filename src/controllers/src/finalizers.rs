//! Finalizers, put on and taken off.

use api::Object;
use client::{Client, Patch, Target, WriteOptions};
use serde_json::json;

use crate::Error;

/// Puts a finalizer on `object`, or takes it off, unless that is so already or the object is gone. Errors with `Conflict` where
/// another write has come between.
pub async fn set(client: &dyn Client, target: &Target, object: &Object, name: &str, on: bool) -> Result<(), Error> {
    if object.meta().has_finalizer(name) == on {
        return Ok(());
    }
    let mut all: Vec<&str> = object.meta().finalizers.iter().map(|f| &**f).filter(|f| *f != name).collect();
    if on {
        all.push(name);
    }
    let metadata = json!({"resourceVersion": object.revision().to_string(), "finalizers": all});
    match client.patch(target, Patch::Merge(json!({ "metadata": metadata })), &WriteOptions::default()).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
