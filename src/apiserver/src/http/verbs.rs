//! The verbs over HTTP: decode, call the engine, encode.

use std::sync::Arc;

use api::decode::{self, FieldValidation};
use api::{Kind, Reason, Status, Value, schema};
use http::{Method, Response};
use serde_json::json;

use super::front::{Admitted, Front};
use super::negotiate::{self, Format, Shape};
use super::output::{self, Frames, Wanted};
use super::{Body, input, route, watch as stream};
use crate::Verb;
use crate::engine::{
    Call, DeleteOptions, Deleted, ListFailure, Part, PatchBody, Propagation, SCALE, Served, UidPrecondition,
    WatchRequest, api_version, scale_of,
};
use crate::special::{Connect, ConnectRequest, Post};

/// Kinds whose delete answers the object itself: `ReturnDeletedObject`.
const RETURNED: [&str; 12] = [
    "pods",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
    "podtemplates",
    "resourcequotas",
    "storage.k8s.io/storageclasses",
    "storage.k8s.io/csidrivers",
    "storage.k8s.io/csinodes",
    "storage.k8s.io/volumeattachments",
    "storage.k8s.io/csistoragecapacities",
];

fn served(front: &Front, a: &Admitted) -> Result<Arc<Served>, Status> {
    let i = &a.info;
    let served = front.engine.served(&i.group, &i.version, &i.resource).ok_or_else(route::not_found)?;
    let within = !i.namespace.is_empty();
    // one object needs its namespace, and a cluster-scoped resource has none (a namespace is in itself)
    let misplaced = match served.namespaced() {
        true => !within && (!i.name.is_empty() || a.attributes.verb == Verb::Create),
        false => within && i.resource != "namespaces",
    };
    if misplaced { Err(route::not_found()) } else { Ok(served) }
}

/// The handler of a subresource that wants the connection.
pub(crate) fn connection(front: &Front, a: &Admitted) -> Option<(Arc<Kind>, Arc<dyn Connect>)> {
    if a.info.subresource.is_empty() {
        return None;
    }
    let served = served(front, a).ok()?;
    let handler = front.engine.specials().find_connect(&served.kind.group, &a.info.resource, &a.info.subresource)?;
    Some((served.kind.clone(), handler.clone()))
}

pub(crate) async fn connect(
    front: &Arc<Front>,
    (kind, handler): (Arc<Kind>, Arc<dyn Connect>),
    a: Admitted,
) -> Result<Response<Body>, Status> {
    let Admitted { attributes, info, request, .. } = a;
    let engine = front.engine.clone();
    handler.connect(ConnectRequest { attributes, engine, kind, path: info.rest, request }).await
}

pub(crate) async fn watch(front: &Front, a: Admitted) -> Result<Response<Body>, Status> {
    let served = served(front, &a)?;
    let wanted = a.wanted()?;
    let unframed = match wanted.accepted.format {
        Format::Json => false,
        Format::Yaml => true,
        Format::Protobuf => !api::protobuf::covers(&served.group, &served.version, &served.kind.kind),
    };
    if unframed {
        let text = "only the following media types are accepted: application/json;stream=watch";
        return Err(Status::new(Reason::NotAcceptable, text));
    }
    let (labels, mut fields) = a.query.selectors(&served.kind)?;
    if !a.info.name.is_empty() {
        fields = api::fields::FieldSelector::parse(&format!("metadata.name={}", a.info.name))?;
    }
    let initial = a.query.initial()?;
    let options = stream::Options {
        bookmarks: a.query.flag("allowWatchBookmarks"),
        timeout_seconds: a.query.timeout_seconds()?,
        stop: front.stop.clone(),
    };
    let namespace = if served.namespaced() { a.info.namespace.as_str() } else { "" };
    let changes = front.engine.watch(&served, namespace, WatchRequest { labels, fields, initial }).await;
    let changes = match changes {
        Err(status) if !status.is_expired() => return Err(status),
        changes => changes,
    };
    let warning = served.warning.clone();
    let frames = Frames::new(served, wanted);
    let content_type = frames.content_type();
    let mut answer = output::response(200, content_type, stream::body(changes, frames, options));
    output::warn(&mut answer, warning.as_slice());
    Ok(answer)
}

