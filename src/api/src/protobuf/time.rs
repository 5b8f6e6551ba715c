//! `Time` and `MicroTime`: seconds and nanoseconds on the wire, RFC 3339 in JSON.

use jiff::Timestamp;

use super::{Error, malformed};

fn stamp(seconds: i64, nanos: i32) -> Result<Timestamp, Error> {
    Timestamp::new(seconds, nanos).map_err(|e| malformed(format!("a time is out of range: {e}")))
}

/// To the second, as `Time`.
pub(super) fn rfc3339(seconds: i64) -> Result<String, Error> {
    Ok(stamp(seconds, 0)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// To the microsecond, as `MicroTime`.
pub(super) fn rfc3339_micro(seconds: i64, nanos: i32) -> Result<String, Error> {
    Ok(stamp(seconds, nanos)?.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// Seconds and nanoseconds of a time in JSON.
pub(super) fn parse(text: &str) -> Option<(i64, i32)> {
    let stamp: Timestamp = text.parse().ok()?;
    let nanos = stamp.subsec_nanosecond();
    // nanoseconds count forward, before 1970 too
    Some(if nanos < 0 { (stamp.as_second() - 1, nanos + 1_000_000_000) } else { (stamp.as_second(), nanos) })
}
