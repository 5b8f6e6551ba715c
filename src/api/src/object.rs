//! An object as the store, the watchers, informers and controllers share it: encoded once, decoded at most once.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::{DecodeError, Resource, Status};

/// What selectors, owners, admission and the garbage collector look at, parsed once.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: Box<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    pub uid: Box<str>,
    pub generation: i64,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub owner_references: Vec<OwnerReference>,
    pub finalizers: Vec<Box<str>>,
    /// RFC 3339, as stored.
    pub creation_timestamp: Option<Box<str>>,
    /// RFC 3339, as stored. Set once a graceful deletion has begun.
    pub deletion_timestamp: Option<Box<str>>,
}

#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub controller: Option<bool>,
    pub block_owner_deletion: Option<bool>,
}

impl Meta {
    /// The owner with `controller: true`, if any.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller == Some(true))
    }
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| &**f == name)
    }
}

/// An encoded object without a resource version: what a write hands to the store.
#[derive(Debug, Clone)]
pub struct Draft {
    json: Vec<u8>,
    /// Where `"resourceVersion":"N",` goes.
    splice: usize,
    meta: Meta,
}

impl Draft {
    /// Encodes a tree in the storage version. `metadata.resourceVersion` is dropped: the store gives it.
    ///
    /// Errors with `BadRequest` where `metadata` is not an object or one of its fields has the wrong type.
    pub fn encode(tree: &Value) -> Result<Draft, Status> {
        let root = tree.as_object().ok_or_else(|| Status::bad_request("the object is not a JSON object"))?;
        let empty = Map::new();
        let metadata = match root.get("metadata") {
            Some(Value::Object(m)) => m,
            None | Some(Value::Null) => &empty,
            Some(_) => return Err(Status::bad_request("metadata is not a JSON object")),
        };
        let mut json = Vec::with_capacity(512);
        json.push(b'{');
        for key in ["kind", "apiVersion"] {
            if let Some(v) = root.get(key) {
                member(&mut json, key, v);
                json.push(b',');
            }
        }
        json.extend_from_slice(b"\"metadata\":{");
        let splice = json.len();
        for (key, v) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
            member(&mut json, key, v);
            json.push(b',');
        }
        if json.last() == Some(&b',') {
            json.pop();
        }
        json.push(b'}');
        for (key, v) in root.iter().filter(|(k, _)| !matches!(k.as_str(), "kind" | "apiVersion" | "metadata")) {
            json.push(b',');
            member(&mut json, key, v);
        }
        json.push(b'}');
        let meta = parse_meta(&json).map_err(|e| Status::bad_request(format!("metadata: {e}")))?;
        Ok(Draft { json, splice, meta })
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The object as of `revision`. One copy of the bytes, no encoding.
    pub fn at(&self, revision: u64) -> Object {
        let (head, tail) = self.json.split_at(self.splice);
        let comma = if tail.starts_with(b"}") { "" } else { "," };
        let version = format!("\"resourceVersion\":\"{revision}\"{comma}");
        let mut json = Vec::with_capacity(self.json.len() + version.len());
        json.extend_from_slice(head);
        json.extend_from_slice(version.as_bytes());
        json.extend_from_slice(tail);
        Object {
            json: json.into(),
            revision,
            meta: self.meta.clone(),
            view: OnceLock::new(),
            protobuf: OnceLock::new(),
        }
    }

    /// Whether committing this over `object` would change nothing but the revision.
    pub fn same_as(&self, object: &Object) -> bool {
        let (head, tail) = self.json.split_at(self.splice);
        let comma = if tail.starts_with(b"}") { "" } else { "," };
        let version = format!("\"resourceVersion\":\"{}\"{comma}", object.revision);
        let j: &[u8] = &object.json;
        j.len() == self.json.len() + version.len()
            && j.starts_with(head)
            && j[self.splice..].starts_with(version.as_bytes())
            && &j[self.splice + version.len()..] == tail
    }
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    serde_json::to_writer(&mut *out, key).expect("a string encodes to a Vec");
    out.push(b':');
    serde_json::to_writer(out, value).expect("a tree encodes to a Vec");
}

fn parse_meta(json: &[u8]) -> Result<Meta, serde_json::Error> {
    #[derive(Deserialize)]
    struct Outer {
        #[serde(default)]
        metadata: Meta,
    }
    Ok(serde_json::from_slice::<Outer>(json)?.metadata)
}

