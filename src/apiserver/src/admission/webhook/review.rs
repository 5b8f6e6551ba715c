//! `AdmissionReview` of `admission.k8s.io/v1` and `v1beta1`, written and read. Upstream's `webhook/request`.

use api::{Status, Value};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, json};

use crate::admission::scene::Views;

const GROUP: &str = "admission.k8s.io";

/// The review that is posted. `request` has all but the uid and the objects, which are written once and not copied.
pub fn body(version: &str, uid: &str, mut request: Map<String, Value>, views: &Views) -> String {
    request.insert("uid".into(), uid.into());
    let mut text = format!(r#"{{"kind":"AdmissionReview","apiVersion":"{GROUP}/{version}","request":"#);
    text += &Value::Object(request).to_string();
    text.pop();
    text += r#","object":"#;
    text += &views.object.to_string();
    text += r#","oldObject":"#;
    text += &views.old.to_string();
    text += "}}";
    text
}

/// What a webhook says.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    pub allowed: bool,
    /// `response.status`, as it came.
    pub status: Value,
    /// Decoded; absent if there is none or it is empty.
    pub patch: Option<Vec<u8>>,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
}

/// `VerifyAdmissionResponse`
pub fn read(mut answer: Value, version: &str, uid: &str, mutating: bool) -> Result<Verdict, String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    let mut response = answer["response"].take();
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    let patch = match response["patch"].as_str() {
        Some(base64) if !base64.is_empty() => {
            Some(STANDARD.decode(base64).map_err(|e| format!("response.patch: {e}"))?)
        }
        _ => None,
    };
    // v1beta1 does not check
    if version == "v1" {
        if response["uid"] != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
        }
        if api_version != format!("{GROUP}/v1") || kind != "AdmissionReview" {
            let got = format!("{api_version}, Kind={kind}");
            return Err(format!("expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}"));
        }
        match (mutating, patch.is_some(), response["patchType"].as_str()) {
            (true, true, None) => return Err("webhook returned response.patch but not response.patchType".into()),
            (true, false, Some(_)) => return Err("webhook returned response.patchType but not response.patch".into()),
            (true, true, Some(other)) if other != "JSONPatch" => {
                return Err(format!("webhook returned invalid response.patchType of {other:?}"));
            }
            (false, true, _) => return Err("validating webhook may not return response.patch".into()),
            (false, _, Some(_)) => return Err("validating webhook may not return response.patchType".into()),
            _ => {}
        }
    }
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned));
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == true,
        patch: patch.filter(|_| mutating),
        warnings: warnings.collect(),
        annotations: annotations.map(|(k, v)| (k.clone(), text(v))).collect(),
        status: response["status"].take(),
    })
}

/// The refusal of a webhook: upstream's `ToStatusErr`.
pub fn refusal(webhook: &str, status: &Value) -> Status {
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let head = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{head} without explanation"),
        ("", reason) => format!("{head}: {reason}"),
        (message, _) => format!("{head}: {message}"),
    };
    let code = status["code"].as_u64().filter(|c| (400..600).contains(c)).unwrap_or(400);
    let mut refusal = Status::from_value(&match status {
        Value::Object(_) => status.clone(),
        _ => json!({}),
    });
    refusal.code = code as u16;
    refusal.message = message;
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_hold_the_objects() {
        let views = Views { object: json!({"a": 1}), old: Value::Null };
        let request = json!({"operation": "CREATE"}).as_object().unwrap().clone();
        let review: Value = serde_json::from_str(&body("v1", "u", request, &views)).unwrap();
        assert_eq!(
            review,
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                "request": {"uid": "u", "operation": "CREATE", "object": {"a": 1}, "oldObject": null}})
        );
    }

    #[test]
    fn answers_are_checked() {
        let answer = |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        let patch = STANDARD.encode("[]");
        let ok = read(
            answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"],
                "auditAnnotations": {"k": "v"}})),
            "v1",
            "u",
            true,
        );
        let want = Verdict {
            allowed: true,
            status: Value::Null,
            patch: Some(b"[]".to_vec()),
            warnings: vec!["w".into()],
            annotations: vec![("k".into(), "v".into())],
        };
        assert_eq!(ok, Ok(want));
        for (response, mutating, why) in [
            (json!(null), true, "webhook response was absent"),
            (json!({"uid": "x"}), true, r#"expected response.uid="u", got "x""#),
            (json!({"uid": "u", "patch": patch}), true, "webhook returned response.patch but not response.patchType"),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": "X"}),
                true,
                r#"webhook returned invalid response.patchType of "X""#,
            ),
            (json!({"uid": "u", "patch": patch}), false, "validating webhook may not return response.patch"),
        ] {
            assert_eq!(read(answer(response), "v1", "u", mutating).unwrap_err(), why);
        }
        let old = json!({"response": {"allowed": true, "patch": patch}});
        assert!(read(old.clone(), "v1beta1", "u", true).unwrap().patch.is_some());
        assert_eq!(
            read(json!({"apiVersion": "x/v1", "kind": "K", "response": {"uid": "u"}}), "v1", "u", true).unwrap_err(),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got x/v1, Kind=K"
        );
    }

    #[test]
    fn refusals_are_worded_as_upstreams() {
        for (status, code, message) in [
            (json!(null), 400, "admission webhook \"w\" denied the request without explanation"),
            (
                json!({"message": "no", "code": 403, "reason": "Forbidden"}),
                403,
                "admission webhook \"w\" denied the request: no",
            ),
            (json!({"reason": "because", "code": 200}), 400, "admission webhook \"w\" denied the request: because"),
        ] {
            let got = refusal("w", &status);
            assert_eq!((got.code, got.message.as_str()), (code, message));
        }
    }
}
