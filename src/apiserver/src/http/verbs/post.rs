//! POST of a tree to a special route: reviews, bindings, evictions, tokens.

use std::sync::Arc;

use api::{Reason, Status, convert, decode, schema};
use http::Response;

use crate::engine::{Served, api_version};
use crate::http::front::{Admitted, Front};
use crate::http::negotiate::Shape;
use crate::http::{Body, input, negotiate, output};
use crate::special::Post;

/// The kind that a special route takes.
pub(super) struct Expected {
    pub kind: &'static str,
    pub group: &'static str,
    pub version: &'static str,
}

impl Expected {
    pub fn of(group: &str, resource: &str, subresource: &str) -> Option<Expected> {
        let path = format!("{resource}/{subresource}");
        let found = api::kinds::SUBRESOURCES.iter().find(|s| s.group == group && s.resource == path)?;
        let (group, version) = found.home.unwrap_or((found.group, "v1"));
        Some(Expected { kind: found.kind, group, version })
    }
}

/// POST of a tree to a special route.
pub(super) async fn post(
    front: &Arc<Front>,
    a: Admitted,
    handler: &Arc<dyn Post>,
    served: &Arc<Served>,
    expected: Expected,
) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("CreateOptions")?);
    if wanted.accepted.shape != Shape::Object {
        let text = "only the following media types are accepted: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        return Err(Status::new(Reason::NotAcceptable, text));
    }
    let validation = a.query.field_validation("CreateOptions")?;
    let Admitted { attributes, request, .. } = a;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request).await?;
    let decoded = input::document(&bytes, format, expected.kind, validation)?;
    let mut tree = decoded.tree;
    let mut warnings = Vec::new();
    // what drains nodes may be of another time
    if expected.kind == "Eviction" && tree["apiVersion"] == "policy/v1beta1" {
        tree["apiVersion"] = "policy/v1".into();
        warnings.extend(convert::warning("policy", "v1beta1", "Eviction"));
    }
    input::claim(&mut tree, expected.kind, &api_version(expected.group, expected.version), expected.version)?;
    if let Some(schema) = schema::find_kind(expected.group, expected.version, expected.kind) {
        let names = (expected.kind, expected.version);
        warnings.extend(decode::object(&mut tree, schema, names, decoded.duplicates, validation)?);
    }
    let (answer, more) = front.engine.post(&attributes, served, handler, tree, dry_run).await?;
    warnings.extend(more);
    let mut answer = output::tree(&wanted, 201, &answer);
    output::warn(&mut answer, &warnings);
    Ok(answer)
}
