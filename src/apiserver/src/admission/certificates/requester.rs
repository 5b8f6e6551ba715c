//! Who asks stands in the request, and no client can write it; nor the times of conditions. Upstream's `csrStrategy`.

use api::{Status, Value};
use async_trait::async_trait;
use jiff::{Timestamp, Unit};
use serde_json::json;

use super::is_part;
use crate::admission::{Operation, Plugin, Write};
use crate::{Attributes, User, Verb};

pub struct Requester;

#[async_trait]
impl Plugin for Requester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }
    fn handles(&self, a: &Attributes) -> bool {
        ["", "approval", "status"].iter().any(|s| is_part(a, s))
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        match (write.operation(), write.attributes.subresource.as_str()) {
            (Operation::Create, "") => sign(&mut write.object["spec"], &write.attributes.user),
            (Operation::Update, "approval" | "status") => {
                let now = Timestamp::now().round(Unit::Second).map(|t| t.to_string()).unwrap_or_default();
                date(write.object, &write.old.map(|o| o.tree()).unwrap_or_default(), &now);
            }
            _ => {}
        }
        Ok(())
    }
}

fn sign(spec: &mut Value, user: &User) {
    let Some(spec) = spec.as_object_mut() else { return };
    let fields = [
        ("username", json!(user.name)),
        ("uid", json!(user.uid)),
        ("groups", json!(user.groups)),
        ("extra", json!(user.extra)),
    ];
    for (key, value) in fields {
        let empty = value == "" || value == json!([]) || value == json!({});
        match empty {
            true => spec.remove(key),
            false => spec.insert(key.into(), value),
        };
    }
}

/// `populateConditionTimestamps`
fn date(request: &mut Value, old: &Value, now: &str) {
    let before = old.pointer("/status/conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let conditions = request.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for c in conditions.into_iter().flatten().filter(|c| c.is_object()) {
        if c["lastUpdateTime"].is_null() {
            c["lastUpdateTime"] = json!(now);
        }
        if c["lastTransitionTime"].is_null() {
            let same = before.iter().find(|b| b["type"] == c["type"] && b["status"] == c["status"]);
            let kept = same.map(|b| b["lastTransitionTime"].clone()).filter(|t| !t.is_null());
            c["lastTransitionTime"] = kept.unwrap_or_else(|| json!(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::attributes;
    use super::*;
    use crate::admission::testing::run;

    #[tokio::test]
    async fn the_requester_is_written_in() {
        let forged =
            json!({"spec": {"username": "root", "groups": ["system:masters"], "extra": {"a": ["b"]}, "request": "x"}});
        let got = run(&Requester, &attributes(Verb::Create, ""), forged, None).await.unwrap();
        assert_eq!(got["spec"], json!({"username": "u", "uid": "7", "groups": ["g"], "request": "x"}));
    }

    #[test]
    fn conditions_are_dated_once() {
        let old = json!({"status": {"conditions": [{"type": "a", "status": "True", "lastTransitionTime": "t0"}]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "a", "status": "True"}, {"type": "b", "status": "True", "lastUpdateTime": "t1"}]}});
        date(&mut new, &old, "t2");
        assert_eq!(
            new["status"]["conditions"],
            json!([
                {"type": "a", "status": "True", "lastUpdateTime": "t2", "lastTransitionTime": "t0"},
                {"type": "b", "status": "True", "lastUpdateTime": "t1", "lastTransitionTime": "t2"}])
        );
    }
}
