//! When a request has served its time: upstream's `csrcleaner`.

use api::Value;
use jiff::{SignedDuration, Timestamp};

/// From when it was decided.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// From when it was made, undecided.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// When it is to be deleted; `None`: not as it is now.
pub fn deadline(request: &Value) -> Option<Timestamp> {
    let time = |v: &Value| v.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let issued = super::is_issued(request);
    let decided = super::conditions(request)
        .iter()
        .filter(|c| match c["type"].as_str() {
            Some("Approved") => issued,
            Some("Denied" | "Failed") => true,
            _ => false,
        })
        .filter_map(|c| Some(time(&c["lastUpdateTime"])? + DECIDED));
    let pending = super::conditions(request)
        .is_empty()
        .then(|| Some(time(&request["metadata"]["creationTimestamp"])? + PENDING))
        .flatten();
    let expired = issued.then(|| {
        let certificate = super::text(request["status"]["certificate"].as_str());
        let validity = pki::Identity { certificate, key: String::new() }.validity();
        validity.ok().map(|(_, end)| end)
    });
    decided.chain(pending).chain(expired.flatten()).min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_requests_go() {
        let of = |condition: &str, certificate: &str| {
            let conditions = match condition {
                "" => json!([]),
                c => json!([{"type": c, "lastUpdateTime": "2026-01-01T12:00:00Z"}]),
            };
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
                "status": {"conditions": conditions, "certificate": certificate}})
        };
        for (condition, certificate, want) in [
            ("", "", Some("2026-01-02T00:00:00Z")),
            ("Approved", "", None),
            ("Approved", "eA==", Some("2026-01-01T13:00:00Z")),
            ("Denied", "", Some("2026-01-01T13:00:00Z")),
            ("Failed", "", Some("2026-01-01T13:00:00Z")),
            ("Other", "", None),
        ] {
            let got = deadline(&of(condition, certificate));
            assert_eq!(got, want.map(|t| t.parse().unwrap()), "{condition} {certificate}");
        }
    }
}
