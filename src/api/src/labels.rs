//! Label and field selectors, and the syntax of names and labels (upstream's `util/validation`).

/// What is wrong with `name` as a DNS-1123 subdomain; empty: nothing. A `prefix` may end in `-`.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = if prefix { name.trim_end_matches('-') } else { name };
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push("must be no more than 253 bytes".into());
    }
    let part = |p: &str| {
        let b = p.as_bytes();
        let edge = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !b.is_empty() && edge(&b[0]) && edge(&b[b.len() - 1]) && b.iter().all(|c| edge(c) || *c == b'-')
    };
    if !name.split('.').all(part) {
        wrong.push("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".into());
    }
    wrong
}
