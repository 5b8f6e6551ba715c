//! From what the engine gives to an answer: as stored where that is asked for, else by way of a tree.

use std::sync::Arc;

use api::table::{self, IncludeObject, ListMeta};
use api::{Object, Status, Value, convert};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WARNING};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::Body;
use super::negotiate::{Accepted, Format, Shape};
use crate::engine::{Listing, Served, meta};

/// How answers are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub accepted: Accepted,
    pub include: IncludeObject,
    pub pretty: bool,
}

pub(crate) fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(crate) fn failure(status: &Status) -> Response<Body> {
    let mut answer = response(status.code, "application/json", Body::full(json_bytes(&status.to_value())));
    if status.retry_after_seconds > 0 {
        answer.headers_mut().insert(http::header::RETRY_AFTER, status.retry_after_seconds.into());
    }
    answer
}

/// `Warning: 299 - "text"`
pub(crate) fn warn(answer: &mut Response<Body>, warnings: &[String]) {
    for text in warnings {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

pub(crate) fn json_bytes(tree: &Value) -> Bytes {
    serde_json::to_vec(tree).expect("a tree encodes").into()
}

/// A tree of a built-in kind as protobuf.
fn protobuf(tree: &Value) -> Option<Vec<u8>> {
    let (group, version, kind) = api::decode::gvk(tree);
    api::protobuf::encode(group, version, kind, tree)
}

/// Any tree, in the format that is wanted; JSON where it has no protobuf form.
pub(crate) fn tree(wanted: &Wanted, code: u16, tree: &Value) -> Response<Body> {
    let encoded = if wanted.accepted.format == Format::Protobuf { protobuf(tree) } else { None };
    if let Some(bytes) = encoded {
        return response(code, Format::Protobuf.content_type(), Body::full(bytes));
    }
    let format = if wanted.accepted.format == Format::Yaml { Format::Yaml } else { Format::Json };
    let bytes = match format {
        Format::Json if wanted.pretty => serde_json::to_vec_pretty(tree).expect("a tree encodes").into(),
        Format::Json | Format::Protobuf => json_bytes(tree),
        Format::Yaml => api::yaml::to_string(tree).into_bytes().into(),
    };
    response(code, format.content_type(), Body::Full(bytes))
}

/// An object's tree in the served version.
pub(crate) fn served_tree(served: &Served, object: &Object) -> Value {
    let mut tree = object.tree();
    to_served(served, &mut tree);
    tree
}

pub(crate) fn to_served(served: &Served, tree: &mut Value) {
    if !served.as_stored {
        convert::from_storage(&served.kind, &served.group, &served.version, tree);
    }
}

/// A Table of trees in the storage version.
pub(crate) fn table_of(
    served: &Served,
    trees: impl IntoIterator<Item = Value>,
    metadata: ListMeta,
    include: IncludeObject,
    columns: bool,
) -> Value {
    table::table(&served.kind, trees, metadata, include, columns, meta::now(), |t| to_served(served, t))
}

pub(crate) fn list_meta(revision: u64) -> ListMeta {
    ListMeta::from_iter([("resourceVersion".to_owned(), json!(revision.to_string()))])
}

fn plain(wanted: &Wanted, served: &Served) -> bool {
    served.as_stored && wanted.accepted.format == Format::Json && !wanted.pretty
}

/// The object as it stands in a list in protobuf, where that is wanted of what is stored, and there is such a form.
fn stored_protobuf(wanted: &Wanted, served: &Served, object: &Object) -> Option<Bytes> {
    if !served.as_stored || wanted.accepted.format != Format::Protobuf {
        return None;
    }
    let encode = || api::protobuf::item(&served.group, &served.version, &served.kind.kind, &object.tree());
    object.protobuf(encode)
}

fn document(served: &Served, item: &[u8]) -> Vec<u8> {
    api::protobuf::of_item(&served.group, &served.version, &served.kind.kind, item)
}

/// The objects' own protobuf, joined on its way out.
fn protobuf_list(wanted: &Wanted, served: &Served, listing: &Listing, metadata: &ListMeta) -> Option<Body> {
    if !served.as_stored || wanted.accepted.format != Format::Protobuf {
        return None;
    }
    let mut parts = Vec::with_capacity(listing.items.len() + 2);
    parts.push(Bytes::new());
    for object in &listing.items {
        parts.push(stored_protobuf(wanted, served, object)?);
    }
    let items = parts.iter().map(Bytes::len).sum();
    let metadata = Value::Object(metadata.clone());
    let (group, version, kind) = (&served.group, &served.version, &served.kind.list_kind);
    let (head, tail) = api::protobuf::list(group, version, kind, &metadata, items)?;
    parts[0] = head.into();
    parts.push(tail.into());
    Some(Body::parts(parts))
}

pub(crate) fn object(wanted: &Wanted, served: &Served, code: u16, object: &Arc<Object>) -> Response<Body> {
    match wanted.accepted.shape {
        Shape::Table => {
            let metadata = list_meta(object.revision());
            tree(wanted, code, &table_of(served, [object.tree()], metadata, wanted.include, true))
        }
        Shape::PartialObjectMetadata => tree(wanted, code, &table::partial_metadata(&object.tree())),
        _ if plain(wanted, served) => response(code, "application/json", Body::Full(object.json().clone())),
        _ if let Some(item) = stored_protobuf(wanted, served, object) => {
            response(code, Format::Protobuf.content_type(), Body::full(document(served, &item)))
        }
        _ => tree(wanted, code, &served_tree(served, object)),
    }
}

pub(crate) fn list(wanted: &Wanted, served: &Served, listing: &Listing) -> Response<Body> {
    let mut metadata = list_meta(listing.revision);
    if !listing.next.is_empty() {
        metadata.insert("continue".into(), json!(listing.next));
    }
    if let Some(n) = listing.remaining {
        metadata.insert("remainingItemCount".into(), json!(n));
    }
    let items = listing.items.iter();
    match wanted.accepted.shape {
        Shape::Table => {
            let trees = items.map(|o| o.tree());
            tree(wanted, 200, &table_of(served, trees, metadata, wanted.include, true))
        }
        Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList => {
            tree(wanted, 200, &table::partial_metadata_list(items.map(|o| o.tree()), metadata))
        }
        _ if plain(wanted, served) => stored_list(served, listing, metadata),
        _ if let Some(body) = protobuf_list(wanted, served, listing, &metadata) => {
            response(200, Format::Protobuf.content_type(), body)
        }
        _ => {
            let items: Vec<Value> = items.map(|o| served_tree(served, o)).collect();
            let (kind, version) = (&served.kind.list_kind, served.api_version());
            tree(wanted, 200, &json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}))
        }
    }
}

