//! Server-side apply: who owns which field, upstream's `fieldmanager` and structured-merge-diff.
//!
//! ```text
//!   live + config ── merge by schema ──► ── remove what this manager applied before and nobody owns now ──► new object
//!                         └─ fields that changed and that others own: conflicts, or with force taken from them
//! ```
//!
//! An object that nobody has applied yet carries no `managedFields`; at its first apply all of its fields belong to
//! `before-first-apply`. From then on every write is recorded ([`record`]). (Upstream records creations too; here that would
//! double every object.)

mod set;
mod walk;

use serde_json::{Value, json};

use crate::schema::Schema;
use crate::{Cause, Reason, Status};
use set::Set;
use walk::Node;

const BEFORE_FIRST: &str = "before-first-apply";
/// Fields that nobody owns.
const UNOWNED: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
];

/// Who writes, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// `fieldManager=`
    pub manager: &'a str,
    /// In which the request was written: `apps/v1`.
    pub api_version: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// RFC 3339.
    pub now: &'a str,
    /// Whether the main resource leaves `status` to its subresource.
    pub has_status: bool,
}

/// An entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    /// By `Apply`, not by `Update`.
    applied: bool,
    api_version: String,
    subresource: String,
    time: String,
    fields: Set,
}

impl Entry {
    fn new(w: &Writer, applied: bool, fields: Set) -> Entry {
        Entry {
            manager: w.manager.into(),
            applied,
            api_version: w.api_version.into(),
            subresource: w.subresource.into(),
            time: w.now.into(),
            fields,
        }
    }
    fn is(&self, w: &Writer, applied: bool) -> bool {
        self.applied == applied
            && self.manager == w.manager
            && self.subresource == w.subresource
            && (applied || self.api_version == w.api_version)
    }
    fn from_value(v: &Value) -> Entry {
        let text = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
        Entry {
            manager: text("manager"),
            applied: v["operation"] == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Set::from_value(&v["fieldsV1"]),
        }
    }
    fn to_value(&self) -> Value {
        let operation = if self.applied { "Apply" } else { "Update" };
        let mut v = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        for (key, text) in [("time", &self.time), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                v[key] = text.as_str().into();
            }
        }
        v
    }
    /// As a conflict names it.
    fn shown(&self) -> String {
        let sub = match self.subresource.as_str() {
            "" => String::new(),
            s => format!(" with subresource {s:?}"),
        };
        let using = if self.applied { String::new() } else { format!(" using {}", self.api_version) };
        format!("{:?}{sub}{using}", self.manager)
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(Entry::from_value).collect()
}

fn store(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.fields.is_empty());
    entries.sort_by(|a, b| (!a.applied, &a.time, &a.manager).cmp(&(!b.applied, &b.time, &b.manager)));
    let list: Vec<Value> = entries.iter().map(Entry::to_value).collect();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        match list.is_empty() {
            true => drop(metadata.remove("managedFields")),
            false => drop(metadata.insert("managedFields".into(), list.into())),
        }
    }
}

/// Takes away what the server owns: names, versions, and the half that the other (sub)resource writes.
fn strip(mut set: Set, subresource: &str, has_status: bool) -> Set {
    let top: &[&str] = match subresource {
        "" if has_status => &["f:apiVersion", "f:kind", "f:status"],
        "" => &["f:apiVersion", "f:kind"],
        "status" => &["f:apiVersion", "f:kind", "f:spec", "f:metadata"],
        _ => &["f:apiVersion", "f:kind", "f:status"],
    };
    for name in top {
        set.children.remove(*name);
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

/// Applies `config` to `live` (`None`: creates it). Both are in the storage version and have been checked against the schema.
///
/// Errors: `Conflict` with a cause for each field that another manager owns, unless `force`; `BadRequest` for a list element
/// without its key.
pub fn apply<'a>(
    schema: impl Into<Schema<'a>>,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer,
    force: bool,
) -> Result<Value, Status> {
    if config["metadata"]["managedFields"].as_array().is_some_and(|l| !l.is_empty()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let root = Node::root(schema.into());
    walk::check_keys(root, config, "").map_err(Status::bad_request)?;
    let set = strip(walk::fields(root, config), writer.subresource, writer.has_status);
    let Some(live) = live else {
        let mut object = config.clone();
        store(&mut object, vec![Entry::new(writer, true, set)]);
        return Ok(object);
    };

    let mut all = entries(live);
    if all.is_empty() {
        let fields = strip(walk::fields(root, live), "", false);
        let api_version = live["apiVersion"].as_str().unwrap_or(writer.api_version);
        all.push(Entry::new(&Writer { manager: BEFORE_FIRST, api_version, subresource: "", ..*writer }, false, fields));
    }
    let place = all.iter().position(|e| e.is(writer, true));
    let last = place.map(|i| all.remove(i));

    let mut object = live.clone();
    walk::merge(root, &mut object, config);
    if let Some(last) = &last {
        let keep = all.iter().fold(set.clone(), |keep, e| keep.union(&e.fields));
        walk::prune(&mut object, &last.fields, &keep);
    }

    let changes = walk::compare(root, Some(live), Some(&object));
    let written = changes.modified.union(&changes.added);
    let conflicts: Vec<(usize, Set)> =
        all.iter().map(|e| e.fields.intersection(&written)).enumerate().filter(|(_, s)| !s.is_empty()).collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(&all, &conflicts));
    }
    for (i, taken) in &conflicts {
        all[*i].fields = all[*i].fields.difference(taken);
    }
    for e in &mut all {
        e.fields = e.fields.difference(&changes.removed);
    }
    let time = last.filter(|l| l.fields == set && written.is_empty()).map(|l| l.time);
    let mut entry = Entry::new(writer, true, set);
    entry.time = time.unwrap_or(entry.time);
    all.push(entry);
    store(&mut object, all);
    Ok(object)
}

/// Records a write that was no apply, if the object is one that somebody has applied: what changed belongs to `writer`.
/// `new.metadata.managedFields` is replaced by what it must be.
pub fn record<'a>(schema: impl Into<Schema<'a>>, live: &Value, new: &mut Value, writer: &Writer) {
    let mut all = entries(live);
    if all.is_empty() {
        store(new, Vec::new());
        return;
    }
    let changes = walk::compare(Node::root(schema.into()), Some(live), Some(new));
    let written = strip(changes.modified.union(&changes.added), "", false);
    for e in all.iter_mut() {
        e.fields = e.fields.difference(&changes.removed);
        if !e.is(writer, false) {
            e.fields = e.fields.difference(&written);
        }
    }
    if !written.is_empty() {
        match all.iter_mut().find(|e| e.is(writer, false)) {
            Some(e) => {
                e.fields = e.fields.union(&written);
                e.time = writer.now.into();
            }
            None => all.push(Entry::new(writer, false, written)),
        }
    }
    store(new, all);
}

fn conflict(all: &[Entry], conflicts: &[(usize, Set)]) -> Status {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (i, set) in conflicts {
        let manager = all[*i].shown();
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