/// Everything that ends by itself.
pub(crate) async fn serve(front: &Arc<Front>, a: Admitted) -> Result<Response<Body>, Status> {
    let i = &a.info;
    let specials = front.engine.specials();
    if let Some((kind, handler)) = specials.find_virtual(&i.group, &i.version, &i.resource) {
        if a.attributes.verb != Verb::Create || kind.namespaced == i.namespace.is_empty() || !i.name.is_empty() {
            return Err(route::method_not_allowed());
        }
        let (kind, handler) = (kind.clone(), handler.clone());
        let expected = Expected { kind: kind.kind, group: kind.group, version: kind.version };
        return post(front, a, &handler, None, expected).await;
    }
    if i.subresource.is_empty()
        && a.attributes.verb == Verb::Create
        && let Some(handler) = specials.find_post(&i.group, &i.resource, "").cloned()
    {
        let expected = Expected::of(&i.group, &i.resource, "").ok_or_else(route::not_found)?;
        return post(front, a, &handler, None, expected).await;
    }
    let served = served(front, &a)?;
    let warning = served.warning.clone();
    let answer = resource(front, a, served).await;
    answer.map(|mut answer| {
        output::warn(&mut answer, warning.as_slice());
        answer
    })
}

/// The kind that a special route takes.
struct Expected {
    kind: &'static str,
    group: &'static str,
    version: &'static str,
}

impl Expected {
    fn of(group: &str, resource: &str, subresource: &str) -> Option<Expected> {
        let path = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let found = api::kinds::SUBRESOURCES.iter().find(|s| s.group == group && s.resource == path)?;
        let (group, version) = found.home.unwrap_or((found.group, "v1"));
        Some(Expected { kind: found.kind, group, version })
    }
}

/// POST of a tree to a special route.
async fn post(
    front: &Arc<Front>,
    a: Admitted,
    handler: &Arc<dyn Post>,
    served: Option<&Arc<Served>>,
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
    let bytes = input::read(request.into_body()).await?;
    let decoded = input::document(&bytes, format, expected.kind, validation)?;
    let mut tree = decoded.tree;
    let mut warnings = Vec::new();
    input::claim(&mut tree, expected.kind, &api_version(expected.group, expected.version), expected.version)?;
    if let Some(schema) = schema::find_kind(expected.group, expected.version, expected.kind) {
        let names = (expected.kind, expected.version);
        warnings = decode::object(&mut tree, schema, names, decoded.duplicates, validation)?;
    }
    let (answer, more) = front.engine.post(&attributes, served, handler, tree, dry_run).await?;
    warnings.extend(more);
    let mut answer = output::tree(&wanted, 201, &answer);
    output::warn(&mut answer, &warnings);
    Ok(answer)
}

async fn resource(front: &Arc<Front>, a: Admitted, served: Arc<Served>) -> Result<Response<Body>, Status> {
    let (kind, sub, method) = (&served.kind, a.info.subresource.as_str(), a.request.method());
    if sub == "scale" && kind.subresources.scale {
        return match *method {
            Method::GET | Method::HEAD => get_scale(front, a, &served),
            Method::PUT | Method::PATCH => write_scale(front, a, &served).await,
            _ => Err(route::method_not_allowed()),
        };
    }
    if !sub.is_empty()
        && *method == Method::POST
        && let Some(handler) = front.engine.specials().find_post(&kind.group, &kind.plural, sub).cloned()
    {
        let expected = Expected::of(&kind.group, &kind.plural, sub).ok_or_else(route::not_found)?;
        return post(front, a, &handler, Some(&served), expected).await;
    }
    let part = Part::of(kind, sub).ok_or_else(route::not_found)?;
    match a.attributes.verb {
        Verb::Get => {
            let wanted = a.wanted()?;
            let object = front.engine.read(&Call::new(&a.attributes, &served, false), &a.info.name)?;
            Ok(output::object(&wanted, &served, 200, &object))
        }
        Verb::Update => update(front, a, &served, part).await,
        Verb::Patch => patch(front, a, &served, part).await,
        _ if part != Part::Main => Err(route::method_not_allowed()),
        Verb::List => list(front, a, &served).await,
        Verb::Create if a.info.name.is_empty() => create(front, a, &served).await,
        Verb::Delete => delete(front, a, &served).await,
        Verb::DeleteCollection if kind.verbs.iter().any(|v| v == "deletecollection") => {
            delete_collection(front, a, &served).await
        }
        _ => Err(route::method_not_allowed()),
    }
}

async fn list(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let wanted = a.wanted()?;
    let request = a.query.list(&served.kind)?;
    let namespace = if served.namespaced() { a.info.namespace.as_str() } else { "" };
    match front.engine.list(served, namespace, &request).await {
        Ok(listing) => Ok(output::list(&wanted, served, &listing)),
        Err(ListFailure::Status(status)) => Err(status),
        Err(ListFailure::Expired { status, next }) => {
            let mut tree = status.to_value();
            tree["metadata"]["continue"] = json!(next);
            Ok(output::tree(&wanted, status.code, &tree))
        }
    }
}

