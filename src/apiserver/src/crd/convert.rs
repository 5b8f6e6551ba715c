//! Conversion webhooks: upstream's `conversion/webhook_converter.go`.

use std::time::Duration;

use api::crd::Definition;
use api::{Status, Value};
use async_trait::async_trait;
use serde_json::json;

use crate::engine::Converter;
use crate::webhook::WebhookClient;

const TIMEOUT: Duration = Duration::from_secs(30);

#[async_trait]
impl Converter for WebhookClient {
    async fn convert(
        &self,
        definition: &Definition,
        webhook: &Value,
        to: &str,
        objects: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        let from = objects.first().map(|o| o["apiVersion"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
        let failed = |e: String| {
            Status::internal(format!("conversion webhook for {from}, Kind={} failed: {e}", definition.kind))
        };
        let known = webhook["conversionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let version = known.into_iter().find(|v| matches!(*v, "v1" | "v1beta1"));
        let version = version.ok_or_else(|| failed("no supported conversion review version".into()))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({
            "apiVersion": format!("apiextensions.k8s.io/{version}"), "kind": "ConversionReview",
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
        });
        let answer = self.call(&webhook["clientConfig"], &review, TIMEOUT).await.map_err(failed)?;
        accept(answer, &uid, to, &review["request"]["objects"]).map_err(failed)
    }
}

/// Checks an answer and takes the objects out of it. What a webhook may not change is as it was: all metadata but labels and
/// annotations.
fn accept(mut answer: Value, uid: &str, to: &str, objects: &Value) -> Result<Vec<Value>, String> {
    let before: &[Value] = objects.as_array().map_or(&[], Vec::as_slice);
    let response = &mut answer["response"];
    if response["uid"] != uid {
        return Err(format!("expected response.uid {uid:?}, got {}", response["uid"]));
    }
    if response["result"]["status"] != "Success" {
        let message = response["result"]["message"].as_str().filter(|m| !m.is_empty());
        return Err(message.unwrap_or("response.result.status was not Success").to_owned());
    }
    let Value::Array(mut converted) = response["convertedObjects"].take() else {
        return Err(format!("expected {} converted objects, got none", before.len()));
    };
    if converted.len() != before.len() {
        let (want, got) = (before.len(), converted.len());
        return Err(format!("webhook returned {got} objects, expected {want}"));
    }
    for (i, (new, old)) in converted.iter_mut().zip(before).enumerate() {
        let wrong = |what: &str| format!("invalid converted object at index {i}: {what}");
        if new["apiVersion"] != to {
            return Err(wrong(&format!("invalid apiVersion: expected {to}, got {}", new["apiVersion"])));
        }
        if new["kind"] != old["kind"] {
            return Err(wrong(&format!("invalid kind: expected {}, got {}", old["kind"], new["kind"])));
        }
        if !new["metadata"].is_object() {
            return Err(wrong("missing metadata"));
        }
        for key in ["name", "namespace", "uid"] {
            if new["metadata"][key] != old["metadata"][key] {
                return Err(wrong(&format!("metadata.{key} was changed")));
            }
        }
        let mut metadata = old["metadata"].clone();
        for key in ["labels", "annotations"] {
            match new["metadata"].get(key).filter(|v| !v.is_null()) {
                Some(v) => metadata[key] = v.clone(),
                None => drop(metadata.as_object_mut().map(|m| m.remove(key))),
            }
        }
        new["metadata"] = metadata;
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_not_trusted() {
        let old = json!([{"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "u", "labels": {"x": "1"}, "generation": 2}}]);
        let good = json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "a", "uid": "u", "generation": 9, "labels": {"x": "2"}}, "spec": 1});
        let review = |objects: Value, status: &str| json!({"response": {"uid": "1", "result": {"status": status, "message": "why"}, "convertedObjects": objects}});
        let done = accept(review(json!([good]), "Success"), "1", "g/v2", &old).unwrap();
        assert_eq!(done[0]["metadata"], json!({"name": "a", "uid": "u", "labels": {"x": "2"}, "generation": 2}));
        let with = |key: &str, v: Value| {
            let mut o = good.clone();
            o[key] = v;
            review(json!([o]), "Success")
        };
        for (answer, want) in [
            (review(json!([good]), "Failed"), "why"),
            (review(json!([]), "Success"), "webhook returned 0 objects, expected 1"),
            (
                with("apiVersion", json!("g/v1")),
                "invalid converted object at index 0: invalid apiVersion: expected g/v2, got \"g/v1\"",
            ),
            (
                with("metadata", json!({"name": "b", "uid": "u"})),
                "invalid converted object at index 0: metadata.name was changed",
            ),
            (json!({}), "expected response.uid \"1\", got null"),
        ] {
            assert_eq!(accept(answer, "1", "g/v2", &old).unwrap_err(), want);
        }
    }
}
