//! `certificates.k8s.io`: signing requests. `username`, `uid`, `groups` and the conditions' times are the API server's to fill
//! in (`apiserver::admission::certificates`).

mod validation;

use serde_json::{Value, json};

use super::def::cluster;
use super::table::{NONE, name, or_none};
use super::tree::{items, text};
use crate::field;
use crate::strategy::{AGE, Column, NAME, age, copy, human_duration, set};
use crate::{Kind, Strategy, names};

/// The field errors of an update of `…/approval`.
pub fn validate_approval(new: &Value, old: &Value) -> Vec<field::Error> {
    validation::update(new, old, validation::May::Approve)
}

/// `…/approval` changes the conditions and nothing else.
pub fn prepare_approval(new: &mut Value, old: &Value) {
    let conditions = new.pointer("/status/conditions").cloned();
    copy(new, old, "spec");
    copy(new, old, "status");
    if let Some(conditions) = conditions {
        new["status"]["conditions"] = conditions;
    }
}

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            CertificateSigningRequest,
        )
        .short("csr")
        .status()
        .old(&["v1beta1"]),
    ]
}

struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn prepare_create(&self, request: &mut Value) {
        set(request, "status", Some(json!({})));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "spec");
        copy(new, old, "status");
    }
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "spec");
        // the approval stays as it is, word for word
        for kind in ["Approved", "Denied"] {
            let kept: Vec<Value> = of_type(old, kind).cloned().collect();
            let conditions = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            let mut places: Vec<_> = conditions.into_iter().flatten().filter(|c| text(c, "type") == kind).collect();
            if places.len() == kept.len() {
                places.iter_mut().zip(kept).for_each(|(place, kept)| **place = kept);
            }
        }
    }

    fn validate(&self, request: &Value) -> Vec<field::Error> {
        validation::request(request)
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        validation::update(new, old, validation::May::Sign)
    }
    fn validate_version(&self, version: (&str, &str), new: &Value, old: Option<&Value>) -> Vec<field::Error> {
        match (version.1, old) {
            ("v1", None) => validation::legacy_signer(new).into_iter().collect(),
            _ => Vec::new(),
        }
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                AGE,
                Column::new("SignerName", "string"),
                Column::new("Requestor", "string"),
                Column::new("RequestedDuration", "string"),
                Column::new("Condition", "string"),
            ]
        }
    }
    fn cells(&self, request: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &request["spec"];
        let duration = spec["expirationSeconds"].as_i64().map_or(NONE.into(), human_duration);
        vec![
            name(request),
            age(request, now_seconds),
            or_none(text(spec, "signerName")),
            text(spec, "username").into(),
            duration.into(),
            state(request).into(),
        ]
    }
}

fn of_type<'a>(request: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(&request["status"], "conditions").iter().filter(move |c| text(c, "type") == kind)
}

/// `extractCSRStatus`
fn state(request: &Value) -> String {
    let status = &request["status"];
    let is = |kind: &str| of_type(request, kind).next().is_some();
    let mut state = String::from(match (is("Denied"), is("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    });
    if is("Failed") {
        state.push_str(",Failed");
    }
    if !text(status, "certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}
