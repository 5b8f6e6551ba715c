//! Server-side apply: who owns which field, upstream's `fieldmanager` and structured-merge-diff.
//!
//! ```text
//!   live + config ── merge by schema ──► ── prune what this manager applied before and nobody has now ──► new object
//!                         └─ fields that changed and that others own: conflicts, or with force taken from them
//! ```
//!
//! Creations are recorded ([`record_new`]), and updates of what carries `managedFields` ([`record`]). At the first apply to an
//! object that carries none (its owners were reset, or it is from before skiff recorded creations) all of its fields belong to
//! `before-first-apply`.
//!
//! Fields are those of one version: a built-in kind's storage version, a custom resource's version of the request.
//!
//! | | |
//! |---|---|
//! | `node` | places in a schema, names of list elements |
//! | `set` | sets of fields, `fieldsV1` |
//! | `walk` | fields of a tree, differences of two |
//! | `merge` | merge and prune |
//! | `entry` | `managedFields` |
//! | `last_applied` | the way from client-side apply |

mod entry;
mod last_applied;
mod lay;
mod merge;
mod node;
mod set;
mod walk;

pub use lay::lay_over;

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::schema::Schema;
use crate::{Cause, Reason, Status};
use entry::Entry;
use node::Node;
use set::Set;
use walk::Changes;

const BEFORE_FIRST: &str = "before-first-apply";
/// Fields in metadata that nobody owns: upstream's `stripSet`.
const UNOWNED: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// Who writes, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// `fieldManager=`; empty: unknown.
    pub manager: &'a str,
    /// Of the fields: `apps/v1`.
    pub api_version: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// RFC 3339.
    pub now: &'a str,
    /// Whether the main resource leaves `status` to its subresource.
    pub has_status: bool,
}

impl Writer<'_> {
    /// Takes away the half that another (sub)resource writes: the strategy's `GetResetFields`.
    fn reset(&self, root: Node, set: &mut Set) {
        match self.subresource {
            "" if !self.has_status => {}
            "status" => {
                set.children.remove("f:spec");
                // a custom resource's status takes nothing else with it
                if root.is_custom() {
                    set.children.remove("f:metadata");
                }
            }
            _ => drop(set.children.remove("f:status")),
        }
    }
    /// [`Writer::reset`], and without what the server owns.
    fn own(&self, root: Node, mut set: Set) -> Set {
        self.reset(root, &mut set);
        for name in ["f:apiVersion", "f:kind"] {
            set.children.remove(name);
        }
        if let Some(metadata) = set.children.get_mut("f:metadata") {
            metadata.owned = false;
            for name in UNOWNED {
                metadata.children.remove(&format!("f:{name}"));
            }
            if metadata.is_empty() {
                set.children.remove("f:metadata");
            }
        }
        set
    }
}

/// What others own of what is to be written, by their place in the entries.
type Conflicts = Vec<(usize, Set)>;

/// Applies `config` to `live` (`None`: creates it). Both have been checked against the schema.
///
/// Errors: `Conflict` with a cause for each field that another manager owns, unless `force`; `BadRequest` for a configuration
/// with `managedFields`; 500, as upstream, for list elements without their keys (in the live object too) or with the keys of another.
pub fn apply<'a>(
    schema: impl Into<Schema<'a>>,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer,
    force: bool,
) -> Result<Value, Status> {
    if config["metadata"].get("managedFields").is_some_and(|m| !m.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let root = Node::root(schema.into());
    let problems = walk::problems(root, config, false);
    if !problems.is_empty() {
        return Err(untyped("patch", config, &problems));
    }
    let mut set = walk::fields(root, config);
    writer.reset(root, &mut set);
    let Some(live) = live else {
        let mut object = config.clone();
        entry::write(&mut object, vec![Entry::new(writer, true, writer.own(root, set))]);
        return Ok(object);
    };

    let problems = walk::problems(root, live, true);
    if !problems.is_empty() {
        return Err(untyped("live", live, &problems));
    }
    let mut all = entry::read(live).unwrap_or_default();
    if all.is_empty() {
        let fields = writer.own(root, walk::compare(root, &nothing(), live).added);
        all.push(Entry::new(&Writer { manager: BEFORE_FIRST, ..*writer }, false, fields));
    }
    let applied = match overlay(root, live, config, &set, &all, writer, force) {
        Err(conflicts) if writer.manager == last_applied::MANAGER => {
            let allowed = last_applied::allowed(root, live, writer.api_version).unwrap_or_default();
            let rest: Conflicts = conflicts.into_iter().map(|(i, s)| (i, s.difference(&allowed))).collect();
            match rest.iter().all(|(_, s)| s.is_empty()) {
                true => overlay(root, live, config, &set, &all, writer, true),
                false => Err(rest),
            }
        }
        done => done,
    };
    let (mut object, all) = applied.map_err(|conflicts| conflict(&all, &conflicts))?;
    if writer.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, config);
    }
    entry::write(&mut object, all);
    Ok(object)
}

