//! From a tree to wire bytes. What is absent, and what the table does not know, is not written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::table::{self, Field, Kind, Many, Message};
use super::{MAGIC, time};

/// The field of every list that its objects are in.
const ITEMS: u32 = 2;
/// Content encoding and type: Go writes them though they are empty.
const CLOSING: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// A document with its envelope; `None` where the kind has no protobuf form.
pub fn encode(group: &str, version: &str, kind: &str, tree: &Value) -> Option<Vec<u8>> {
    let message = table::find(group, version, kind)?;
    let mut raw = Vec::with_capacity(512);
    fields(message.get(), tree.as_object()?, &mut raw);
    Some(document(group, version, kind, &raw))
}

/// An object as it stands in a list of its kind: its message behind tag and length. All lists have their items in field 2.
pub fn item(group: &str, version: &str, kind: &str, tree: &Value) -> Option<Vec<u8>> {
    let message = table::find(group, version, kind)?;
    let mut out = Vec::with_capacity(512);
    nested(&mut out, ITEMS, |out| fields(message.get(), tree.as_object().unwrap_or(&Map::new()), out));
    Some(out)
}

/// The document of an object that [`item`] encoded.
pub fn of_item(group: &str, version: &str, kind: &str, item: &[u8]) -> Vec<u8> {
    // behind the tag and the length's last byte, the first without the high bit
    let length = item.iter().skip(1).position(|b| b & 0x80 == 0).map_or(item.len(), |n| n + 2);
    document(group, version, kind, &item[length..])
}

/// What comes before and after the `items` bytes of a list of what [`item`] encoded; `None` where `kind` is no such list.
pub fn list(group: &str, version: &str, kind: &str, metadata: &Value, items: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let message = table::find(group, version, kind)?;
    let mut raw = Vec::with_capacity(64);
    fields(message.get(), &Map::from_iter([("metadata".to_owned(), metadata.clone())]), &mut raw);
    let mut head = opening(group, version, kind, raw.len());
    tag(&mut head, 2, 2);
    varint(&mut head, (raw.len() + items) as u64);
    head.extend_from_slice(&raw);
    Some((head, CLOSING.to_vec()))
}

fn document(group: &str, version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = opening(group, version, kind, raw.len());
    bytes(&mut out, 2, raw);
    out.extend_from_slice(CLOSING);
    out
}

/// Magic and type, and room for `more`.
fn opening(group: &str, version: &str, kind: &str, more: usize) -> Vec<u8> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut out = Vec::with_capacity(more + api_version.len() + kind.len() + 24);
    out.extend_from_slice(MAGIC);
    nested(&mut out, 1, |out| {
        bytes(out, 1, api_version.as_bytes());
        bytes(out, 2, kind.as_bytes());
    });
    out
}

/// A frame of a watch: the length in four bytes, then a `WatchEvent` around the object, which [`encode`] made.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(object.len() + 32);
    bytes(&mut body, 1, event.as_bytes());
    nested(&mut body, 2, |out| bytes(out, 1, object));
    let mut out = Vec::with_capacity(body.len() + 4);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u64) {
    varint(out, u64::from(number) << 3 | wire);
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    tag(out, number, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, field: u32, n: i64) {
    tag(out, field, 0);
    varint(out, n as u64);
}

/// A message: its length is known only when it is written, so that it is moved into place afterwards.
fn nested(out: &mut Vec<u8>, number: u32, f: impl FnOnce(&mut Vec<u8>)) {
    tag(out, number, 2);
    let start = out.len();
    f(out);
    let end = out.len();
    varint(out, (end - start) as u64);
    let length = out.len() - end;
    out[start..].rotate_right(length);
}

fn fields(message: &Message, tree: &Map<String, Value>, out: &mut Vec<u8>) {
    for field in &message.fields {
        if let (true, Kind::Message(inner)) = (field.inline, field.kind) {
            nested(out, field.number, |out| fields(inner.get(), tree, out));
            continue;
        }
        match (field.many, tree.get(field.name)) {
            (_, None | Some(Value::Null)) => {}
            (Many::One, Some(value)) => one(field.number, field.kind, value, out),
            (Many::List, Some(Value::Array(list))) => list.iter().for_each(|v| element(field, v, out)),
            (Many::Map, Some(Value::Object(map))) => {
                for (key, value) in map {
                    nested(out, field.number, |out| {
                        bytes(out, 1, key.as_bytes());
                        one(2, field.kind, value, out);
                    });
                }
            }
            _ => {}
        }
    }
}

/// An element that is null is a zero value in its place.
fn element(field: &Field, value: &Value, out: &mut Vec<u8>) {
    match (field.kind, value) {
        (Kind::Int32 | Kind::Int64 | Kind::Bool, Value::Null) => number(out, field.number, 0),
        (_, Value::Null) => bytes(out, field.number, b""),
        (kind, value) => one(field.number, kind, value, out),
    }
}

fn one(field: u32, kind: Kind, value: &Value, out: &mut Vec<u8>) {
    let text = || value.as_str().unwrap_or_default();
    match kind {
        Kind::String => bytes(out, field, text().as_bytes()),
        Kind::Int32 | Kind::Int64 => {
            // Go's decoders take 1.0 for a 1 too
            let n = value.as_i64().or_else(|| value.as_f64().map(|f| f as i64));
            number(out, field, n.unwrap_or_default());
        }
        Kind::Bool => number(out, field, value.as_bool().unwrap_or_default().into()),
        Kind::Double => {
            tag(out, field, 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Kind::Bytes => bytes(out, field, &STANDARD.decode(text()).unwrap_or_default()),
        Kind::Time | Kind::MicroTime => nested(out, field, |out| {
            if let Some((seconds, nanos)) = time::parse(text()) {
                number(out, 1, seconds);
                number(out, 2, if kind == Kind::Time { 0 } else { nanos.into() });
            }
        }),
        Kind::Quantity => nested(out, field, |out| match value {
            Value::String(text) => bytes(out, 1, text.as_bytes()),
            other => bytes(out, 1, other.to_string().as_bytes()),
        }),
        Kind::IntOrString => nested(out, field, |out| {
            number(out, 1, value.is_string().into());
            number(out, 2, value.as_i64().unwrap_or_default());
            bytes(out, 3, text().as_bytes());
        }),
        Kind::Embedded => nested(out, field, |out| bytes(out, 1, value.to_string().as_bytes())),
        Kind::Strings => nested(out, field, |out| {
            for item in value.as_array().into_iter().flatten() {
                bytes(out, 1, item.as_str().unwrap_or_default().as_bytes());
            }
        }),
        Kind::Message(message) => nested(out, field, |out| {
            if let Value::Object(tree) = value {
                fields(message.get(), tree, out);
            }
        }),
        Kind::OrArray(props) | Kind::OrStrings(props) => nested(out, field, |out| match value {
            Value::Array(list) => {
                for item in list {
                    match kind {
                        Kind::OrArray(_) => one(2, Kind::Message(props), item, out),
                        _ => one(2, Kind::String, item, out),
                    }
                }
            }
            schema => one(1, Kind::Message(props), schema, out),
        }),
        Kind::OrBool(props) => nested(out, field, |out| match value {
            Value::Bool(allows) => number(out, 1, (*allows).into()),
            schema => {
                number(out, 1, 1);
                one(2, Kind::Message(props), schema, out);
            }
        }),
    }
}
