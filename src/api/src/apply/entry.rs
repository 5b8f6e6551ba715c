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
    /// Empty as long as they are in `closed`.
    pub fields: Set,
    /// `fieldsV1` of a stored object as [`write`] made it: most updates concern one entry, and the others need no reading.
    closed: Option<Value>,
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
            closed: None,
        }
    }
    /// Reads the fields, if that has not been done.
    pub fn open(&mut self) {
        if let Some(set) = self.closed.take().and_then(|v| Set::from_own(&v)) {
            self.fields = Set { owned: false, ..set };
        }
    }
    /// Whether it may own something below a first element.
    pub fn may_own(&self, element: &str) -> bool {
        match &self.closed {
            Some(v) => v.get(element).is_some(),
            None => self.fields.children.contains_key(element),
        }
    }
    fn is_empty(&self) -> bool {
        self.closed.is_none() && self.fields.is_empty()
    }
    /// Whether this is the writer's own. An applier's does not depend on the version.
    pub fn is(&self, w: &Writer, applied: bool) -> bool {
        self.applied == applied
            && self.manager == name(w)
            && self.subresource == w.subresource
            && (applied || self.api_version == w.api_version)
    }
    /// `None`: it is none.
    fn from_value(mut v: Value) -> Option<Entry> {
        let fields = v.get_mut("fieldsV1").map(Value::take).unwrap_or_default();
        let text = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
        let applied = match v["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let entry = Entry {
            manager: text("manager"),
            applied,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Set::default(),
            closed: Some(fields).filter(|fields| !fields.is_null()),
        };
        (!entry.api_version.is_empty() && v["fieldsType"] == "FieldsV1").then_some(entry)
    }
    /// [`Entry::open`] of one that anybody may have made.
    fn checked(mut self) -> Option<Entry> {
        if let Some(v) = self.closed.take() {
            self.fields = Set { owned: false, ..Set::from_value(&v)? };
        }
        Some(self)
    }
    fn into_value(self) -> Value {
        let operation = if self.applied { "Apply" } else { "Update" };
        let mut v = json!({"operation": operation, "fieldsType": "FieldsV1"});
        v["fieldsV1"] = self.closed.unwrap_or_else(|| self.fields.into_value());
        let texts = [
            ("apiVersion", self.api_version),
            ("manager", self.manager),
            ("time", self.time),
            ("subresource", self.subresource),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                v[key] = text.into();
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
    decode(object["metadata"].get("managedFields").cloned().unwrap_or_default())?
        .into_iter()
        .map(Entry::checked)
        .collect()
}

fn decode(list: Value) -> Option<Vec<Entry>> {
    match list {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.into_iter().map(Entry::from_value).collect(),
        _ => None,
    }
}

/// The entries that an update starts from: those that it brings, which are taken out of it, else those there were. A subresource's
/// may not bring any.
pub(super) fn base(live: &Value, new: &mut Value, subresource: &str) -> Vec<Entry> {
    let there = live["metadata"].get("managedFields").unwrap_or(&Value::Null);
    let brought = new["metadata"].get_mut("managedFields").map(Value::take).unwrap_or_default();
    if brought == *there {
        return decode(brought).unwrap_or_default();
    }
    let there = || decode(there.clone()).unwrap_or_default();
    match brought.as_array().map(Vec::as_slice) {
        _ if !subresource.is_empty() => there(),
        // asks that nobody own anything any more
        Some([]) => Vec::new(),
        Some([one]) if one.as_object().is_some_and(|o| o.is_empty()) => Vec::new(),
        _ => {
            let all = decode(brought).and_then(|all| all.into_iter().map(Entry::checked).collect::<Option<Vec<_>>>());
            all.filter(|all| !all.is_empty()).unwrap_or_else(there)
        }
    }
}

/// Sets `metadata.managedFields`, in upstream's order.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.is_empty());
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
    let list: Vec<Value> = entries.into_iter().map(Entry::into_value).collect();
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
    entries.retain(|e| !e.is_empty());
    if entries.iter().filter(|e| !e.applied).count() <= MAX_UPDATERS {
        return;
    }
    entries.iter_mut().for_each(Entry::open);
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
