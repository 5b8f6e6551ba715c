//! `format` of strings and numbers: upstream's `kube-openapi/pkg/validation/strfmt`. Formats that are not known hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Number;

/// Whether a text is of a format.
pub fn holds(format: &str, text: &str) -> bool {
    match format {
        "byte" => STANDARD.decode(text).is_ok(),
        "uri" => is_uri(text),
        "email" => {
            text.rsplit_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty() && !text.contains(' '))
        }
        "hostname" => text.len() <= 255 && !text.is_empty() && text.trim_end_matches('.').split('.').all(is_host_label),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "ip" => text.parse::<IpAddr>().is_ok(),
        "cidr" => text.contains('/') && text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "rgbcolor" => {
            let inner = text.strip_prefix("rgb(").and_then(|t| t.strip_suffix(')'));
            inner.is_some_and(|t| {
                let parts: Vec<&str> = t.split(',').map(str::trim).collect();
                parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())
            })
        }
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_card(text),
        "ssn" => {
            let digits: Vec<&str> = text.split(['-', ' ']).collect();
            let plain: String = digits.concat();
            plain.len() == 9 && plain.bytes().all(|b| b.is_ascii_digit())
        }
        "k8s-short-name" => crate::names::dns_label(text, false).is_empty(),
        "k8s-long-name" => crate::names::dns_subdomain(text, false).is_empty(),
        _ => true,
    }
}

/// Whether a number is in the range of a format.
pub fn number_holds(format: &str, n: &Number) -> bool {
    match format {
        "int32" => n.as_f64().is_some_and(|f| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&f)),
        "int64" => !n.is_u64() || n.as_i64().is_some(),
        "float" => n.as_f64().is_some_and(|f| f.abs() <= f64::from(f32::MAX)),
        _ => true,
    }
}

fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return false;
    }
    // `url.ParseRequestURI`: absolute, or an absolute path
    if text.starts_with('/') {
        return true;
    }
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn is_host_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=63).contains(&label.len()) && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let pairs = matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    let quads: Vec<&str> = text.split('.').collect();
    pairs
        || matches!(quads.len(), 3 | 4 | 10)
            && quads.iter().all(|p| p.len() == 4 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    plain.len() == 32
        && plain.chars().all(|c| c.is_ascii_hexdigit())
        && version.is_none_or(|v| plain.chars().nth(12) == Some(v))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    matches!(text.as_bytes().get(10), Some(b'T' | b't')) && text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations (`1h30m`), and as strfmt has it `3 days`.
pub(crate) fn is_duration(text: &str) -> bool {
    crate::cel::duration(text).is_some() || {
        let mut words = text.split_whitespace();
        let unit = |u: &str| {
            let u = u.to_lowercase();
            [
                "ns", "nano", "us", "micro", "ms", "milli", "s", "sec", "second", "m", "min", "minute", "h", "hr",
                "hour", "d", "day", "w", "wk", "week",
            ]
            .iter()
            .any(|k| u == *k || u.strip_suffix('s') == Some(k))
        };
        match (words.next(), words.next(), words.next()) {
            (Some(n), Some(u), None) => n.parse::<u64>().is_ok() && unit(u),
            (Some(one), None, None) => {
                let end = one.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
                end > 0 && unit(&one[end..])
            }
            _ => false,
        }
    }
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_digit(10).unwrap_or(99)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let mut all = digits(text);
    if text.ends_with(['x', 'X'])
        && let Some(last) = all.last_mut()
    {
        *last = 10;
    }
    all.len() == 10
        && all.iter().all(|d| *d <= 10)
        && all.iter().enumerate().map(|(i, d)| (10 - i as u32) * d).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let all = digits(text);
    all.len() == 13
        && all.iter().all(|d| *d < 10)
        && all.iter().enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { 3 * d }).sum::<u32>() % 10 == 0
}

fn is_card(text: &str) -> bool {
    let all = digits(text);
    if !(13..=19).contains(&all.len()) || all.iter().any(|d| *d > 9) {
        return false;
    }
    let sum: u32 = all
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| match (i % 2, d * 2) {
            (0, _) => *d,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("ipv4", "10.0.0.1", "::1"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("uuid4", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
            ("date", "2020-02-29", "2020-02-30"),
            ("date-time", "2020-01-01T00:00:00Z", "2020-01-01"),
            ("duration", "1h30m", "x"),
            ("duration", "3 days", "3 dayz"),
            ("byte", "YQ==", "!"),
            ("uri", "https://a.b/c", "a b"),
            ("email", "a@b", "a"),
            ("hostname", "a.b-c", "-a"),
            ("isbn10", "0-306-40615-2", "0-306-40615-3"),
            ("isbn13", "978-0-306-40615-7", "978-0-306-40615-8"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("hexcolor", "#fff", "#ffg"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "x"),
        ] {
            assert!(holds(format, good), "{format} {good}");
            assert!(!holds(format, bad), "{format} {bad}");
        }
        assert!(holds("no-such", "x"));
        assert!(number_holds("int32", &1.into()) && !number_holds("int32", &(1i64 << 40).into()));
    }
}