/// `Updater.Apply`: the new object and who owns what in it, or the conflicts by the place of their manager.
fn overlay(
    root: Node,
    live: &Value,
    config: &Value,
    set: &Set,
    all: &[Entry],
    writer: &Writer,
    force: bool,
) -> Result<(Value, Vec<Entry>), Conflicts> {
    let mut all = all.to_vec();
    let place = all.iter().position(|e| e.is(writer, true));
    let before = place.map(|i| all[i].fields.clone());
    reconcile(root, &mut all, live);
    let last = place.map(|i| all.remove(i));

    let mut object = merge::merge(root, live, config);
    if let Some(last) = last.as_ref().filter(|l| !l.fields.is_empty()) {
        // with the name and all that nobody owns: it holds metadata
        let managed = all.iter().fold(set.clone(), |managed, e| managed.union(&e.fields));
        object = merge::prune(root, &object, &last.fields, &managed);
    }
    let mut changes = walk::compare(root, live, &object);
    changes.each(|set| writer.reset(root, set));
    settle(&mut all, &changes, force).map_err(|conflicts| {
        let moved = |i: usize| i + usize::from(place.is_some_and(|place| place <= i));
        conflicts.into_iter().map(|(i, s)| (moved(i), s)).collect::<Conflicts>()
    })?;
    let mut own = Entry::new(writer, true, writer.own(root, set.clone()));
    // time goes by only where something happens
    if let Some(last) = last.filter(|_| changes.is_empty() && before.as_ref() == Some(&own.fields)) {
        own.time = last.time;
    }
    all.push(own);
    Ok((object, all))
}

/// `Updater.update`: takes from the other managers what has been written or removed. Without `force`, what they own is a
/// conflict.
fn settle(all: &mut [Entry], changes: &Changes, force: bool) -> Result<(), Conflicts> {
    let written = changes.written();
    let taken: Conflicts = all.iter().map(|e| e.fields.intersection(&written)).enumerate().collect();
    if !force && taken.iter().any(|(_, s)| !s.is_empty()) {
        return Err(taken);
    }
    for (e, (_, taken)) in all.iter_mut().zip(taken) {
        if !taken.is_empty() {
            e.fields = e.fields.difference(&taken);
        }
        if !changes.removed.is_empty() {
            e.fields = e.fields.difference(&changes.removed);
        }
    }
    Ok(())
}

/// Records a creation that was no apply: all that is set belongs to `writer`, but what the entries that it brings give to others.
pub fn record_new<'a>(schema: impl Into<Schema<'a>>, new: &mut Value, writer: &Writer) {
    let root = Node::root(schema.into());
    let changes = changed(root, &nothing(), new, writer);
    let mut all = entry::base(&Value::Null, new, "");
    update(&mut all, changes, writer);
    entry::write(new, all);
}

/// Records an update that was no apply, if somebody owns something of the object, or if it brings entries of its own: what
/// changed belongs to `writer`. `new.metadata.managedFields` is replaced by what it must be.
pub fn record<'a>(schema: impl Into<Schema<'a>>, live: &Value, new: &mut Value, writer: &Writer) {
    let root = Node::root(schema.into());
    let mut all = entry::base(live, new, writer.subresource);
    if !all.is_empty() {
        reconcile(root, &mut all, live);
        update(&mut all, changed(root, live, new, writer), writer);
    }
    entry::write(new, all);
}

/// What `writer` has done, as far as it can be owned.
fn changed(root: Node, live: &Value, new: &Value, writer: &Writer) -> Changes {
    let mut changes = walk::compare(root, live, new);
    changes.each(|set| *set = writer.own(root, std::mem::take(set)));
    changes
}

