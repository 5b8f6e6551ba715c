//! Delete: at once, gracefully, or when the last finalizer goes. Upstream's `registry.Store.Delete` and `rest.BeforeDelete`.

use std::sync::Arc;

use api::{Object, Status, Value};
use serde_json::json;
use store::{Change, Precondition};

use super::admit::Admission;
use super::{Call, Engine, ListFailure, ListRequest, Listing, failed, finalize, key, meta};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What a delete wants the object to be.
#[derive(Debug, Clone, Default)]
pub struct UidPrecondition {
    pub uid: Option<String>,
    pub revision: Option<String>,
}

/// `metav1.DeleteOptions`
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub precondition: UidPrecondition,
}

/// What became of a delete.
pub struct Deleted {
    /// As it was last, or as it is while it terminates.
    pub object: Arc<Object>,
    /// It is gone.
    pub gone: bool,
}

/// What a delete does to the object it finds.
enum Step {
    /// Nothing: it is on its way already.
    Wait,
    /// Marks it; it goes later.
    Mark(Value),
    /// Marks it if the tree differs, and removes it.
    Remove(Option<Value>),
}

impl Engine {
    pub async fn delete(&self, call: &mut Call<'_>, name: &str, options: &Options) -> Result<Deleted, Status> {
        let kind = call.kind();
        let warnings = call.warnings.len();
        call.deletion = Some(options.clone());
        loop {
            call.warnings.truncate(warnings);
            let stored = self.read(call, name)?;
            let old = self.present(call.served, stored.clone()).await?;
            check(call, &old, &options.precondition)?;
            let mut admission = Admission::new(&self.plugins, call);
            admission.mutate(call, &mut Value::Null, Some(&old)).await?;
            admission.validate(call, &mut Value::Null, Some(&old)).await?;
            let done = match step(call, &old, options)? {
                Step::Wait => Ok(Deleted { object: old.clone(), gone: false }),
                Step::Mark(tree) => {
                    let place = (call.namespace(), name);
                    let marked = self.store_over(call.served, place, &stored, &tree, call.dry_run).await;
                    marked.map(|object| Deleted { object, gone: false })
                }
                Step::Remove(tree) => self.remove(call, name, &old, tree).await,
            };
            match done {
                // the object changed meanwhile; whoever named a revision is told at the next look
                Err(status) if status.is_conflict() => {}
                done => {
                    if let Ok(deleted) = &done
                        && deleted.gone
                        && (&*kind.group, &*kind.plural) == ("batch", "jobs")
                        && options.propagation.is_none()
                    {
                        call.warnings.push(JOBS.into());
                    }
                    return done;
                }
            }
        }
    }

    async fn remove(
        &self,
        call: &Call<'_>,
        name: &str,
        old: &Arc<Object>,
        tree: Option<Value>,
    ) -> Result<Deleted, Status> {
        let shown = match &tree {
            Some(tree) => Arc::new(api::Draft::encode(tree)?.at(old.revision())),
            None => old.clone(),
        };
        if call.dry_run {
            return Ok(Deleted { object: shown, gone: true });
        }
        let (key, on) = (key(call.served, call.namespace(), name), Precondition::Revision(old.revision()));
        let commit =
            self.store.commit(key, Some(on), Change::Delete).await.map_err(|e| failed(call.kind(), name, e))?;
        let object = if tree.is_some() { shown } else { self.present(call.served, commit.object).await? };
        Ok(Deleted { object, gone: true })
    }

    /// Deletes all that a list selects; answers them as they were.
    pub async fn delete_collection(
        &self,
        call: &mut Call<'_>,
        selection: &ListRequest,
        options: &Options,
    ) -> Result<Listing, Status> {
        let mut listing =
            self.list(call.served, call.namespace(), selection).await.map_err(ListFailure::into_status)?;
        let (served, dry_run) = (call.served, call.dry_run);
        let items = std::mem::take(&mut listing.items);
        let mut done = Vec::with_capacity(items.len());
        for together in items.chunks(TOGETHER) {
            let deletions = together.iter().map(|object| {
                let mut attributes = call.attributes.clone();
                attributes.namespace = object.namespace().into();
                attributes.name = object.name().into();
                async move {
                    let mut one = Call::new(&attributes, served, dry_run);
                    (self.delete(&mut one, object.name(), options).await, one.warnings)
                }
            });
            for (object, (deleted, warnings)) in together.iter().zip(futures::future::join_all(deletions).await) {
                let fresh: Vec<_> = warnings.into_iter().filter(|w| !call.warnings.contains(w)).collect();
                call.warnings.extend(fresh);
                match deleted {
                    Ok(_) => done.push(object.clone()),
                    Err(status) if status.is_not_found() => {}
                    Err(status) => return Err(status),
                }
            }
        }
        Ok(Listing { items: done, ..listing })
    }
}

