//! Server-side apply, and who wrote what since: `metadata.managedFields`.

use std::sync::Arc;

use api::apply::{self, Writer};
use api::{Object, Status, Value};
use serde_json::json;

use super::{Call, Engine, Part, Updated, meta, scale};

impl Call<'_> {
    fn writer<'a>(&'a self, api_version: &'a str, now: &'a str) -> Writer<'a> {
        Writer {
            manager: &self.manager,
            api_version,
            subresource: &self.attributes.subresource,
            now,
            has_status: self.kind().strategy.has_status(),
        }
    }

    /// Notes who made a new object.
    pub(super) fn record_new(&self, new: &mut Value) -> Result<(), Status> {
        match self.served.schema() {
            _ if self.applied => {}
            Some(schema) => {
                let (version, now) = (self.kind().api_version(), meta::time(meta::now()));
                apply::record_new(schema, new, &self.writer(&version, &now));
            }
            None => drop(meta::metadata(new)?.remove("managedFields")),
        }
        Ok(())
    }

    /// Notes what an update changes, where somebody owns something of the object, or it brings entries of its own.
    pub(super) fn record(&self, old: &Value, new: &mut Value) -> Result<(), Status> {
        if self.applied {
            return Ok(());
        }
        let tracked = |tree: &Value| tree["metadata"].get("managedFields").is_some();
        match self.served.schema() {
            Some(schema) if tracked(old) || tracked(new) => {
                let (version, now) = (self.kind().api_version(), meta::time(meta::now()));
                apply::record(schema, old, new, &self.writer(&version, &now));
            }
            _ => drop(meta::metadata(new)?.remove("managedFields")),
        }
        Ok(())
    }
}

impl Engine {
    /// PATCH with an apply configuration, which is in the storage version and checked. Creates what is not there.
    pub async fn apply(
        &self,
        call: &mut Call<'_>,
        part: Part,
        name: &str,
        config: Value,
        force: bool,
    ) -> Result<Updated, Status> {
        meta::check_name(&config, call.namespace(), name)?;
        let served = call.served;
        let schema = served.schema().ok_or_else(schemaless)?;
        let (version, now) = (call.kind().api_version(), meta::time(meta::now()));
        loop {
            if self.find(call, name).is_none() && part == Part::Main {
                let uid = meta::text(&config, "uid");
                if !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Status::conflict(&call.kind().group, &call.kind().plural, name, &why));
                }
                if !meta::text(&config, "resourceVersion").is_empty() {
                    return Err(call.not_found(name));
                }
                let tree = apply::apply(schema, None, &config, &call.writer(&version, &now), force)?;
                call.applied = true;
                match self.create(call, tree).await {
                    Err(status) if status.is_already_exists() && self.find(call, name).is_some() => continue,
                    made => return Ok(Updated { object: made?, created: true }),
                }
            }
            let object = self.overlay(call, part, name, force, |_| Ok(config.clone())).await?;
            return Ok(Updated { object, created: false });
        }
    }

    /// PATCH of `…/scale` with a Scale: an apply of the replicas, wherever the kind keeps them.
    pub async fn apply_scale(
        &self,
        call: &mut Call<'_>,
        name: &str,
        scale: Value,
        force: bool,
    ) -> Result<Arc<Object>, Status> {
        meta::check_name(&scale, call.namespace(), name)?;
        let (served, namespace) = (call.served.clone(), call.namespace().to_owned());
        let metadata = &scale["metadata"];
        if metadata.get("managedFields").is_some() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        self.overlay(call, Part::Main, name, force, |old| {
            if served.kind.strategy.scale(&old.tree()).is_none() {
                return Err(Status::not_found(&served.kind.group, &served.kind.plural, name));
            }
            let mut config =
                json!({"apiVersion": served.kind.api_version(), "kind": served.kind.kind, "metadata": {"name": name}});
            if !namespace.is_empty() {
                config["metadata"]["namespace"] = namespace.as_str().into();
            }
            for key in ["uid", "resourceVersion"] {
                if let Some(asked) = metadata.get(key) {
                    config["metadata"][key] = asked.clone();
                }
            }
            if let Some(replicas) = scale.pointer("/spec/replicas").and_then(Value::as_i64) {
                scale::check_replicas(name, replicas)?;
                config["spec"] = json!({});
                served.kind.strategy.set_replicas(&mut config, replicas);
            }
            Ok(config)
        })
        .await
    }

    /// Applies the configuration that `make` makes to an object that is there.
    async fn overlay(
        &self,
        call: &mut Call<'_>,
        part: Part,
        name: &str,
        force: bool,
        make: impl Fn(&Object) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let served = call.served.clone();
        let schema = served.schema().ok_or_else(schemaless)?;
        let (version, now) = (call.kind().api_version(), meta::time(meta::now()));
        let writing = Call::new(call.attributes, call.served, false).by(call.manager.clone());
        call.applied = true;
        self.rewrite(call, part, name, |old| {
            let config = make(old)?;
            let mut tree = apply::apply(schema, Some(&old.tree()), &config, &writing.writer(&version, &now), force)?;
            let m = meta::metadata(&mut tree)?;
            match meta::text(&config, "resourceVersion") {
                "" => drop(m.remove("resourceVersion")),
                asked => drop(m.insert("resourceVersion".into(), asked.into())),
            }
            Ok(tree)
        })
        .await
    }
}

fn schemaless() -> Status {
    Status::internal("a kind without a schema cannot be applied")
}
