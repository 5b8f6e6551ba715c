//! Update and every other read-modify-write: upstream's `registry.Store.Update` and `rest.BeforeUpdate`.

use std::sync::Arc;

use api::kinds::validate_metadata_update;
use api::{Draft, Object, Status, Value, field};
use store::{Change, Precondition};

use super::admit::Admission;
use super::{Call, Engine, Part, Served, failed, finalize, key, meta};
use crate::Attributes;

/// What became of an update.
pub struct Updated {
    pub object: Arc<Object>,
    /// It was a PUT to a name that did not exist.
    pub created: bool,
}

impl Engine {
    /// PUT of the main resource or of a part of it.
    pub async fn update(&self, call: &mut Call<'_>, part: Part, name: &str, tree: Value) -> Result<Updated, Status> {
        meta::check_name(&tree, call.namespace(), name)?;
        let absent = self.find(call, name).is_none();
        if absent && part == Part::Main && call.kind().strategy.allow_create_on_update() {
            return Ok(Updated { object: self.create(call, tree).await?, created: true });
        }
        if meta::text(&tree, "resourceVersion").is_empty() && !call.kind().strategy.allow_unconditional_update() {
            let path = field::Path::root("metadata");
            let errors = [field::Error::invalid(&path.child("resourceVersion"), 0, "must be specified for an update")];
            return Err(Status::invalid(&call.kind().group, &call.kind().kind, name, &errors));
        }
        let object = self.rewrite(call, part, name, |_| Ok(tree.clone())).await?;
        Ok(Updated { object, created: false })
    }

    /// Reads, lets `make` make the new tree, writes; again with the newest object as often as another write came between, which
    /// each time is one that got through.
    pub(super) async fn rewrite(
        &self,
        call: &mut Call<'_>,
        part: Part,
        name: &str,
        mut make: impl FnMut(&Arc<Object>) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let warnings = call.warnings.len();
        loop {
            let stored = self.read(call, name)?;
            let old = self.present(call.served, stored.clone()).await?;
            call.warnings.truncate(warnings);
            let tree = make(&old)?;
            let conditional = meta::resource_version(call.kind(), &tree)?;
            if conditional != 0 && conditional != old.revision() {
                return Err(Status::modified(&call.kind().group, &call.kind().plural, name));
            }
            match self.replace(call, part, name, (&stored, &old), tree).await {
                Err(status) if status.is_conflict() && conditional == 0 && self.moved(call, name, &old) => {}
                done => return done,
            }
        }
    }

    fn moved(&self, call: &Call<'_>, name: &str, old: &Object) -> bool {
        let now = self.find(call, name);
        now.is_none_or(|o| o.revision() != old.revision())
    }

    /// One attempt to put `tree` in the place of `old`, which is `stored` in the version of the request.
    async fn replace(
        &self,
        call: &mut Call<'_>,
        part: Part,
        name: &str,
        (stored, old): (&Arc<Object>, &Arc<Object>),
        mut tree: Value,
    ) -> Result<Arc<Object>, Status> {
        let kind = call.kind();
        let uid = meta::text(&tree, "uid");
        if !uid.is_empty() && uid != old.uid() {
            return Err(wrong_uid(call, name, uid, old));
        }
        let old_tree = old.tree();
        meta::match_namespace(kind, call.namespace(), &mut tree)?;
        call.complete(&mut tree);
        if part == Part::Main {
            // what admission changes is nobody's
            call.record(&old_tree, &mut tree)?;
        }
        let mut admission = Admission::new(&self.plugins, call);
        admission.mutate(call, &mut tree, Some(old)).await?;

        part.prepare(kind, &mut tree, &old_tree);
        meta::carry_over(&mut tree, &old_tree)?;
        if kind.strategy.has_generation() && part != Part::Status {
            meta::bump_generation(&mut tree, &old_tree, kind.strategy.has_status())?;
        }
        let mut errors = validate_metadata_update(kind, &tree, &old_tree);
        errors.extend(part.validate(kind, &tree, &old_tree));
        if part == Part::Main {
            let version = (&*call.served.group, &*call.served.version);
            errors.extend(kind.strategy.validate_version(version, &tree, Some(&old_tree)));
        }
        if !errors.is_empty() {
            return Err(Status::invalid(&kind.group, &kind.kind, name, &errors));
        }
        if part == Part::Main {
            call.warn(&tree, Some(&old_tree));
        }
        admission.validate(call, &mut tree, Some(old)).await?;
        if part != Part::Main {
            // what its strategy takes from the old object is not written
            call.record(&old_tree, &mut tree)?;
        }
        self.store_over(call.served, (call.namespace(), name), stored, &tree, call.dry_run).await
    }

    /// Writes over exactly `old`; where nothing changes, nothing is written; where the last finalizer went, it is deleted.
    pub(super) async fn store_over(
        &self,
        served: &Served,
        (namespace, name): (&str, &str),
        old: &Arc<Object>,
        tree: &Value,
        dry_run: bool,
    ) -> Result<Arc<Object>, Status> {
        let draft = self.stored(served, tree).await?;
        let gone = finalize::is_over(served, tree, old);
        if draft.same_as(old) && !gone {
            return self.present(served, old.clone()).await;
        }
        if dry_run {
            return Draft::encode(tree).map(|d| Arc::new(d.at(old.revision())));
        }
        let (key, on) = (key(served, namespace, name), Precondition::Revision(old.revision()));
        if gone {
            let last = draft.at(old.revision());
            self.store.commit(key, Some(on), Change::Delete).await.map_err(|e| failed(&served.kind, name, e))?;
            return self.present(served, Arc::new(last)).await;
        }
        let object = self.put(key, on, draft).await.map_err(|e| failed(&served.kind, name, e))?;
        self.present(served, object).await
    }

    /// Read-modify-write without admission and validation (upstream's `GuaranteedUpdate`): `change` is called again after a
    /// conflict, and may refuse. Answers the object as stored.
    pub async fn modify(
        &self,
        attributes: &Attributes,
        (group, version, plural): (&str, &str, &str),
        name: &str,
        dry_run: bool,
        change: impl Fn(&mut Value) -> Result<(), Status> + Send + Sync,
    ) -> Result<Arc<Object>, Status> {
        let served = self.served(group, version, plural).ok_or_else(|| Status::not_found(group, plural, name))?;
        let call = Call::new(attributes, &served, dry_run);
        loop {
            let old = self.read(&call, name)?;
            let mut tree = old.tree();
            change(&mut tree)?;
            match self.store_over(&served, (call.namespace(), name), &old, &tree, dry_run).await {
                Err(status) if status.is_conflict() => {}
                done => return done,
            }
        }
    }
}

fn wrong_uid(call: &Call<'_>, name: &str, uid: &str, old: &Object) -> Status {
    let namespace = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}{name}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        call.served.resource,
        old.uid()
    );
    Status::conflict(&call.kind().group, &call.kind().plural, name, &why)
}