/// So many of a collection are deleted at a time: they share commits. Upstream's `--delete-collection-workers`.
const TOGETHER: usize = 128;

const JOBS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
                    them or set propagationPolicy=Orphan to suppress this warning";

fn check(call: &Call<'_>, old: &Object, wanted: &UidPrecondition) -> Result<(), Status> {
    // by the kind's name, as upstream's `BeforeDelete`
    let conflict = |why: String| Status::conflict(&call.kind().group, &call.kind().kind, old.name(), &why);
    if let Some(uid) = wanted.uid.as_deref().filter(|u| *u != old.uid()) {
        return Err(conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted \
             and then recreated",
            old.uid()
        )));
    }
    let revision = old.revision().to_string();
    if let Some(asked) = wanted.revision.as_deref().filter(|r| *r != revision) {
        return Err(conflict(format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). \
             The object might have been modified"
        )));
    }
    Ok(())
}

/// `updateForGracefulDeletionAndFinalizers`
fn step(call: &Call<'_>, old: &Object, options: &Options) -> Result<Step, Status> {
    let strategy = &call.kind().strategy;
    let mut tree = old.tree();
    let meta_of = |tree: &Value, key: &str| tree["metadata"][key].clone();
    let pending = meta_of(&tree, "deletionGracePeriodSeconds").as_i64().unwrap_or(0);
    let deleting = old.meta().is_deleting();
    let grace = match strategy.grace_period_seconds(&tree, options.grace_seconds) {
        // a second delete may only shorten
        Some(_) if deleting && pending > 0 => {
            let Some(asked) = options.grace_seconds.map(|g| g.max(0)).filter(|g| *g < pending) else {
                return Ok(Step::Wait);
            };
            let stamp = meta_of(&tree, "deletionTimestamp").as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            let end = stamp.map_or(meta::now(), |t| t.as_second() - pending + asked);
            let m = meta::metadata(&mut tree)?;
            m.insert("deletionTimestamp".into(), meta::time(end).into());
            m.insert("deletionGracePeriodSeconds".into(), asked.into());
            Some(asked)
        }
        Some(_) | None if deleting => None,
        Some(seconds) => {
            mark(&mut tree, seconds)?;
            Some(seconds)
        }
        None => None,
    };
    let finalizers = finalize::of_delete(call.served, old, options.propagation);
    let changed = !finalizers.iter().map(String::as_str).eq(old.meta().finalizers.iter().map(|f| &**f));
    if changed {
        let m = meta::metadata(&mut tree)?;
        match finalizers.is_empty() {
            true => drop(m.remove("finalizers")),
            false => drop(m.insert("finalizers".into(), json!(finalizers))),
        }
    }
    let held = finalize::is_held(call.served, &tree);
    Ok(match grace {
        Some(seconds) if held || seconds > 0 => Step::Mark(tree),
        Some(_) => Step::Remove(Some(tree)),
        None if held => {
            if !deleting {
                mark(&mut tree, 0)?;
            }
            if &*call.served.resource == "namespaces" {
                tree["status"]["phase"] = "Terminating".into();
            }
            Step::Mark(tree)
        }
        None => Step::Remove(None),
    })
}

/// `markAsDeleting`: the deletion begins.
fn mark(tree: &mut Value, grace_seconds: i64) -> Result<(), Status> {
    let m = meta::metadata(tree)?;
    m.insert("deletionTimestamp".into(), meta::time(meta::now() + grace_seconds).into());
    m.insert("deletionGracePeriodSeconds".into(), grace_seconds.into());
    if m.get("generation").and_then(Value::as_i64).unwrap_or(0) > 0 {
        meta::next_generation(tree)?;
    }
    Ok(())
}