/// The body as a tree in the storage version, with its warnings.
async fn take(
    a: Admitted,
    served: &Served,
    validation: FieldValidation,
) -> Result<(crate::Attributes, Value, Vec<String>), Status> {
    let Admitted { attributes, request, .. } = a;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request.into_body()).await?;
    let decoded = input::document(&bytes, format, &served.kind.kind, validation)?;
    let mut warnings = Vec::new();
    let tree = input::object(served, decoded, validation, &mut warnings)?;
    Ok((attributes, tree, warnings))
}

fn written(
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

async fn create(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("CreateOptions")?);
    let validation = a.query.field_validation("CreateOptions")?;
    let manager = a.manager();
    let (mut attributes, tree, warnings) = take(a, served, validation).await?;
    if let Some(name) = tree["metadata"]["name"].as_str() {
        attributes.name = name.to_owned();
    }
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let object = front.engine.create(&mut call, tree).await?;
    Ok(written(&wanted, served, 201, &object, &call.warnings))
}

async fn update(front: &Front, a: Admitted, served: &Arc<Served>, part: Part) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("UpdateOptions")?);
    let validation = a.query.field_validation("UpdateOptions")?;
    let (name, manager) = (a.info.name.clone(), a.manager());
    let (attributes, tree, warnings) = take(a, served, validation).await?;
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let done = front.engine.update(&mut call, part, &name, tree).await?;
    let code = if done.created { 201 } else { 200 };
    Ok(written(&wanted, served, code, &done.object, &call.warnings))
}

/// The patch, and the duplicate fields of a merge patch.
async fn take_patch(
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
    let bytes = input::read(request.into_body()).await?;
    let decoded = decode::json(&bytes, validation != FieldValidation::Ignore)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    Ok((attributes, make(decoded.tree), decoded.duplicates))
}

const APPLY: &str = "application/apply-patch+yaml";