/// `Updater.Update`
fn update(all: &mut Vec<Entry>, changes: Changes, writer: &Writer) {
    all.iter_mut().filter(|e| changes.touches(e) || e.is(writer, false)).for_each(Entry::open);
    // forced, it cannot fail
    let _ = settle(all, &changes, true);
    let written = changes.into_written();
    if written.is_empty() {
        return;
    }
    match all.iter_mut().find(|e| e.is(writer, false)) {
        Some(e) => {
            e.fields = e.fields.union(&written);
            e.time = writer.now.into();
        }
        None => all.push(Entry::new(writer, false, written)),
    }
    entry::cap(all);
}

/// Makes sets of fields those of today's schema: what has become atomic is owned as a whole, what has been, by its fields
/// (`ReconcileFieldSetWithSchema`). Only a custom resource's schema changes. (Upstream takes any field that somebody owns
/// without what is below for one that was atomic, and gives them all of it; here only where nobody owns anything below.)
fn reconcile(root: Node, all: &mut [Entry], live: &Value) {
    if !root.is_custom() {
        return;
    }
    all.iter_mut().for_each(Entry::open);
    let owned = all.iter().fold(Set::default(), |owned, e| owned.union(&e.fields));
    all.iter_mut().for_each(|e| fit(root, &mut e.fields, &owned, live));
}

/// `owned` is what all own of the same, `live` the value there.
fn fit(node: Node, set: &mut Set, owned: &Set, live: &Value) {
    let mut named: HashMap<String, Option<&Value>> = HashMap::new();
    for item in live.as_array().into_iter().flatten().filter(|_| node.is_list()) {
        if let Ok(e) = node.name(item) {
            // one that occurs twice is owned as one
            named.entry(e).and_modify(|one| *one = None).or_insert(Some(item));
        }
    }
    for (e, below) in &mut set.children {
        let at = match e.strip_prefix("f:") {
            Some(name) => live.get(name),
            None => named.get(e).copied().flatten(),
        };
        let (node, Some(at), Some(owned)) = (node.step(e), at, owned.children.get(e)) else { continue };
        match (node, below.has_below()) {
            (Node::Leaf, true) => *below = Set::leaf(),
            (Node::Leaf | Node::Free, _) => {}
            (_, true) => fit(node, below, owned, at),
            (_, false) if owned.has_below() => {}
            (_, false) => *below = Set { owned: true, ..walk::fields(node, at) },
        }
    }
}

/// An object of which nothing is set.
fn nothing() -> Value {
    Value::Object(Map::new())
}

/// What is said of a configuration with fields that its schema does not know, whatever validation is asked for. `unknown` are
/// [`crate::decode`]'s texts, `config` is what is left.
pub fn undeclared(schema: Schema<'_>, config: &Value, unknown: &[String]) -> Status {
    let bare = |text: &'_ String| text.trim_start_matches("unknown field ").trim_matches('"').to_owned();
    let said = |text| format!("{}: field not declared in schema", walk::shown(Node::root(schema), config, &bare(text)));
    let mut problems: Vec<String> = unknown.iter().map(said).collect();
    problems.sort();
    untyped("patch", config, &problems)
}

fn untyped(which: &str, config: &Value, problems: &[String]) -> Status {
    let text = |key: &str| config["metadata"][key].as_str().unwrap_or_default();
    let (version, kind) =
        (config["apiVersion"].as_str().unwrap_or_default(), config["kind"].as_str().unwrap_or_default());
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    let problems = match problems {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (text("namespace"), text("name"));
    let message =
        format!("failed to create typed {which} object ({namespace}/{name}; {version}, Kind={kind}): {problems}");
    Status::new(Reason::Unknown, message)
}

fn conflict(all: &[Entry], conflicts: &[(usize, Set)]) -> Status {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    let mut conflicts: Vec<(&Entry, &Set)> =
        conflicts.iter().filter(|(_, s)| !s.is_empty()).map(|(i, s)| (&all[*i], s)).collect();
    conflicts.sort_by_key(|(e, _)| (&e.manager, !e.applied, &e.api_version, &e.subresource));
    for (entry, set) in conflicts {
        let manager = entry.shown();
        lines.push(format!("conflicts with {manager}:"));
        for path in set.paths() {
            lines.push(format!("- {path}"));
            let message = format!("conflict with {manager}");
            causes.push(Cause { reason: "FieldManagerConflict".into(), message, field: path });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    let mut status = Status::new(Reason::Conflict, message);
    status.causes = causes;
    status
}

#[cfg(test)]
mod tests;
