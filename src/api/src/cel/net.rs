//! Kubernetes' types in expressions: URLs, addresses, networks, semantic versions, named formats.

use std::net::IpAddr;

use ipnet::IpNet;

use super::value::{Url, Value};
use crate::names;

pub fn ip(s: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = s.parse().map_err(|_| {
        format!("IP Address {s:?} parse error during conversion from string: ParseAddr({s:?}): unable to parse IP")
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err("IPv4-mapped IPv6 address is not allowed".into()),
        ip => Ok(ip),
    }
}

pub fn cidr(s: &str) -> Result<IpNet, String> {
    let wrong =
        || format!("network address parse error during conversion from string: netip.ParsePrefix({s:?}): no '/'");
    let net: IpNet = s.parse().map_err(|_| wrong())?;
    // neither zones nor prefixes with leading zeros
    let length = s.rsplit_once('/').map_or("", |(_, l)| l);
    if length.len() > 1 && length.starts_with('0') { Err(wrong()) } else { Ok(net) }
}

/// As Go's `url.ParseRequestURI`: absolute, or an absolute path.
pub fn url(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = match text.split_once(':') {
        _ if text.starts_with('/') => ("", text),
        Some((s, rest))
            if s.starts_with(|c: char| c.is_ascii_alphabetic())
                && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) =>
        {
            (s, rest)
        }
        _ => return Err(wrong("invalid URI for request")),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None if scheme.is_empty() || rest.starts_with('/') => ("", rest),
        None => return Err(wrong("invalid URI for request")),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, h)| h);
    if host.contains(' ') {
        return Err(wrong("invalid character \" \" in host name"));
    }
    Ok(Url {
        text: text.to_owned(),
        scheme: scheme.to_lowercase(),
        host: host.to_owned(),
        path: path.replace(' ', "%20"),
        query: query.to_owned(),
    })
}

