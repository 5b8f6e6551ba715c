//! `metav1.Condition`s: upstream's `ValidateConditions`.

use serde_json::Value;

use super::metadata::label_name;
use super::tree::{items, number, text};
use crate::field::{Error, Path};
use crate::names;

const LONGEST_REASON: usize = 1024;
const LONGEST_MESSAGE: usize = 32 * 1024;

/// The `conditions` of a status; `path` is that of the list.
pub(crate) fn validate(errors: &mut Vec<Error>, path: &Path, status: &Value) {
    let all = items(status, "conditions");
    for (i, c) in all.iter().enumerate() {
        let (at, kind) = (path.index(i), text(c, "type"));
        if all[..i].iter().any(|o| text(o, "type") == kind) {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
        label_name(errors, &at.child("type"), kind);
        let known = &["False", "True", "Unknown"];
        if !known.contains(&text(c, "status")) {
            errors.push(Error::not_supported(&at.child("status"), text(c, "status"), known));
        }
        if number(c, "observedGeneration") < 0 {
            let detail = "must be greater than or equal to zero";
            errors.push(Error::invalid(&at.child("observedGeneration"), number(c, "observedGeneration"), detail));
        }
        if text(c, "lastTransitionTime").is_empty() {
            errors.push(Error::required(&at.child("lastTransitionTime"), "must be set"));
        }
        let (reason, at_reason) = (text(c, "reason"), at.child("reason"));
        if reason.is_empty() {
            errors.push(Error::required(&at_reason, "must be set"));
        } else {
            if !is_reason(reason) {
                let what = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
                let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
                let detail = names::regex_error(what, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples);
                errors.push(Error::invalid(&at_reason, reason, detail));
            }
            if reason.len() > LONGEST_REASON {
                errors.push(Error::too_long(&at_reason, LONGEST_REASON));
            }
        }
        if text(c, "message").len() > LONGEST_MESSAGE {
            errors.push(Error::too_long(&at.child("message"), LONGEST_MESSAGE));
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let b = reason.as_bytes();
    b[0].is_ascii_alphabetic() && word(b[b.len() - 1]) && b.iter().all(|c| word(*c) || matches!(c, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_checked_in_upstreams_words() {
        let good = json!({"type": "x.io/Ready", "status": "True", "reason": "A:b,c_", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let check = |all: Value| {
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("c"), &json!({ "conditions": all }));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(check(json!([good])), "");
        assert_eq!(check(json!([good, good])), r#"c[1].type: Duplicate value: "x.io/Ready""#);
        assert_eq!(
            check(json!([{"type": "a", "status": "x", "observedGeneration": -1}])),
            r#"c[0].status: Unsupported value: "x": supported values: "False", "True", "Unknown"; c[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero; c[0].lastTransitionTime: Required value: must be set; c[0].reason: Required value: must be set"#
        );
        let mut bad = good.clone();
        bad["reason"] = json!("a b");
        assert!(check(json!([bad])).starts_with(r#"c[0].reason: Invalid value: "a b": a condition reason must start"#));
    }
}
