//! The entries of `metadata.managedFields`.

use serde_json::{Value, json};

use super::Writer;
use super::set::Set;

/// `DefaultMaxUpdateManagers`
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// An entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub manager: String,
    /// By `Apply`, not by `Update`.
    pub applied: bool,
    pub api_version: String,
    pub subresource: String,
    pub time: String,
    pub fields: Set,
}

impl Entry {
    pub fn new(w: &Writer, applied: bool, fields: Set) -> Entry {
        Entry {
            manager: name(w).into(),
            applied,
            api_version: w.api_version.into(),
            subresource: w.subresource.into(),
            time: w.now.into(),
            fields,
        }
    }
    /// Whether this is the writer's own. An applier's does not depend on the version.
    pub fn is(&self, w: &Writer, applied: bool) -> bool {
        self.applied == applied
            && self.manager == name(w)
            && self.subresource == w.subresource
            && (applied || self.api_version == w.api_version)
    }
    /// `None`: it is none.
    fn from_value(v: &Value, fields: impl Fn(&Value) -> Option<Set>) -> Option<Entry> {
        let text = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
        let applied = match v["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let fields = match v.get("fieldsV1") {
            None | Some(Value::Null) => Set::default(),
            Some(set) => fields(set)?,
        };
        let entry = Entry {
            manager: text("manager"),
            applied,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Set { owned: false, ..fields },
        };
        (!entry.api_version.is_empty() && v["fieldsType"] == "FieldsV1").then_some(entry)
    }
    fn to_value(&self) -> Value {
        let operation = if self.applied { "Apply" } else { "Update" };
        let mut v = json!({
            "operation": operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        for (key, text) in [("manager", &self.manager), ("time", &self.time), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                v[key] = text.as_str().into();
            }
        }
        v
    }
    /// As a conflict names it.
    pub fn shown(&self) -> String {
        let sub = match self.subresource.as_str() {
            "" => String::new(),
            s => format!(" with subresource {s:?}"),
        };
        let using = if self.applied { String::new() } else { format!(" using {}", self.api_version) };
        format!("{:?}{sub}{using}", self.manager)
    }
}

fn name<'a>(w: &Writer<'a>) -> &'a str {
    if w.manager.is_empty() { "unknown" } else { w.manager }
}

/// The entries of an object: `DecodeManagedFields`. `None` where there is something else than entries.
pub(super) fn read(object: &Value) -> Option<Vec<Entry>> {
    read_with(object, Set::from_value)
}

fn read_with(object: &Value, fields: impl Fn(&Value) -> Option<Set>) -> Option<Vec<Entry>> {
    match object["metadata"].get("managedFields") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(list) => list.as_array()?.iter().map(|v| Entry::from_value(v, &fields)).collect(),
    }
}

/// The entries that an update starts from: those that it brings, else those there were. A subresource's may not bring any.
pub(super) fn base(live: &Value, new: &Value, subresource: &str) -> Vec<Entry> {
    let same = live["metadata"].get("managedFields") == new["metadata"].get("managedFields");
    // `write` made them
    let live = || read_with(live, Set::from_own).unwrap_or_default();
    if same || !subresource.is_empty() {
        return live();
    }
    match new["metadata"].get("managedFields").and_then(Value::as_array).map(Vec::as_slice) {
        // asks that nobody own anything any more
        Some([]) => Vec::new(),
        Some([one]) if one.as_object().is_some_and(|o| o.is_empty()) => Vec::new(),
        _ => read(new).filter(|all| !all.is_empty()).unwrap_or_else(live),
    }
}

/// Sets `metadata.managedFields`, in upstream's order.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.fields.is_empty());
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
    let list: Vec<Value> = entries.iter().map(Entry::to_value).collect();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        match list.is_empty() {
            true => drop(metadata.remove("managedFields")),
            false => drop(metadata.insert("managedFields".into(), list.into())),
        }
    }
}

fn key(e: &Entry) -> (bool, &str, &str, &str, &str) {
    (!e.applied, &e.time, &e.manager, &e.api_version, &e.subresource)
}

/// Keeps the number of updaters within bounds: the oldest become one per version, `ancient-changes`.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    entries.retain(|e| !e.fields.is_empty());
    let (mut updaters, mut kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|e| !e.applied);
    updaters.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    let mut count = updaters.len();
    // the first of a version, or the bucket that it has become
    let mut buckets: Vec<Entry> = Vec::new();
    for e in updaters {
        match buckets.iter_mut().find(|b| b.api_version == e.api_version) {
            Some(bucket) if count > MAX_UPDATERS => {
                bucket.manager = ANCIENT.into();
                bucket.subresource.clear();
                bucket.fields = bucket.fields.union(&e.fields);
                bucket.time = e.time;
                count -= 1;
            }
            None if count > MAX_UPDATERS => buckets.push(e),
            _ => kept.push(e),
        }
    }
    kept.extend(buckets);
    *entries = kept;
}
