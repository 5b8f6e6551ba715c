//! Create: upstream's `registry.Store.Create` and `rest.BeforeCreate`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::kinds::validate_metadata;
use api::{Object, Reason, Status, Value};
use store::Precondition;

use super::admit::Admission;
use super::{Call, Engine, failed, key, meta};

/// How often a generated name is drawn: `maxNameGenerationCreateAttempts`.
const DRAWS: usize = 8;

impl Engine {
    /// Stores a new object. `tree` is in the storage version and fits its schema.
    pub async fn create(&self, call: &mut Call<'_>, mut tree: Value) -> Result<Arc<Object>, Status> {
        let kind = call.kind();
        if kind.definition.as_ref().is_some_and(|d| d.terminating.load(Ordering::Acquire)) {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(Status::new(Reason::MethodNotAllowed, why));
        }
        meta::match_namespace(kind, call.namespace(), &mut tree)?;
        if !meta::text(&tree, "resourceVersion").is_empty() {
            return Err(meta::plain("resourceVersion should not be set on objects to be created"));
        }
        call.complete(&mut tree);
        // what admission adds is nobody's
        call.record_new(&mut tree)?;
        let mut admission = Admission::new(&self.plugins, call);
        admission.mutate(call, &mut tree, None).await?;

        let base = match (meta::text(&tree, "name"), meta::text(&tree, "generateName")) {
            ("", base) if !base.is_empty() => Some(base.to_owned()),
            _ => None,
        };
        meta::fill_new(kind, &mut tree)?;
        // what a strategy derives from the name (a job's labels) is derived anew for each name drawn
        let nameless = base.is_some().then(|| tree.clone());
        for draw in 1.. {
            if let (true, Some(nameless)) = (draw > 1, &nameless) {
                tree = nameless.clone();
            }
            if let Some(base) = &base {
                meta::metadata(&mut tree)?.insert("name".into(), meta::generate_name(base).into());
                // a namespace carries its name in a label
                kind.strategy.default(&mut tree);
            }
            kind.strategy.prepare_create(&mut tree);
            if draw == 1 {
                self.check_new(call, &tree)?;
                call.warn(&tree, None);
                admission.validate(call, &mut tree, None).await?;
            }
            match self.insert(call, &tree).await {
                Err(status) if base.is_some() && status.is_already_exists() => {
                    if draw == DRAWS {
                        return Err(not_unique(status));
                    }
                }
                done => return done,
            }
        }
        unreachable!("the last draw returns")
    }

    fn check_new(&self, call: &Call<'_>, tree: &Value) -> Result<(), Status> {
        let kind = call.kind();
        let mut errors = validate_metadata(kind, tree);
        errors.extend(kind.strategy.validate(tree));
        errors.extend(kind.strategy.validate_version((&call.served.group, &call.served.version), tree, None));
        if errors.is_empty() {
            return Ok(());
        }
        let name = match meta::text(tree, "name") {
            "" => meta::text(tree, "generateName"),
            name => name,
        };
        Err(Status::invalid(&kind.group, &kind.kind, name, &errors))
    }

    async fn insert(&self, call: &Call<'_>, tree: &Value) -> Result<Arc<Object>, Status> {
        let draft = self.stored(call.served, tree).await?;
        let name: Arc<str> = (&*draft.meta().name).into();
        let exists = |old: &Object| {
            let mut status = Status::already_exists(&call.kind().group, &call.kind().plural, &name);
            if old.meta().is_deleting() {
                status.message = format!("object is being deleted: {}", status.message);
            }
            status
        };
        if call.dry_run {
            return match self.find(call, &name) {
                Some(old) => Err(exists(&old)),
                None => Object::from_json(serde_json::to_vec(tree).map_err(Status::internal)?.into(), 0)
                    .map(Arc::new)
                    .map_err(Status::internal),
            };
        }
        let key = key(call.served, call.namespace(), &name);
        match self.put(key, Precondition::Absent, draft).await {
            Ok(object) => self.present(call.served, object).await,
            Err(store::Error::Exists { current }) => Err(exists(&current)),
            Err(error) => Err(failed(call.kind(), &name, error)),
        }
    }
}

/// `NewGenerateNameConflict`
fn not_unique(mut status: Status) -> Status {
    status.message += ", the server was not able to generate a unique name for the object";
    status.retry_after_seconds = 1;
    debug_assert_eq!(status.reason, Reason::AlreadyExists);
    status
}
