//! Addresses, ports and protocols, as several kinds check and show them.

use std::net::IpAddr;

use crate::field::{Error, Path};
use crate::names;

pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// `netutils.ParseIPSloppy`: leading zeros are let pass.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| without_zeros(text)?.parse().ok())
}

/// A dotted quad without the zeros that its parts begin with.
fn without_zeros(text: &str) -> Option<String> {
    let part = |p: &str| {
        let rest = p.trim_start_matches('0');
        (!p.is_empty()).then(|| if rest.is_empty() { "0".to_owned() } else { rest.to_owned() })
    };
    text.split('.').map(part).collect::<Option<Vec<_>>>().map(|p| p.join("."))
}

/// `IsValidIPForLegacyField`, as `StrictIPCIDRValidation` has it.
pub(crate) fn ip(errors: &mut Vec<Error>, path: &Path, text: &str) -> Option<IpAddr> {
    strict_ip(text).map_err(|detail| errors.push(Error::invalid(path, text, detail))).ok()
}

fn strict_ip(text: &str) -> Result<IpAddr, &'static str> {
    match text.parse() {
        Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => Err("must not be an IPv4-mapped IPv6 address"),
        Ok(ip) => Ok(ip),
        Err(_) if sloppy(text).is_some() => Err("must not have leading 0s"),
        Err(_) => Err(NOT_AN_IP),
    }
}

/// `IsValidIP`: for newer fields, which take one way to write an address only.
pub(crate) fn canonical_ip(text: &str) -> Option<String> {
    match strict_ip(text) {
        Err(detail) => Some(detail.into()),
        Ok(ip) if ip.to_string() != text => Some(format!("must be in canonical form (\"{ip}\")")),
        Ok(_) => None,
    }
}

/// `netutils.ParseCIDRSloppy`
pub(crate) fn sloppy_cidr(text: &str) -> Option<ipnet::IpNet> {
    let (ip, length) = text.split_once('/').filter(|(_, length)| !length.is_empty())?;
    let length = length.trim_start_matches('0');
    format!("{}/{}", sloppy(ip)?, if length.is_empty() { "0" } else { length }).parse().ok()
}

/// `IsValidCIDRForLegacyField`, as `StrictIPCIDRValidation` has it.
pub(crate) fn cidr(errors: &mut Vec<Error>, path: &Path, text: &str) -> Option<ipnet::IpNet> {
    // the crate's parser lets zeros pass
    let strict =
        |(ip, length): &(&str, &str)| ip.parse::<IpAddr>().is_ok() && (*length == "0" || !length.starts_with('0'));
    let parsed: Option<ipnet::IpNet> = text.split_once('/').filter(strict).and_then(|_| text.parse().ok());
    let mapped = |n: &ipnet::IpNet| matches!(n.addr(), IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
    let detail = match &parsed {
        Some(n) if mapped(n) => "must not have an IPv4-mapped IPv6 address",
        Some(n) if n.addr() != n.network() => "must not have bits set beyond the prefix length",
        Some(_) => return parsed,
        _ if sloppy_cidr(text).is_some() => "must not have leading 0s in IP or prefix length",
        _ => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    };
    errors.push(Error::invalid(path, text, detail));
    None
}

/// `IsValidInterfaceAddress`: an address with the length of its network.
pub(crate) fn interface_address(errors: &mut Vec<Error>, path: &Path, text: &str) {
    let Some(net) = sloppy_cidr(text) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return errors.push(Error::invalid(path, text, detail));
    };
    // Go shows an IPv4-mapped address as the IPv4 one
    let (ip, length) = match (net.addr(), net.addr().to_canonical()) {
        (IpAddr::V6(_), ip @ IpAddr::V4(_)) => (ip, net.prefix_len().saturating_sub(96)),
        (ip, _) => (ip, net.prefix_len()),
    };
    let canonical = format!("{ip}/{length}");
    if text != canonical {
        errors.push(Error::invalid(path, text, format!("must be in canonical form ({canonical:?})")));
    }
}

