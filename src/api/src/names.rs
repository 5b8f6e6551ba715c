//! The syntax of names, labels and annotations: upstream's `api/validate/content` and `util/validation`, with its texts.
//!
//! Each function returns what is wrong with the value; empty: nothing.

use std::sync::LazyLock;

use regex::Regex;

const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `content.MaxLenError`
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `content.RegexError`
pub fn regex_error(text: &str, regex: &str, examples: &[&str]) -> String {
    let shown: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    let open = if examples.is_empty() { "" } else { "e.g. " };
    format!("{text} ({open}{}regex used for validation is '{regex}')", shown.join(" or "))
}

/// A name that ends in `-` stands for a `generateName`: upstream's `maskTrailingDash`.
fn mask(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => {
            let mut head = rest.to_owned();
            head.pop();
            head + "a"
        }
        _ => name.to_owned(),
    }
}

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty() && lower(b[0]) && lower(b[b.len() - 1]) && b.iter().all(|c| lower(*c) || *c == b'-')
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

fn is_qualified(s: &str) -> bool {
    let b = s.as_bytes();
    let edge = |c: u8| c.is_ascii_alphanumeric();
    !b.is_empty() && edge(b[0]) && edge(b[b.len() - 1]) && b.iter().all(|c| edge(*c) || matches!(c, b'-' | b'_' | b'.'))
}

/// `IsDNS1123Subdomain`, the syntax of most names. A `prefix` (`generateName`) may end in `-`.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push(too_long(253));
    }
    if !is_subdomain(&name) {
        let text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        wrong.push(regex_error(text, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

/// `IsDNS1123Label`: namespaces, containers, volumes, ….
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push(too_long(63));
    }
    if !is_label(&name) {
        wrong.push(if is_subdomain(&name) {
            "must not contain dots".into()
        } else {
            let text = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            regex_error(text, LABEL, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// `IsDNS1035Label`: services.
pub fn dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push(too_long(63));
    }
    if !is_label(&name) || !name.as_bytes()[0].is_ascii_lowercase() {
        let text = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        wrong.push(regex_error(text, DNS1035, &["my-name", "abc-123"]));
    }
    wrong
}

/// `IsQualifiedName`: the keys of labels, annotations, resources, taints: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let examples = &["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        ["", name] => {
            wrong.push("prefix part must be non-empty".into());
            name
        }
        [prefix, name] => {
            wrong.extend(dns_subdomain(prefix, false).into_iter().map(|e| format!("prefix part {e}")));
            name
        }
        _ => {
            let what = regex_error(QUALIFIED_TEXT, QUALIFIED, examples);
            return vec![format!(
                "a qualified name {what} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {}", regex_error(QUALIFIED_TEXT, QUALIFIED, examples)));
    }
    wrong
}

/// `IsValidLabelValue`
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > 63 {
        wrong.push(too_long(63));
    }
    if !value.is_empty() && !is_qualified(value) {
        let text = format!("a valid label must be an empty string or consist of {}", &QUALIFIED_TEXT[16..]);
        wrong.push(regex_error(&text, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// `IsValidPathSegmentName`, or with `prefix` `IsValidPathSegmentPrefix`: RBAC roles, ….
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// `IsConfigMapKey`: the keys of config maps and secrets.
pub fn config_map_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > 253 {
        wrong.push(too_long(253));
    }
    if key.is_empty() || !key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.')) {
        let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(regex_error(text, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match key {
        "." | ".." => wrong.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

/// `IsRelaxedEnvVarName`
pub fn env_var_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if name.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// `IsValidPortName`
pub fn port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push(too_long(15));
    }
    if name.is_empty() || !name.bytes().all(|c| lower(c) || c == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !name.bytes().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".into());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".into());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".into());
    }
    wrong
}

/// `IsValidPortNum`
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".into()] }
}

/// `IsHTTPHeaderName`
pub fn http_header_name(name: &str) -> Vec<String> {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[-A-Za-z0-9]+$").expect("a valid regex"));
    if HEADER.is_match(name) {
        return Vec::new();
    }
    let text = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(text, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_no_errors_and_bad_ones_do() {
        type Check = fn(&str) -> Vec<String>;
        let long = "a".repeat(64);
        let cases: &[(Check, &[&str], &[&str])] = &[
            (|n| dns_subdomain(n, false), &["a", "a.b-c.d", "1"], &["", "A", "a.", "-a", "a-", "a..b", "a_b"]),
            (|n| dns_subdomain(n, true), &["a-", "a.b-", "web"], &["", "-", "..-"]),
            (|n| dns_label(n, false), &["a", "1-b"], &["", "a.b", "A", &long]),
            (|n| dns1035_label(n, false), &["a1"], &["1a", "", "a.b"]),
            (qualified_name, &["a", "A_b.c", "x.io/Name"], &["", "/a", "a/", "A.b/c d", "a/b/c", "X/y", &long, "-a"]),
            (label_value, &["", "a", "A.b_c-d"], &["a b", "-a", "é", &long]),
            (|n| path_segment(n, false), &["a:b", "A"], &[".", "..", "a/b", "a%"]),
            (config_map_key, &["a.b", ".a", "-"], &["", "..", ".", "..a", "a/b"]),
            (env_var_name, &["A", "a b"], &["", "a=b", "é"]),
            (port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "A", "abcdefghijklmnop"]),
            (http_header_name, &["X-A"], &["", "a b"]),
        ];
        for (i, (check, good, bad)) in cases.iter().enumerate() {
            for g in *good {
                assert_eq!(check(g), Vec::<String>::new(), "case {i}: {g:?}");
            }
            for b in *bad {
                assert!(!check(b).is_empty(), "case {i}: {b:?}");
            }
        }
    }

    #[test]
    fn the_texts_are_upstreams() {
        assert_eq!(
            label_value("a b"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(dns_label("a.b", false), ["must not contain dots"]);
    }
}
