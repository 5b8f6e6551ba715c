//! DELETE of one object and of collections.

use std::sync::Arc;

use api::decode::{self, FieldValidation};
use api::{Status, Value, schema};
use http::Response;
use serde_json::json;

use crate::engine::{Call, DeleteOptions, Deleted, Propagation, Served, UidPrecondition};
use crate::http::front::{Admitted, Front};
use crate::http::{Body, input, negotiate, output};

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

/// `metav1.DeleteOptions` from the body, else from the query.
async fn take_delete(a: Admitted) -> Result<(crate::Attributes, DeleteOptions, bool), Status> {
    let Admitted { attributes, query, request, .. } = a;
    let mut dry_run = query.dry_run("DeleteOptions")?;
    let format = negotiate::content(request.headers())?;
    let bytes = input::read(request).await?;
    let mut tree = match bytes.is_empty() {
        true => json!({}),
        false => input::document(&bytes, format, "DeleteOptions", FieldValidation::Ignore)?.tree,
    };
    if let Some(other) = tree["kind"].as_str().filter(|k| !matches!(*k, "" | "DeleteOptions")) {
        let version = tree["apiVersion"].as_str().unwrap_or_default();
        let why = format!(
            "no kind {other:?} is registered for version {version:?} in scheme \
             \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        );
        return Err(Status::bad_request(why));
    }
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

pub(super) async fn one(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, name) = (a.wanted()?, a.info.name.clone());
    let (attributes, options, dry_run) = take_delete(a).await?;
    let mut call = Call::new(&attributes, served, dry_run);
    let Deleted { object, gone } = front.engine.delete(&mut call, &name, &options).await?;
    let kind = &served.kind;
    if !gone || RETURNED.contains(&&*served.resource) {
        return Ok(super::write::written(&wanted, served, 200, &object, &call.warnings));
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

pub(super) async fn collection(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, selection) = (a.wanted()?, a.query.list(&served.kind)?);
    let (attributes, options, dry_run) = take_delete(a).await?;
    let mut call = Call::new(&attributes, served, dry_run);
    let listing = front.engine.delete_collection(&mut call, &selection, &options).await?;
    let mut answer = output::list(&wanted, served, &listing);
    output::warn(&mut answer, &call.warnings);
    Ok(answer)
}
