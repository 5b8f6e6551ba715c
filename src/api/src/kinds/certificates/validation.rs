//! What a signing request may be, and what may become of it: upstream's `certificates/validation`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::of_type;
use crate::field::{self, Path};
use crate::kinds::tree::{has, items, number, text};
use crate::names;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const SHORTEST_SECONDS: i64 = 600;

/// Whose update it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// `…/approval`
    Approve,
    /// `…/status`
    Sign,
}

pub fn request(request: &Value) -> Vec<field::Error> {
    let (spec, path) = (&request["spec"], Path::root("spec"));
    let mut errors = Vec::new();
    if pem_types(text(spec, "request")).first().map(String::as_str) != Some("CERTIFICATE REQUEST") {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(field::Error::invalid(&path.child("request"), text(spec, "request"), detail));
    }
    usages(spec, &path.child("usages"), &mut errors);
    signer_name(text(spec, "signerName"), &path.child("signerName"), &mut errors);
    let seconds = number(spec, "expirationSeconds");
    if has(spec, "expirationSeconds") && seconds < SHORTEST_SECONDS {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(field::Error::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    errors
}

fn usages(spec: &Value, path: &Path, errors: &mut Vec<field::Error>) {
    let usages: Vec<&str> = items(spec, "usages").iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        errors.push(field::Error::required(path, ""));
    }
    for (i, usage) in usages.iter().enumerate() {
        if !USAGES.contains(usage) {
            errors.push(field::Error::not_supported(&path.index(i), *usage, &USAGES));
        } else if usages[..i].contains(usage) {
            errors.push(field::Error::duplicate(&path.index(i), *usage));
        }
    }
}

/// A new request of `v1` may not name the signer that `v1beta1` falls back to.
pub(super) fn legacy_signer(request: &Value) -> Option<field::Error> {
    let detail = "the legacy signerName is not allowed via this API version";
    let path = Path::root("spec");
    (text(&request["spec"], "signerName") == LEGACY)
        .then(|| field::Error::invalid(&path.child("signerName"), LEGACY, detail))
}

/// `ValidateSignerName`
fn signer_name(signer: &str, path: &Path, errors: &mut Vec<field::Error>) {
    if signer.is_empty() {
        return errors.push(field::Error::required(path, ""));
    }
    let mut wrong = |value: &str, detail: &str| errors.push(field::Error::invalid(path, value, detail));
    let [domain, name] = *signer.split('/').collect::<Vec<_>>() else {
        return wrong(signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    };
    for label in domain.split('.') {
        for why in names::dns_label(label, false) {
            wrong(domain, &format!("validating label {label:?}: {why}"));
        }
    }
    if !domain.contains('.') {
        wrong(domain, "should be a domain with at least two segments separated by dots");
    }
    for label in name.split('.') {
        for why in names::dns_subdomain(label, false) {
            wrong(name, &format!("validating label {label:?}: {why}"));
        }
    }
    if domain.len() > 253 {
        errors.push(field::Error::too_long(path, 253));
    }
    if name.len() > 253 + 63 + 1 {
        errors.push(field::Error::too_long(path, 253 + 63 + 1));
    }
}

pub fn update(new: &Value, old: &Value, may: May) -> Vec<field::Error> {
    let mut errors = Vec::new();
    let status = Path::root("status");
    conditions(new, &status.child("conditions"), &mut errors);
    let (path, certificate) = (status.child("certificate"), text(&new["status"], "certificate"));
    if !certificate.is_empty() {
        let types = pem_types(certificate);
        if let Some(other) = types.iter().find(|t| *t != "CERTIFICATE") {
            let detail = format!("only CERTIFICATE PEM blocks are allowed, found {other:?}");
            errors.push(field::Error::invalid(&path, "<certificate data>", detail));
        } else if types.is_empty() {
            let detail = "must contain at least one CERTIFICATE PEM block";
            errors.push(field::Error::invalid(&path, "<certificate data>", detail));
        }
    }
    let path = status.child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let (had, has) = (of_type(old, kind).count(), of_type(new, kind).count());
        if has < had {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            errors.push(field::Error::forbidden(&path, &detail));
        }
        if has > had && kind != "Failed" && may != May::Approve {
            let detail = format!("updates may not add a condition of type {kind:?}");
            errors.push(field::Error::forbidden(&path, &detail));
        }
    }
    let had = text(&old["status"], "certificate");
    if certificate != had {
        if may != May::Sign {
            errors
                .push(field::Error::forbidden(&status.child("certificate"), "updates may not set certificate content"));
        }
        if !had.is_empty() {
            let detail = "updates may not modify existing certificate content";
            errors.push(field::Error::forbidden(&status.child("certificate"), detail));
        }
    }
    errors
}

/// `validateConditions`
fn conditions(request: &Value, path: &Path, errors: &mut Vec<field::Error>) {
    let all = items(&request["status"], "conditions");
    for (i, condition) in all.iter().enumerate() {
        let (at, kind, status) = (path.index(i), text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            errors.push(field::Error::required(&at.child("type"), ""));
        }
        let settled = ["Approved", "Denied", "Failed"].contains(&kind);
        match status {
            "" => errors.push(field::Error::required(&at.child("status"), "")),
            _ if settled && status != "True" => {
                errors.push(field::Error::not_supported(&at.child("status"), status, &["True"]));
            }
            _ if !["True", "False", "Unknown"].contains(&status) => {
                errors.push(field::Error::not_supported(&at.child("status"), status, &["True", "False", "Unknown"]));
            }
            _ => {}
        }
        if kind == "Denied" && of_type(request, "Approved").next().is_some() {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(field::Error::invalid(&at.child("type"), kind, detail));
        }
        if all[..i].iter().any(|c| text(c, "type") == kind) {
            errors.push(field::Error::duplicate(&at.child("type"), kind));
        }
    }
}

/// The types of the PEM blocks in a `[]byte` field.
fn pem_types(field: &str) -> Vec<String> {
    let bytes = STANDARD.decode(field).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let begins = text.lines().filter_map(|l| l.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    begins.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pem(kind: &str) -> String {
        STANDARD.encode(format!("-----BEGIN {kind}-----\nAA==\n-----END {kind}-----\n"))
    }

    #[test]
    fn requests_are_checked() {
        let good =
            json!({"request": pem("CERTIFICATE REQUEST"), "signerName": "example.com/x", "usages": ["client auth"]});
        assert!(request(&json!({"spec": good})).is_empty());
        for (key, value, want) in [
            ("request", json!(pem("CERTIFICATE")), "PEM block type must be CERTIFICATE REQUEST"),
            ("usages", json!([]), "spec.usages: Required value"),
            ("usages", json!(["x"]), "spec.usages[0]: Unsupported value: \"x\""),
            ("usages", json!(["any", "any"]), "spec.usages[1]: Duplicate value: \"any\""),
            ("signerName", json!(""), "spec.signerName: Required value"),
            ("signerName", json!("x"), "must be a fully qualified domain and path"),
            ("signerName", json!("x/y"), "should be a domain with at least two segments"),
            ("signerName", json!("a_b.c/y"), "validating label \"a_b\""),
            ("expirationSeconds", json!(599), "may not specify a duration less than 600 seconds"),
        ] {
            let mut spec = good.clone();
            spec[key] = value;
            let errors = request(&json!({"spec": spec}));
            assert!(errors.iter().any(|e| e.to_string().contains(want)), "{want}: {errors:?}");
        }
    }

    #[test]
    fn approving_and_signing_are_apart() {
        let with = |types: &[&str], certificate: &str| {
            let conditions: Vec<_> = types.iter().map(|t| json!({"type": t, "status": "True"})).collect();
            json!({"status": {"conditions": conditions, "certificate": certificate}})
        };
        let (cert, key) = (pem("CERTIFICATE"), pem("EC PRIVATE KEY"));
        for (old, new, may, want) in [
            (with(&[], ""), with(&["Approved"], ""), May::Approve, ""),
            (with(&["Approved"], ""), with(&["Approved", "x"], &cert), May::Sign, ""),
            (with(&[], ""), with(&["Failed"], ""), May::Sign, ""),
            (with(&[], ""), with(&["Approved"], ""), May::Sign, "updates may not add a condition of type \"Approved\""),
            (with(&["Denied"], ""), with(&[], ""), May::Approve, "may not remove a condition of type \"Denied\""),
            (with(&[], ""), with(&["Approved", "Denied"], ""), May::Approve, "mutually exclusive"),
            (with(&[], ""), with(&["a", "a"], ""), May::Sign, "Duplicate value: \"a\""),
            (with(&[], ""), with(&[], &cert), May::Approve, "updates may not set certificate content"),
            (with(&[], &cert), with(&[], &pem("CERTIFICATE ")), May::Sign, "may not modify existing certificate"),
            (with(&[], ""), with(&[], &key), May::Sign, "found \"EC PRIVATE KEY\""),
            (with(&[], ""), with(&[], "eA=="), May::Sign, "must contain at least one CERTIFICATE PEM block"),
        ] {
            let errors = update(&new, &old, may);
            let fits =
                if want.is_empty() { errors.is_empty() } else { errors.iter().any(|e| e.to_string().contains(want)) };
            assert!(fits, "{want:?}: {errors:?}");
        }
    }
    #[test]
    fn the_old_signer_is_for_old_requests() {
        let request = json!({"spec": {"signerName": LEGACY}});
        assert_eq!(
            legacy_signer(&request).unwrap().to_string(),
            r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#
        );
        assert!(legacy_signer(&json!({"spec": {"signerName": "a.b/c"}})).is_none());
        let mut errors = Vec::new();
        signer_name(LEGACY, &Path::root("spec"), &mut errors);
        assert!(errors.is_empty());
    }
}