async fn apply(
    front: &Front,
    a: Admitted,
    served: &Arc<Served>,
    part: Part,
    (wanted, dry_run, validation): (Wanted, bool, FieldValidation),
) -> Result<Response<Body>, Status> {
    let manager = a.query.get("fieldManager").to_owned();
    if manager.is_empty() {
        let error = api::field::Error::required(&api::field::Path::root("fieldManager"), "is required for apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let (name, force) = (a.info.name.clone(), a.query.flag("force"));
    let Admitted { mut attributes, request, .. } = a;
    let bytes = input::read(request.into_body()).await?;
    let decoded = input::document(&bytes, Format::Yaml, &served.kind.kind, validation)?;
    let mut warnings = Vec::new();
    let config = input::object(served, decoded, validation, &mut warnings)?;
    attributes.name.clone_from(&name);
    let mut call = Call::new(&attributes, served, dry_run).by(manager).warned(warnings);
    let done = front.engine.apply(&mut call, part, &name, config, force).await?;
    let code = if done.created { 201 } else { 200 };
    Ok(written(&wanted, served, code, &done.object, &call.warnings))
}

async fn patch(front: &Front, a: Admitted, served: &Arc<Served>, part: Part) -> Result<Response<Body>, Status> {
    let (wanted, dry_run) = (a.wanted()?, a.query.dry_run("PatchOptions")?);
    let validation = a.query.field_validation("PatchOptions")?;
    if negotiate::media_type(a.request.headers()) == APPLY {
        return apply(front, a, served, part, (wanted, dry_run, validation)).await;
    }
    if a.query.flag("force") {
        let error =
            api::field::Error::forbidden(&api::field::Path::root("force"), "may not be specified for non-apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let (name, manager) = (a.info.name.clone(), a.manager());
    let (attributes, body, duplicates) = take_patch(a, validation).await?;
    let mut call = Call::new(&attributes, served, dry_run).by(manager);
    let object = front.engine.patch(&mut call, part, &name, &body, duplicates, validation).await?;
    Ok(written(&wanted, served, 200, &object, &call.warnings))
}

fn scale_answer(
    wanted: &Wanted,
    served: &Served,
    call: &Call<'_>,
    object: &api::Object,
) -> Result<Response<Body>, Status> {
    let mut scale = scale_of(call, object)?;
    if !served.as_stored {
        api::convert::scale_from_v1(&served.group, &served.version, &mut scale);
    }
    let mut answer = output::tree(wanted, 200, &scale);
    output::warn(&mut answer, &call.warnings);
    Ok(answer)
}

fn get_scale(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let wanted = a.wanted()?;
    let call = Call::new(&a.attributes, served, false);
    let object = front.engine.read(&call, &a.info.name)?;
    scale_answer(&wanted, served, &call, &object)
}

async fn write_scale(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, name) = (a.wanted()?, a.info.name.clone());
    let options = if a.attributes.verb == Verb::Patch { "PatchOptions" } else { "UpdateOptions" };
    let (dry_run, validation) = (a.query.dry_run(options)?, a.query.field_validation(options)?);
    if a.attributes.verb == Verb::Patch {
        let (attributes, body, _) = take_patch(a, validation).await?;
        let mut call = Call::new(&attributes, served, dry_run);
        let object = front.engine.patch_scale(&mut call, &name, &body).await?;
        return scale_answer(&wanted, served, &call, &object);
    }
    let Admitted { attributes, request, .. } = a;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request.into_body()).await?;
    let decoded = input::document(&bytes, format, "Scale", validation)?;
    let mut tree = decoded.tree;
    if !served.as_stored {
        api::convert::scale_to_v1(&mut tree);
    }
    input::claim(&mut tree, "Scale", "autoscaling/v1", "v1")?;
    let mut call = Call::new(&attributes, served, dry_run);
    if let Some(schema) = schema::find(SCALE) {
        call.warnings = decode::object(&mut tree, schema, ("Scale", "v1"), decoded.duplicates, validation)?;
    }
    let object = front.engine.rescale(&mut call, &name, |_| Ok(tree.clone())).await?;
    scale_answer(&wanted, served, &call, &object)
}

/// `metav1.DeleteOptions` from the body, else from the query.
async fn take_delete(a: Admitted) -> Result<(crate::Attributes, DeleteOptions, bool), Status> {
    let Admitted { attributes, query, request, .. } = a;
    let mut dry_run = query.dry_run("DeleteOptions")?;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request.into_body()).await?;
    let mut tree = match bytes.is_empty() {
        true => json!({}),
        false => input::document(&bytes, format, "DeleteOptions", FieldValidation::Ignore)?.tree,
    };
    if let Some(schema) = schema::find("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") {
        let validation = FieldValidation::Ignore;
        decode::object(&mut tree, schema, ("DeleteOptions", "v1"), Vec::new(), validation)?;
    }
    let invalid = |errors: &[api::field::Error]| Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", errors));
    let path = api::field::Path::root;
    if bytes.is_empty() {
        let given = |key: &str| Some(query.get(key)).filter(|v| !v.is_empty()).map(str::to_owned);
        if let Some(policy) = given("propagationPolicy") {
            tree["propagationPolicy"] = policy.into();
        }
        if given("orphanDependents").is_some() {
            tree["orphanDependents"] = query.flag("orphanDependents").into();
        }
        if let Some(seconds) = query.grace_seconds()? {
            tree["gracePeriodSeconds"] = seconds.into();
        }
    }
    let modes: Vec<&str> = tree["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if modes.iter().any(|m| *m != "All") {
        return invalid(&[api::field::Error::not_supported(&path("dryRun"), modes, &["All"])]);
    }
    dry_run |= !modes.is_empty();
    let (policy, orphan) = (tree["propagationPolicy"].as_str(), tree["orphanDependents"].as_bool());
    let propagation = match (policy, orphan) {
        (Some(p), Some(_)) => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            return invalid(&[api::field::Error::invalid(&path("propagationPolicy"), p, why)]);
        }
        (None, None) => None,
        (None, Some(true)) | (Some("Orphan"), None) => Some(Propagation::Orphan),
        (None, Some(false)) | (Some("Background"), None) => Some(Propagation::Background),
        (Some("Foreground"), None) => Some(Propagation::Foreground),
        (Some(other), None) => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            return invalid(&[api::field::Error::not_supported(&path("propagationPolicy"), other, &known)]);
        }
    };
    let text = |pointer: &str| tree.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let precondition =
        UidPrecondition { uid: text("/preconditions/uid"), revision: text("/preconditions/resourceVersion") };
    let options = DeleteOptions { grace_seconds: tree["gracePeriodSeconds"].as_i64(), propagation, precondition };
    Ok((attributes, options, dry_run))
}

async fn delete(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, name) = (a.wanted()?, a.info.name.clone());
    let (attributes, options, dry_run) = take_delete(a).await?;
    let mut call = Call::new(&attributes, served, dry_run);
    let Deleted { object, gone } = front.engine.delete(&mut call, &name, &options).await?;
    let kind = &served.kind;
    if !gone || RETURNED.contains(&&*served.resource) {
        return Ok(written(&wanted, served, 200, &object, &call.warnings));
    }
    let mut details = json!({"name": name, "kind": kind.plural, "uid": object.uid()});
    if !kind.group.is_empty() {
        details["group"] = kind.group.clone().into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    let mut answer = output::tree(&wanted, 200, &status);
    output::warn(&mut answer, &call.warnings);
    Ok(answer)
}

async fn delete_collection(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, selection) = (a.wanted()?, a.query.list(&served.kind)?);
    let (attributes, options, dry_run) = take_delete(a).await?;
    let mut call = Call::new(&attributes, served, dry_run);
    let listing = front.engine.delete_collection(&mut call, &selection, &options).await?;
    Ok(output::list(&wanted, served, &listing))
}
