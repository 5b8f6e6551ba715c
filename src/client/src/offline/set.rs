//! One set: what is known of it, and what of that is not on disk yet.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use api::{Gvr, Object, Value};
use bytes::Bytes;
use serde_json::json;

use super::file;
use crate::{ListOptions, Target};

/// What a set is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct What {
    pub resource: Gvr,
    namespace: String,
    labels: String,
    fields: String,
}

impl What {
    pub fn many(target: &Target, options: &ListOptions) -> What {
        What {
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        }
    }
    /// The same as a list that selects the name.
    pub fn one(target: &Target) -> What {
        let fields = format!("metadata.name={}", target.name);
        What::many(target, &ListOptions { fields, ..ListOptions::default() })
    }
    /// The answers to one `TokenRequest`.
    pub fn token(target: &Target, spec: &Value) -> What {
        let bound = &spec["boundObjectRef"];
        let fields = json!([target.name, spec["audiences"], spec["expirationSeconds"], bound["kind"], bound["uid"]]);
        let resource = Gvr::new("authentication.k8s.io", "v1", "tokenrequests");
        let options = ListOptions { fields: fields.to_string(), ..ListOptions::default() };
        What::many(&Target::within(resource, &target.namespace), &options)
    }

    /// Whether it is of one object at most.
    pub fn is_small(&self) -> bool {
        self.fields.starts_with("metadata.name=") || self.resource.resource == "tokenrequests"
    }

    /// The first line of the file: its name is cut short, this is not.
    pub fn header(&self) -> String {
        let r = &self.resource;
        json!(["skiff", 1, r.group, r.version, r.resource, self.namespace, self.labels, self.fields]).to_string()
    }
    pub fn file_name(&self) -> String {
        // FNV-1a: the same in every build
        let hash = self
            .header()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let readable = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '=') { c } else { '_' };
        let text: String =
            format!("{}_{}_{}", self.namespace, self.labels, self.fields).chars().map(readable).collect();
        format!("{}{}_{:.80}_{hash:016x}.log", self.resource.resource, file::group(&self.resource.group), text)
    }
}

type Key = (Box<str>, Box<str>);

fn key(o: &Object) -> (&str, &str) {
    (o.namespace(), o.name())
}
fn is_same(a: &Object, b: &Object) -> bool {
    a.revision() == b.revision() && a.uid() == b.uid()
}
fn owned(o: &Object) -> Key {
    (o.namespace().into(), o.name().into())
}

pub struct Set {
    name: String,
    header: String,
    is_node: bool,
    /// By namespace and name. The informers have the same ones: one pointer each.
    objects: Vec<Arc<Object>>,
    /// Whether a server or the disk has said anything.
    known: bool,
    /// What is not as it is on disk.
    dirty: BTreeSet<Key>,
    /// The file is to be written anew.
    anew: bool,
    file_bytes: usize,
}

/// Something to write.
pub struct Work {
    name: String,
    lines: Vec<Bytes>,
    anew: bool,
}

impl Work {
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(&self.name);
        if self.anew { file::replace(&path, &self.lines) } else { file::append(&path, &self.lines) }
    }
}

impl Set {
    /// `read` is what the disk holds.
    pub fn new(what: &What, read: Option<file::Contents>) -> Set {
        let known = read.is_some();
        let read = read.unwrap_or_default();
        Set {
            name: what.file_name(),
            header: what.header(),
            is_node: what.resource.group.is_empty() && what.resource.resource == "nodes",
            objects: read.objects,
            known,
            dirty: BTreeSet::new(),
            anew: !known || read.torn,
            file_bytes: read.bytes,
        }
    }

    pub fn objects(&self) -> &[Arc<Object>] {
        &self.objects
    }
    pub fn is_known(&self) -> bool {
        self.known
    }
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || (self.known && self.anew)
    }

    fn place(&self, at: (&str, &str)) -> Result<usize, usize> {
        self.objects.binary_search_by(|o| key(o).cmp(&at))
    }
    pub fn get(&self, target: &Target) -> Option<&Arc<Object>> {
        self.place((&target.namespace, &target.name)).ok().map(|i| &self.objects[i])
    }

    /// Whether there is something to write now.
    pub fn put(&mut self, object: Arc<Object>) -> bool {
        match self.place(key(&object)) {
            Ok(i) if self.objects[i].revision() > object.revision() && self.objects[i].uid() == object.uid() => false,
            Ok(i) => self.swap(i, object),
            Err(i) => {
                self.dirty.insert(owned(&object));
                self.objects.insert(i, object);
                true
            }
        }
    }

    fn swap(&mut self, place: usize, object: Arc<Object>) -> bool {
        let old = &self.objects[place];
        if is_same(old, &object) {
            return false;
        }
        let is_news = !(self.is_node && plain(old) == plain(&object));
        if is_news {
            self.dirty.insert(owned(&object));
        }
        self.objects[place] = object;
        is_news
    }

    /// The copy that all who follow this set share.
    pub fn shared(&self, object: Arc<Object>) -> Arc<Object> {
        let here = self.place(key(&object)).ok().map(|i| &self.objects[i]);
        here.filter(|o| is_same(o, &object)).cloned().unwrap_or(object)
    }

    pub fn remove(&mut self, object: &Object) -> bool {
        let Ok(i) = self.place(key(object)) else { return false };
        if self.objects[i].revision() > object.revision() {
            return false;
        }
        self.objects.remove(i);
        self.dirty.insert(owned(object));
        true
    }

    pub fn replace(&mut self, items: &[Arc<Object>]) -> bool {
        let mut fresh = items.to_vec();
        fresh.sort_by(|a, b| key(a).cmp(&key(b)));
        let mut changed = !self.known;
        for old in std::mem::take(&mut self.objects) {
            if fresh.binary_search_by(|o| key(o).cmp(&key(&old))).is_err() {
                self.dirty.insert(owned(&old));
                changed = true;
            } else {
                self.objects.push(old);
            }
        }
        for object in fresh {
            changed |= match self.place(key(&object)) {
                // what a server lists is right, however old it looks
                Ok(i) => self.swap(i, object),
                Err(_) => self.put(object),
            };
        }
        self.known = true;
        changed
    }

    /// All that is to be written; after this it counts as written.
    pub fn work(&mut self) -> Option<Work> {
        if !self.is_dirty() {
            return None;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let size = |lines: &[Bytes]| lines.iter().map(|l| l.len() + 1).sum::<usize>();
        let mut lines: Vec<Bytes> = dirty
            .iter()
            .map(|(ns, name)| match self.place((ns, name)) {
                Ok(i) => file::line(&self.objects[i]),
                Err(_) => file::removal(ns, name),
            })
            .collect();
        let live = self.objects.iter().map(|o| o.json().len() + 1).sum::<usize>();
        let anew = self.anew || self.file_bytes + size(&lines) > 2 * live + file::SLACK;
        if anew {
            let header = Bytes::from(self.header.clone());
            lines = [header].into_iter().chain(self.objects.iter().map(|o| file::line(o))).collect();
            self.file_bytes = 0;
        }
        self.file_bytes += size(&lines);
        self.anew = false;
        Some(Work { name: self.name.clone(), lines, anew })
    }

    /// What was to be written is not: at the next change the file is written anew.
    pub fn failed(&mut self) {
        self.anew = true;
    }
}

/// A node without what its heartbeat changes.
fn plain(node: &Object) -> Value {
    let mut tree = node.tree();
    if let Some(metadata) = tree["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    let conditions = tree.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.remove("lastHeartbeatTime");
    }
    tree
}