/// The objects' own bytes, joined on their way out.
fn stored_list(served: &Served, listing: &Listing, metadata: ListMeta) -> Response<Body> {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(served.kind.list_kind),
        json!(served.api_version()),
        Value::Object(metadata)
    );
    let mut parts = Vec::with_capacity(listing.items.len() * 2 + 2);
    parts.push(Bytes::from(head));
    for (i, object) in listing.items.iter().enumerate() {
        if i > 0 {
            parts.push(Bytes::from_static(b","));
        }
        parts.push(object.json().clone());
    }
    parts.push(Bytes::from_static(b"]}\n"));
    response(200, "application/json", Body::parts(parts))
}

/// Encodes watch events: one JSON document a line, or protobuf behind its length.
pub(crate) struct Frames {
    pub served: Arc<Served>,
    pub wanted: Wanted,
    /// The next table brings its columns.
    columns: bool,
}

impl Frames {
    pub fn new(served: Arc<Served>, wanted: Wanted) -> Frames {
        Frames { served, wanted, columns: true }
    }

    pub fn content_type(&self) -> &'static str {
        match self.wanted.accepted.format {
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }

    pub fn event(&mut self, out: &mut BytesMut, event: &str, object: &Object) {
        let include = self.wanted.include;
        let tree = match self.wanted.accepted.shape {
            Shape::Table => {
                let columns = std::mem::replace(&mut self.columns, false);
                table_of(&self.served, [object.tree()], list_meta(object.revision()), include, columns)
            }
            Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList => table::partial_metadata(&object.tree()),
            _ if self.served.as_stored && self.wanted.accepted.format != Format::Protobuf => {
                open(out, event);
                out.put_slice(object.json());
                return out.put_slice(b"}\n");
            }
            _ if let Some(item) = stored_protobuf(&self.wanted, &self.served, object) => {
                return out.put_slice(&api::protobuf::watch_frame(event, &document(&self.served, &item)));
            }
            _ => served_tree(&self.served, object),
        };
        self.put(out, event, &tree);
    }

    pub fn bookmark(&mut self, out: &mut BytesMut, revision: u64, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let tree = match self.wanted.accepted.shape {
            Shape::Table => {
                let row =
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                let mut table = table_of(&self.served, [], list_meta(revision), self.wanted.include, false);
                table["rows"] = json!([{"cells": [], "object": row}]);
                table
            }
            Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => json!({"kind": self.served.kind.kind, "apiVersion": self.served.api_version(), "metadata": metadata}),
        };
        self.put(out, "BOOKMARK", &tree);
    }

    pub fn error(&self, out: &mut BytesMut, status: &Status) {
        self.put(out, "ERROR", &status.to_value());
    }

    fn put(&self, out: &mut BytesMut, event: &str, tree: &Value) {
        if self.wanted.accepted.format == Format::Protobuf {
            // `verbs::watch` lets only kinds through that have this form
            let object = protobuf(tree).unwrap_or_default();
            return out.put_slice(&api::protobuf::watch_frame(event, &object));
        }
        open(out, event);
        close(out, tree);
    }
}

fn open(out: &mut BytesMut, event: &str) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(event.as_bytes());
    out.put_slice(b"\",\"object\":");
}

fn close(out: &mut BytesMut, tree: &Value) {
    serde_json::to_writer(out.writer(), tree).expect("a tree encodes");
    out.put_slice(b"}\n");
}