/// `ValidateEndpointIP`: one that traffic may be sent to.
pub(crate) fn endpoint_ip(errors: &mut Vec<Error>, path: &Path, text: &str) {
    let Some(ip) = sloppy(text) else {
        return errors.push(Error::invalid(path, text, "must be a valid IP address"));
    };
    let ip = ip.to_canonical();
    let local = match ip {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    let local_multicast = match ip {
        IpAddr::V4(a) => a.octets()[..3] == [224, 0, 0],
        IpAddr::V6(a) => a.octets()[0] == 0xff && a.octets()[1] & 0xf == 2,
    };
    if ip.is_unspecified() {
        errors.push(Error::invalid(path, text, format!("may not be unspecified ({text})")));
    }
    let wrong = [
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    errors.extend(wrong.iter().filter(|(w, _)| *w).map(|(_, why)| Error::invalid(path, text, why)));
}

pub(crate) fn port_number(errors: &mut Vec<Error>, path: &Path, port: i64) {
    errors.extend(names::port_number(port).into_iter().map(|e| Error::invalid(path, port, e)));
}

/// A protocol that must be given.
pub(crate) fn protocol(errors: &mut Vec<Error>, path: &Path, protocol: &str) {
    if protocol.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !PROTOCOLS.contains(&protocol) {
        errors.push(Error::not_supported(path, protocol, PROTOCOLS));
    }
}

/// Go's `net.JoinHostPort`.
pub(crate) fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: impl Fn(&mut Vec<Error>, &Path)) -> String {
        let mut errors = Vec::new();
        check(&mut errors, &Path::root("f"));
        errors.iter().map(|e| e.message.split_once(": ").map_or("", |(_, rest)| rest)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn addresses_are_read_strictly() {
        for (text, want) in [
            ("10.0.0.1", ""),
            ("fd00::1", ""),
            ("10.0.0.01", r#""10.0.0.01": must not have leading 0s"#),
            ("::ffff:10.0.0.1", r#""::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address"#),
            ("10.0.0", r#""10.0.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#),
        ] {
            assert_eq!(said(|e, p| _ = ip(e, p, text)), want);
        }
        for (text, want) in [
            ("10.0.0.0/8", ""),
            ("::/0", ""),
            ("010.0.0.0/8", r#""010.0.0.0/8": must not have leading 0s in IP or prefix length"#),
            ("10.0.0.0/08", r#""10.0.0.0/08": must not have leading 0s in IP or prefix length"#),
            ("10.0.0.1/8", r#""10.0.0.1/8": must not have bits set beyond the prefix length"#),
            ("::ffff:1.2.3.0/120", r#""::ffff:1.2.3.0/120": must not have an IPv4-mapped IPv6 address"#),
            ("10.0.0.0", r#""10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#),
            ("10.0.0.0/", r#""10.0.0.0/": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#),
        ] {
            assert_eq!(said(|e, p| _ = cidr(e, p, text)), want);
        }
        for (text, want) in [
            ("10.0.0.1", ""),
            ("x", r#""x": must be a valid IP address"#),
            ("0.0.0.0", r#""0.0.0.0": may not be unspecified (0.0.0.0)"#),
            ("127.0.0.1", r#""127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#),
            ("169.254.0.1", r#""169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#),
        ] {
            assert_eq!(said(|e, p| endpoint_ip(e, p, text)), want);
        }
        for (text, want) in [
            ("10.0.0.1/8", ""),
            ("fd00::1/64", ""),
            ("::ffff:10.0.0.1/120", r#""::ffff:10.0.0.1/120": must be in canonical form ("10.0.0.1/24")"#),
            ("::ffff:10.0.0.1/64", r#""::ffff:10.0.0.1/64": must be in canonical form ("10.0.0.1/0")"#),
            ("10.0.0.1/", r#""10.0.0.1/": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"#),
        ] {
            assert_eq!(said(|e, p| interface_address(e, p, text)), want);
        }
        assert_eq!(canonical_ip("2001:db8:0::1").as_deref(), Some(r#"must be in canonical form ("2001:db8::1")"#));
        assert_eq!(canonical_ip("10.0.0.1"), None);
    }
}