impl Url {
    fn hostname(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }
    fn port(&self) -> &str {
        let after =
            if self.host.starts_with('[') { self.host.rsplit(']').next().unwrap_or_default() } else { &self.host };
        after.rsplit_once(':').map_or("", |(_, p)| p)
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let hex = text.get(i + 1..i + 3).filter(|_| bytes[i] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok());
        match (hex, bytes[i]) {
            (Some(b), _) => {
                out.push(b);
                i += 3;
                continue;
            }
            (None, b'+') => out.push(b' '),
            (None, b) => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Major, minor and patch with what follows; `normalize` forgives a `v`, missing parts and leading zeros.
pub fn semver(s: &str, normalize: bool) -> Result<([u64; 3], String), String> {
    let wrong = || format!("Invalid Semver format: {s:?}");
    let text = if normalize { s.strip_prefix('v').unwrap_or(s) } else { s };
    let (text, _build) = text.split_once('+').unwrap_or((text, ""));
    let (core, pre) = text.split_once('-').unwrap_or((text, ""));
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() > 3 || parts.len() < 3 && !normalize {
        return Err(wrong());
    }
    let mut out = [0; 3];
    for (i, p) in parts.iter().enumerate() {
        let digits = !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
        if !digits || p.len() > 1 && p.starts_with('0') && !normalize {
            return Err(wrong());
        }
        out[i] = p.parse().map_err(|_| wrong())?;
    }
    Ok((out, pre.to_owned()))
}

const FORMATS: [&str; 15] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
    "k8s-short-name",
    "k8s-long-name",
];

pub fn format_named(name: &str) -> Option<&'static str> {
    FORMATS.into_iter().find(|f| *f == name)
}

/// What is wrong with a text.
fn format_errors(format: &str, s: &str) -> Vec<String> {
    match format {
        "dns1123Label" => names::dns_label(s, false),
        "dns1123Subdomain" => names::dns_subdomain(s, false),
        "dns1035Label" => names::dns1035_label(s, false),
        "dns1123LabelPrefix" => names::dns_label(s, true),
        "dns1123SubdomainPrefix" => names::dns_subdomain(s, true),
        "dns1035LabelPrefix" => names::dns1035_label(s, true),
        "qualifiedName" => names::qualified_name(s),
        "labelValue" => names::label_value(s),
        other if crate::crd::format_holds(other, s) => Vec::new(),
        "uri" => vec!["invalid URI".into()],
        "uuid" => vec!["does not match the UUID format".into()],
        "byte" => vec!["invalid base64".into()],
        other => vec![format!("invalid {other}")],
    }
}

/// Functions of these types; `None`: there is no such function.
pub fn method<'a>(name: &str, of: &Value<'a>, args: &[Value<'a>]) -> Option<Result<Value<'a>, String>> {
    use Value::{Bool, Cidr, Int, Ip, Semver, String};
    let text = |s: &str| Value::string(s);
    Some(Ok(match (of, name, args) {
        (Value::Url(u), "getScheme", []) => text(&u.scheme),
        (Value::Url(u), "getHost", []) => text(&u.host),
        (Value::Url(u), "getHostname", []) => text(u.hostname()),
        (Value::Url(u), "getPort", []) => text(u.port()),
        (Value::Url(u), "getEscapedPath", []) => text(&u.path),
        (Value::Url(u), "getQuery", []) => {
            let mut all: Vec<(Value<'a>, Vec<Value<'a>>)> = Vec::new();
            for pair in u.query.split('&').filter(|p| !p.is_empty()) {
                let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
                let (k, v) = (Value::string(decoded(k)), Value::string(decoded(v)));
                match all.iter_mut().find(|(key, _)| key.equals(&k)) {
                    Some((_, values)) => values.push(v),
                    None => all.push((k, vec![v])),
                }
            }
            Value::Map(std::rc::Rc::new(all.into_iter().map(|(k, v)| (k, Value::list(v))).collect()))
        }
        (Ip(a), "family", []) => Int(if a.is_ipv4() { 4 } else { 6 }),
        (Ip(a), "isUnspecified", []) => Bool(a.is_unspecified()),
        (Ip(a), "isLoopback", []) => Bool(a.is_loopback()),
        (Ip(a), "isLinkLocalMulticast", []) => Bool(match a {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }),
        (Ip(a), "isLinkLocalUnicast", []) => Bool(link_local(a)),
        (Ip(a), "isGlobalUnicast", []) => {
            let broadcast = matches!(a, IpAddr::V4(v4) if v4.is_broadcast());
            Bool(!a.is_unspecified() && !a.is_loopback() && !a.is_multicast() && !link_local(a) && !broadcast)
        }
        (Cidr(c), "containsIP", [Ip(a)]) => Bool(c.contains(a)),
        (Cidr(c), "containsIP", [String(s)]) => match ip(s) {
            Ok(a) => Bool(c.contains(&a)),
            Err(e) => return Some(Err(e)),
        },
        (Cidr(c), "containsCIDR", [Cidr(o)]) => Bool(c.contains(o)),
        (Cidr(c), "containsCIDR", [String(s)]) => match cidr(s) {
            Ok(o) => Bool(c.contains(&o)),
            Err(e) => return Some(Err(e)),
        },
        (Cidr(c), "ip", []) => Ip(c.addr()),
        (Cidr(c), "masked", []) => Cidr(c.trunc()),
        (Cidr(c), "prefixLength", []) => Int(i64::from(c.prefix_len())),
        (Semver(s), "major", []) => Int(s.0[0] as i64),
        (Semver(s), "minor", []) => Int(s.0[1] as i64),
        (Semver(s), "patch", []) => Int(s.0[2] as i64),
        (Semver(_), "isLessThan", [o @ Semver(_)]) => Bool(of.compare(o)?.is_lt()),
        (Semver(_), "isGreaterThan", [o @ Semver(_)]) => Bool(of.compare(o)?.is_gt()),
        (Semver(_), "compareTo", [o @ Semver(_)]) => Int(of.compare(o)? as i64),
        (Value::Format(f), "validate", [String(s)]) => {
            let wrong = format_errors(f, s);
            if wrong.is_empty() {
                Value::Optional(None)
            } else {
                Value::some(Value::list(wrong.into_iter().map(Value::string).collect()))
            }
        }
        _ => return None,
    }))
}

fn link_local(a: &IpAddr) -> bool {
    match a {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