/// A committed object. Always behind an `Arc`; never changed.
#[derive(Debug)]
pub struct Object {
    json: Bytes,
    revision: u64,
    meta: Meta,
    view: OnceLock<Box<dyn Any + Send + Sync>>,
    protobuf: OnceLock<Shared>,
}

/// How many bytes of protobuf all objects together may keep.
const SHARED_LIMIT: usize = 32 << 20;
static SHARED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are kept with their object and counted in [`SHARED`].
#[derive(Debug)]
struct Shared(Bytes);

impl Drop for Shared {
    fn drop(&mut self) {
        SHARED.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// About what a view takes beside the bytes that it was decoded from: a pod's is mostly structs whose fields are not set.
const VIEW: usize = 12 << 10;
/// How much has to be dropped for it to be worth a look at the heap.
const FREED_STEP: usize = 4 << 20;
static FREED: AtomicUsize = AtomicUsize::new(0);
static WHEN_FREED: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Has `hook` called whenever another 4 MB of objects were dropped: the heap may have pages to give back. It is called from
/// wherever that happens, so it does no more than tell somebody. A process has one; a second is not called.
pub fn when_freed(hook: impl Fn() + Send + Sync + 'static) {
    let _ = WHEN_FREED.set(Box::new(hook));
}

impl Drop for Object {
    fn drop(&mut self) {
        let weight = self.weight();
        let before = FREED.fetch_add(weight, Ordering::Relaxed);
        if before / FREED_STEP != before.wrapping_add(weight) / FREED_STEP
            && let Some(hook) = WHEN_FREED.get()
        {
            hook();
        }
    }
}

impl Object {
    /// From the bytes that [`Object::json`] gave, as the store reads them back or a client receives them.
    /// `revision` is `metadata.resourceVersion`.
    pub fn from_json(json: Bytes, revision: u64) -> Result<Object, DecodeError> {
        let meta = parse_meta(&json)?;
        Ok(Object { json, revision, meta, view: OnceLock::new(), protobuf: OnceLock::new() })
    }

    /// The object in its storage version, `metadata.resourceVersion` included. Clones are free.
    pub fn json(&self) -> &Bytes {
        &self.json
    }
    /// `metadata.resourceVersion`: the store's revision at which it was last written.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// About how many bytes of memory it takes, its view included once it has been decoded.
    pub fn weight(&self) -> usize {
        self.json.len() + if self.view.get().is_some() { VIEW } else { 0 }
    }
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
    pub fn name(&self) -> &str {
        &self.meta.name
    }
    pub fn namespace(&self) -> &str {
        &self.meta.namespace
    }
    pub fn uid(&self) -> &str {
        &self.meta.uid
    }

    /// The same object at another revision: how a deletion shows the last state.
    pub fn at(&self, revision: u64) -> Object {
        let was = format!("\"resourceVersion\":\"{}\"", self.revision);
        let is = format!("\"resourceVersion\":\"{revision}\"");
        // the first one is the object's own: it stands at the head of the metadata, which stands at the head of the object
        let json = match self.json.windows(was.len()).position(|w| w == was.as_bytes()) {
            Some(place) => [&self.json[..place], is.as_bytes(), &self.json[place + was.len()..]].concat().into(),
            None => self.json.clone(),
        };
        Object { json, revision, meta: self.meta.clone(), view: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// A fresh tree, for patches and schema work.
    pub fn tree(&self) -> Value {
        serde_json::from_slice(&self.json).expect("a committed object is JSON")
    }

    /// The object in protobuf, as `encode` makes it; made once and then shared, as long as all that are kept come to no more
    /// than 32 MB. `None` where `encode` has none.
    pub fn protobuf(&self, encode: impl FnOnce() -> Option<Vec<u8>>) -> Option<Bytes> {
        if let Some(kept) = self.protobuf.get() {
            return Some(kept.0.clone());
        }
        let made = Bytes::from(encode()?);
        // the counter is right at every moment; only the limit is taken from before
        if SHARED.fetch_add(made.len(), Ordering::Relaxed) + made.len() <= SHARED_LIMIT {
            // (who comes second drops his, and what it counted)
            let _ = self.protobuf.set(Shared(made.clone()));
        } else {
            SHARED.fetch_sub(made.len(), Ordering::Relaxed);
        }
        Some(made)
    }

    /// The typed view, decoded at the first call and then shared.
    ///
    /// An object has one kind, hence one view type. `managedFields`, which no reader of views looks at and which would be half
    /// of it, is left out: a view that is written back leaves it as it is. Errors if the bytes do not fit `T`.
    pub fn view<T: Resource>(&self) -> Result<&T, DecodeError> {
        if self.view.get().is_none() {
            let decoded = T::decode(&unmanaged(&self.json))?;
            let _ = self.view.set(Box::new(decoded));
        }
        self.view
            .get()
            .and_then(|v| v.downcast_ref::<T>())
            .ok_or_else(|| DecodeError::other(format!("not a {}", T::KIND)))
    }
}

/// An object's bytes with `metadata.managedFields` null.
fn unmanaged(json: &[u8]) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    // in a string its quotes were escaped, and what a label of this name has is no list
    const LIST: &str = "\"managedFields\":[";
    let cut = || {
        let metadata = serde_json::from_slice::<Outer>(json).ok()?.metadata.get();
        let begin = metadata.find(LIST)? + LIST.len() - 1;
        let mut list = serde_json::Deserializer::from_str(&metadata[begin..]).into_iter::<IgnoredAny>();
        list.next()?.ok()?;
        let start = metadata.as_ptr().addr() - json.as_ptr().addr() + begin;
        Some([&json[..start], b"null", &json[start + list.byte_offset()..]].concat())
    };
    cut().map_or(Cow::Borrowed(json), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn protobuf_is_made_once() {
        let object = Draft::encode(&json!({"metadata": {"name": "a"}})).unwrap().at(1);
        assert_eq!(object.protobuf(|| None), None);
        assert_eq!(object.protobuf(|| Some(vec![1, 2])).as_deref(), Some(&[1, 2][..]));
        assert_eq!(object.protobuf(|| unreachable!("it is kept")).as_deref(), Some(&[1, 2][..]));
        let kept = SHARED.load(Ordering::Relaxed);
        assert!(kept >= 2);
        let large = Draft::encode(&json!({})).unwrap().at(2);
        let calls = std::cell::Cell::new(0);
        for _ in 0..2 {
            large.protobuf(|| {
                calls.set(calls.get() + 1);
                Some(vec![0; SHARED_LIMIT])
            });
        }
        assert_eq!(calls.get(), 2, "more than there is room for");
    }

    #[test]
    fn much_that_is_dropped_is_told() {
        static TOLD: AtomicUsize = AtomicUsize::new(0);
        when_freed(|| {
            TOLD.fetch_add(1, Ordering::Relaxed);
        });
        let large = Draft::encode(&json!({"data": {"a": "x".repeat(FREED_STEP)}})).unwrap();
        drop(large.at(1));
        assert!(TOLD.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn a_view_is_heavier_and_without_managed_fields() {
        let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}}});
        let tree = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"managedFields": "[]", "\"managedFields\":[": "]"},
            "metadata": {"name": "x", "annotations": {"a": "\"managedFields\":[1"}, "labels": {"managedFields": "no"},
                "managedFields": [entry, entry], "uid": "u"}});
        let object = Draft::encode(&tree).unwrap().at(1);
        let light = object.weight();
        let view = object.view::<k8s_openapi::api::core::v1::ConfigMap>().unwrap();
        assert_eq!(view.metadata.managed_fields, None);
        assert_eq!(view.metadata.uid.as_deref(), Some("u"));
        assert_eq!(view.metadata.labels.as_ref().map(|l| l["managedFields"].as_str()), Some("no"));
        assert_eq!(view.data.as_ref().map(|d| d.len()), Some(2));
        assert!(object.weight() > light);
        // nothing to leave out
        for plain in [&b"{\"metadata\":{}}"[..], b"{}", b"[", b"{\"data\":{\"managedFields\":[]}}"] {
            assert_eq!(unmanaged(plain), plain);
        }
    }

    #[test]
    fn a_draft_gets_its_revision_spliced_in() {
        let tree = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
            "metadata": {"name": "x", "namespace": "n", "resourceVersion": "99"}});
        let draft = Draft::encode(&tree).unwrap();
        let object = draft.at(7);
        assert_eq!(object.tree()["metadata"]["resourceVersion"], "7");
        assert_eq!(object.name(), "x");
        assert!(draft.same_as(&object));
        let mut other = object.tree();
        other["data"]["a"] = json!("2");
        assert!(!Draft::encode(&other).unwrap().same_as(&object));
    }

    #[test]
    fn empty_metadata_encodes_to_json() {
        let object = Draft::encode(&json!({"kind": "X"})).unwrap().at(3);
        assert_eq!(object.tree(), json!({"kind": "X", "metadata": {"resourceVersion": "3"}}));
    }
}
