//! From the bytes of an answer to objects, lists and statuses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use api::{Draft, Object, Reason, Status, Value};
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::{scan, unreachable};
use crate::{List, Target};

/// A body may take its time, but not stand still.
const STALL: Duration = Duration::from_secs(30);

/// The whole body.
pub async fn body(response: Response<Incoming>) -> Result<Bytes, Status> {
    let mut body = response.into_body();
    let mut whole = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    loop {
        let frame = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(unreachable)?,
            Ok(None) => break,
            Err(_) => return Err(unreachable("its answer stopped halfway")),
        };
        let Ok(data) = frame.into_data() else { continue };
        match &mut rest {
            Some(buffer) => buffer.extend_from_slice(&data),
            // most answers are one frame: no copy
            None if whole.is_empty() => whole = data,
            None => {
                let mut buffer = BytesMut::from(&*whole);
                buffer.extend_from_slice(&data);
                rest = Some(buffer);
            }
        }
    }
    Ok(rest.map_or(whole, BytesMut::freeze))
}

fn garbled(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("the API server's answer cannot be read: {error}"))
}

/// Not a success: the `Status` in the body, or what the code says.
pub async fn failure(response: Response<Incoming>) -> Status {
    let code = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    let body = match body(response).await {
        Ok(body) => body,
        Err(status) => return status,
    };
    let mut status = match serde_json::from_slice::<Value>(&body) {
        Ok(tree) if tree["kind"] == "Status" => Status::from_value(&tree),
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            let mut status = Status::new(reason(code), format!("the server answered {code}: {}", text.trim()));
            status.code = code.as_u16();
            status
        }
    };
    if let (0, Some(seconds)) = (status.retry_after_seconds, retry_after) {
        status.retry_after_seconds = seconds;
    }
    status
}

/// Upstream's `NewGenericServerResponse`.
fn reason(code: StatusCode) -> Reason {
    match code.as_u16() {
        400 => Reason::BadRequest,
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        406 => Reason::NotAcceptable,
        409 => Reason::Conflict,
        410 => Reason::Gone,
        413 => Reason::RequestEntityTooLarge,
        415 => Reason::UnsupportedMediaType,
        422 => Reason::Invalid,
        429 => Reason::TooManyRequests,
        503 => Reason::ServiceUnavailable,
        504 => Reason::Timeout,
        500 => Reason::InternalError,
        _ => Reason::Unknown,
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow, rename = "continue")]
    next: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

fn head(json: &[u8]) -> Result<Head<'_>, Status> {
    serde_json::from_slice(json).map_err(garbled)
}

/// `metadata.resourceVersion`; 0 where there is none.
pub fn revision(json: &[u8]) -> Result<u64, Status> {
    Ok(head(json)?.metadata.resource_version.parse().unwrap_or(0))
}

/// One object. In a list upstream leaves kind and version out of the items: then they are `of`. The bytes are copied, so that
/// no object holds a whole list.
pub fn object(json: &[u8], of: Option<(&str, &str)>) -> Result<Arc<Object>, Status> {
    let head = head(json)?;
    let bytes = match (&head.kind, of) {
        (None, Some((kind, version))) => {
            let begin = format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind), json!(version));
            [begin.as_bytes(), json.get(1..).unwrap_or_default()].concat().into()
        }
        _ => Bytes::copy_from_slice(json),
    };
    let revision = head.metadata.resource_version.parse().unwrap_or(0);
    Ok(Arc::new(Object::from_json(bytes, revision).map_err(garbled)?))
}

pub fn list(json: &[u8]) -> Result<List, Status> {
    let (mut kind, mut version, mut metadata, mut items) = (String::new(), String::new(), None, &b"[]"[..]);
    let text = |raw: &[u8]| serde_json::from_slice::<String>(raw).map_err(garbled);
    for (key, value) in scan::members(json) {
        match key {
            b"kind" => kind = text(value)?,
            b"apiVersion" => version = text(value)?,
            b"metadata" => metadata = Some(serde_json::from_slice::<Metadata>(value).map_err(garbled)?),
            b"items" => items = value,
            _ => {}
        }
    }
    let metadata = metadata.ok_or_else(|| garbled("not a list"))?;
    let of = kind.strip_suffix("List").map(|kind| (kind, version.as_str()));
    let items = scan::elements(items).map(|item| object(item, of)).collect::<Result<_, _>>()?;
    let next = Some(metadata.next.into_owned()).filter(|n| !n.is_empty());
    Ok(List { items, revision: metadata.resource_version.parse().unwrap_or(0), next })
}

/// What a delete answers: the object, or for most kinds a `Status` that names it.
pub fn deleted(json: &[u8], target: &Target) -> Result<Arc<Object>, Status> {
    if head(json)?.kind.as_deref() != Some("Status") {
        return object(json, None);
    }
    let tree: Value = serde_json::from_slice(json).map_err(garbled)?;
    let mut metadata = json!({"name": target.name});
    if !target.namespace.is_empty() {
        metadata["namespace"] = json!(target.namespace);
    }
    if let Some(uid) = tree["details"]["uid"].as_str() {
        metadata["uid"] = json!(uid);
    }
    Ok(Arc::new(Draft::encode(&json!({"metadata": metadata}))?.at(0)))
}
