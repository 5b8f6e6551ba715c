//! POST, PUT and PATCH of stored kinds.

use std::sync::Arc;

use api::decode::{self, FieldValidation};
use api::{Status, Value, field};
use http::Response;

use crate::engine::{Call, Part, PatchBody, Served};
use crate::http::front::{Admitted, Front};
use crate::http::negotiate::{self, Format};
use crate::http::output::{self, Wanted};
use crate::http::query::Query;
use crate::http::{Body, input};

/// The body as a tree in the storage version, with its warnings.
async fn take(
    a: Admitted,
    served: &Served,
    validation: FieldValidation,
) -> Result<(crate::Attributes, Value, Vec<String>), Status> {
    let Admitted { attributes, request, .. } = a;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request).await?;
    let decoded = input::document(&bytes, format, &served.kind.kind, validation)?;
    let mut warnings = Vec::new();
    let tree = input::object(served, decoded, validation, &mut warnings)?;
    Ok((attributes, tree, warnings))
}

pub(super) fn written(
    wanted: &Wanted,
    served: &Served,
    code: u16,
    object: &Arc<api::Object>,
    warnings: &[String],
) -> Response<Body> {
    let mut answer = output::object(wanted, served, code, object);
    output::warn(&mut answer, warnings);
    answer
}

pub(super) async fn create(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("CreateOptions")?);
    let validation = a.query.field_validation("CreateOptions")?;
    let manager = a.manager("CreateOptions")?;
    let (mut attributes, tree, warnings) = take(a, served, validation).await?;
    if let Some(name) = tree["metadata"]["name"].as_str() {
        attributes.name = name.to_owned();
    }
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let object = front.engine.create(&mut call, tree).await?;
    Ok(written(&wanted, served, 201, &object, &call.warnings))
}

pub(super) async fn update(
    front: &Front,
    a: Admitted,
    served: &Arc<Served>,
    part: Part,
) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("UpdateOptions")?);
    let validation = a.query.field_validation("UpdateOptions")?;
    let (name, manager) = (a.info.name.clone(), a.manager("UpdateOptions")?);
    let (attributes, tree, warnings) = take(a, served, validation).await?;
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let done = front.engine.update(&mut call, part, &name, tree).await?;
    let code = if done.created { 201 } else { 200 };
    Ok(written(&wanted, served, code, &done.object, &call.warnings))
}

/// The patch, and the duplicate fields of a merge patch.
pub(super) async fn take_patch(
    a: Admitted,
    validation: FieldValidation,
) -> Result<(crate::Attributes, PatchBody, Vec<String>), Status> {
    let Admitted { attributes, request, .. } = a;
    let media = negotiate::media_type(request.headers()).to_owned();
    let make = match media.as_str() {
        "application/json-patch+json" => PatchBody::Json,
        "application/merge-patch+json" => PatchBody::Merge,
        "application/strategic-merge-patch+json" => PatchBody::Strategic,
        _ => {
            return Err(negotiate::unsupported(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                APPLY,
            ]));
        }
    };
    let bytes = input::read(request).await?;
    let decoded = decode::json(&bytes, validation != FieldValidation::Ignore)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    Ok((attributes, make(decoded.tree), decoded.duplicates))
}

/// The media type of a server-side apply.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Who applies: they must say.
pub(super) fn applier(query: &Query) -> Result<String, Status> {
    match query.field_manager("PatchOptions")? {
        "" => {
            let path = field::Path::root("fieldManager");
            let error = field::Error::required(&path, "is required for apply patch");
            Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]))
        }
        manager => Ok(manager.to_owned()),
    }
}

/// Other patches know no force.
pub(super) fn unforced(query: &Query) -> Result<(), Status> {
    if !query.has("force") {
        return Ok(());
    }
    let error = field::Error::forbidden(&field::Path::root("force"), "may not be specified for non-apply patch");
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]))
}

async fn apply(
    front: &Front,
    a: Admitted,
    served: &Arc<Served>,
    part: Part,
    (wanted, dry_run, validation): (Wanted, bool, FieldValidation),
) -> Result<Response<Body>, Status> {
    let manager = applier(&a.query)?;
    let (name, force) = (a.info.name.clone(), a.query.flag("force"));
    let Admitted { mut attributes, request, .. } = a;
    let bytes = input::read(request).await?;
    let mut decoded = input::document(&bytes, Format::Yaml, &served.kind.kind, validation)?;
    let warnings = match (validation, std::mem::take(&mut decoded.duplicates)) {
        (FieldValidation::Strict, twice) if !twice.is_empty() => {
            return Err(Status::bad_request(format!("error strict decoding YAML: {}", twice.join(", "))));
        }
        (FieldValidation::Ignore, _) => Vec::new(),
        (_, twice) => twice,
    };
    let mut unknown = Vec::new();
    let config = input::object(served, decoded, FieldValidation::Warn, &mut unknown)?;
    if let (false, Some(schema)) = (unknown.is_empty(), served.schema()) {
        return Err(api::apply::undeclared(schema, &config, &unknown));
    }
    attributes.name.clone_from(&name);
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let done = front.engine.apply(&mut call, part, &name, config, force).await?;
    let code = if done.created { 201 } else { 200 };
    Ok(written(&wanted, served, code, &done.object, &call.warnings))
}

pub(super) async fn patch(
    front: &Front,
    a: Admitted,
    served: &Arc<Served>,
    part: Part,
) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("PatchOptions")?);
    let validation = a.query.field_validation("PatchOptions")?;
    if negotiate::media_type(a.request.headers()) == APPLY {
        return apply(front, a, served, part, (wanted, dry_run, validation)).await;
    }
    unforced(&a.query)?;
    let (name, manager) = (a.info.name.clone(), a.manager("PatchOptions")?);
    let (attributes, body, duplicates) = take_patch(a, validation).await?;
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(Vec::new());
    let object = front.engine.patch(&mut call, part, &name, &body, duplicates, validation).await?;
    Ok(written(&wanted, served, 200, &object, &call.warnings))
}
