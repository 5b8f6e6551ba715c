//! `certificates.k8s.io`: signing requests. `username`, `uid`, `groups` are the API server's to fill in.

use serde_json::{Value, json};

use super::def::cluster;
use super::table::{NONE, name, or_none};
use super::tree::{items, same, text};
use crate::field::{self, Path};
use crate::strategy::{AGE, Column, NAME, age, human_duration, set};
use crate::{Kind, Strategy, names};

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
        .status(),
    ]
}

struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn prepare_create(&self, request: &mut Value) {
        set(request, "status", Some(json!({})));
    }

    fn validate(&self, request: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&request["spec"], Path::root("spec"));
        if items(spec, "usages").is_empty() {
            errors.push(field::Error::required(&path.child("usages"), ""));
        }
        let signer = text(spec, "signerName");
        if signer.is_empty() {
            errors.push(field::Error::required(&path.child("signerName"), ""));
        } else if !signer.contains('/') {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(field::Error::invalid(&path.child("signerName"), signer, detail));
        }
        if text(spec, "request").is_empty() {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(field::Error::invalid(&path.child("request"), "", detail));
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["spec"], &old["spec"]) {
            return Vec::new();
        }
        vec![field::Error::forbidden(&Path::root("spec"), "field is immutable")]
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

/// `extractCSRStatus`
fn state(request: &Value) -> String {
    let status = &request["status"];
    let is = |kind: &str| items(status, "conditions").iter().any(|c| text(c, "type") == kind);
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
