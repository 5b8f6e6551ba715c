//! Server-side apply, and who wrote what since: `metadata.managedFields`.

use api::apply::{self, Writer};
use api::{Status, Value};

use super::{Call, Engine, Part, Updated, meta};

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

    /// Notes what an update changes, where the object is one that somebody has applied.
    pub(super) fn record(&self, old: &Value, new: &mut Value) -> Result<(), Status> {
        if self.applied {
            return Ok(());
        }
        match (self.served.schema(), old["metadata"].get("managedFields")) {
            (Some(schema), Some(_)) => {
                let (version, now) = (self.served.api_version(), meta::time(meta::now()));
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
        let schema = served.schema().ok_or_else(|| Status::internal("a kind without a schema cannot be applied"))?;
        let (version, now) = (call.served.api_version(), meta::time(meta::now()));
        loop {
            if self.find(call, name).is_none() && part == Part::Main {
                if !meta::text(&config, "uid").is_empty() || !meta::text(&config, "resourceVersion").is_empty() {
                    return Err(call.not_found(name));
                }
                let tree = apply::apply(schema, None, &config, &call.writer(&version, &now), force)?;
                call.applied = true;
                match self.create(call, tree).await {
                    Err(status) if status.is_already_exists() && self.find(call, name).is_some() => continue,
                    made => return Ok(Updated { object: made?, created: true }),
                }
            }
            let (writing, wanted) = (Call::new(call.attributes, call.served, false).by(call.manager.clone()), &config);
            call.applied = true;
            let object = self
                .rewrite(call, part, name, |old| {
                    let live = old.tree();
                    let mut tree = apply::apply(schema, Some(&live), wanted, &writing.writer(&version, &now), force)?;
                    let m = meta::metadata(&mut tree)?;
                    match meta::text(wanted, "resourceVersion") {
                        "" => drop(m.remove("resourceVersion")),
                        asked => drop(m.insert("resourceVersion".into(), asked.into())),
                    }
                    Ok(tree)
                })
                .await?;
            return Ok(Updated { object, created: false });
        }
    }
}
