//! How things are shown: Go's ways of writing times and sizes, tables, JSON and YAML.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::Value;

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// JSON, and YAML where that is asked for.
pub fn print(format: Format, value: &Value) -> Result<()> {
    match format {
        Format::Yaml => print!("{}", serde_yaml::to_string(value)?),
        _ => println!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}

/// crictl's columns: at least 20 wide, 3 apart.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = header.join("\t") + "\n";
    for row in rows {
        text += &row.join("\t");
        text.push('\n');
    }
    ctl::tabs::columns(&text, 20, 3)
}

/// The id's first 13 digits; all of them with `--no-trunc`.
pub fn id(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { id.trim_start_matches("sha256:").chars().take(13).collect() }
}

/// `3 minutes ago`: go-units' `HumanDuration`.
pub fn ago(then_nanos: i64, now_nanos: i64) -> String {
    let seconds = (now_nanos - then_nanos) / 1_000_000_000;
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    let text = match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    };
    text + " ago"
}

pub fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// `1.46MB`: go-units' `HumanSizeWithPrecision`; crictl's precision is 3 for images and 4 for statistics.
pub fn size(bytes: u64, precision: usize) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    // `%.*g`: so many digits in all, without zeros at the end
    let whole = if number < 1.0 { 1 } else { number.log10().floor() as usize + 1 };
    let mut text = format!("{number:.*}", precision.saturating_sub(whole));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// RFC 3339 with nanoseconds; 0 is no time, as Go writes it.
pub fn time(nanos: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) if nanos != 0 => time.to_string(),
        _ => "0001-01-01T00:00:00Z".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_as_go_writes_them() {
        for (seconds, want) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (61, "About a minute ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (3 * 3600, "3 hours ago"),
            (50 * 3600, "2 days ago"),
            (20 * 86400, "2 weeks ago"),
            (90 * 86400, "3 months ago"),
            (800 * 86400, "2 years ago"),
        ] {
            assert_eq!(ago(0, seconds * 1_000_000_000), want);
        }
        for (bytes, precision, want) in [
            (0, 3, "0B"),
            (999, 3, "999B"),
            (683_000, 3, "683kB"),
            (1_459_000, 3, "1.46MB"),
            (36_700_160, 3, "36.7MB"),
            (30_000_000, 3, "30MB"),
            (1_234_567_890, 4, "1.235GB"),
        ] {
            assert_eq!(size(bytes, precision), want);
        }
        assert_eq!(time(0), "0001-01-01T00:00:00Z");
        assert_eq!(time(1_500_000_000), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn tables_have_wide_columns() {
        let rows = [["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(["IMAGE", "TAG"], rows), format!("{:20}TAG\n{:20}b\n", "IMAGE", "a"));
    }
}
