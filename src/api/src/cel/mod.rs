//! CEL: the rules of `x-kubernetes-validations`.

use serde_json::Value;

use crate::crd::Structural;
use crate::field::{Error, Path};

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: bool,
}

impl Rule {
    pub fn parse(v: &Value) -> Rule {
        let text = |key: &str| v[key].as_str().unwrap_or_default().into();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: v["optionalOldSelf"] == true,
        }
    }
}

/// Checks the rules of a schema on an object.
pub fn validate(_schema: &Structural, _new: &Value, _old: Option<&Value>) -> Vec<Error> {
    Vec::new()
}

/// Checks the rules themselves.
pub fn check_schema(_raw: &Value, _schema: &Structural, _path: &Path, _out: &mut Vec<Error>) {}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |i| end + i);
        total += number
            * match &rest[end..unit_end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (total < i64::MAX as f64).then_some(if negative { -total as i64 } else { total as i64 })
}
