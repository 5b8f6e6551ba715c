//! From a request's body to a tree in the storage version.

use api::decode::{self, Decoded, FieldValidation};
use api::schema::Schema;
use api::{Reason, Status, Value, convert};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::negotiate::{self, Format};
use crate::audit::Capture;
use crate::engine::Served;

/// `MaxRequestBodyBytes`
const LIMIT: usize = 3 * 1024 * 1024;

/// The whole body, if it is within the limit; a copy for the request's audit record, where there is one.
pub(crate) async fn read(request: Request<Incoming>) -> Result<Bytes, Status> {
    let (head, body) = request.into_parts();
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            if let Some(capture) = head.extensions.get::<Capture>() {
                let format = match negotiate::media_type(&head.headers) {
                    "application/yaml" | "application/apply-patch+yaml" => Format::Yaml,
                    api::protobuf::MEDIA_TYPE => Format::Protobuf,
                    _ => Format::Json,
                };
                capture.keep(format, &bytes);
            }
            Ok(bytes)
        }
        Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
        Err(e) => Err(Status::bad_request(format!("the body could not be read: {e}"))),
    }
}

fn too_large() -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {LIMIT}"))
}

/// A tree from its text; duplicate fields are looked for unless they are ignored. `kind` is what is expected.
pub(crate) fn document(
    bytes: &[u8],
    format: Format,
    kind: &str,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let decoded = match format {
        Format::Json => decode::json(bytes, validation != FieldValidation::Ignore).map_err(|e| {
            let why = if e.starts_with("EOF while parsing") { "unexpected end of JSON input" } else { &e };
            format!("couldn't get version/kind; json parse error: {why}")
        }),
        Format::Yaml => decode::yaml(bytes),
        Format::Protobuf => match api::protobuf::decode(bytes) {
            Ok(tree) => Ok(Decoded { tree, duplicates: Vec::new() }),
            Err(api::protobuf::Error::Unknown { .. }) => {
                return Err(negotiate::unsupported(&["application/json", "application/yaml"]));
            }
            Err(e) => Err(e.to_string()),
        },
    };
    decoded.map_err(|e| decode::unrecognized(kind, &e, bytes))
}

/// Checks that a tree is of the kind and version it is sent to; a tree that does not say is.
pub(crate) fn claim(tree: &mut Value, kind: &str, api_version: &str, version: &str) -> Result<(), Status> {
    let Some(root) = tree.as_object_mut() else { return Ok(()) };
    let text = |key: &str| root.get(key).and_then(Value::as_str).unwrap_or_default();
    let (its_version, its_kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
    if !its_kind.is_empty() && its_kind != kind {
        let short = |v: &str| v.rsplit('/').next().unwrap_or_default().to_owned();
        let why = format!(
            "{its_kind} in version {:?} cannot be handled as a {}: converting ({}.{its_kind}) to ({version}.{}): unknown \
             conversion",
            short(&its_version),
            kind,
            short(&its_version),
            kind
        );
        return Err(Status::bad_request(why));
    }
    if !its_version.is_empty() && its_version != api_version {
        let why = format!(
            "the API version in the data ({its_version}) does not match the expected API version ({api_version})"
        );
        return Err(Status::bad_request(why));
    }
    root.insert("apiVersion".into(), api_version.into());
    root.insert("kind".into(), kind.into());
    Ok(())
}

/// Brings a tree in the served version to the storage version, checked against the schemas.
pub(crate) fn object(
    served: &Served,
    decoded: Decoded,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let Decoded { mut tree, duplicates } = decoded;
    let kind = &served.kind;
    claim(&mut tree, &kind.kind, &served.api_version(), &served.version)?;
    let mut check = |tree: &mut Value, schema: Option<Schema<'_>>, version: &str, duplicates| match schema {
        Some(schema) => {
            warnings.extend(decode::object(tree, schema, (&kind.kind, version), duplicates, validation)?);
            Ok(())
        }
        None => Ok::<(), Status>(()),
    };
    if served.as_stored {
        check(&mut tree, served.schema(), &served.version, duplicates)?;
        return Ok(tree);
    }
    if served.own_schema.is_some() {
        check(&mut tree, served.own_schema.map(Schema::Type), &served.version, Vec::new())?;
    }
    convert::to_storage(kind, &served.group, &served.version, &mut tree);
    check(&mut tree, served.schema(), &served.version, duplicates)?;
    Ok(tree)
}
