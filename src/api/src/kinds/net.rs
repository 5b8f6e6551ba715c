//! Addresses, ports and protocols, as several kinds check and show them.

use std::net::IpAddr;

use crate::field::{Error, Path};
use crate::names;

pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// `netutils.ParseIPSloppy`, without its leading zeros.
pub(crate) fn ip(errors: &mut Vec<Error>, path: &Path, text: &str) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        errors.push(Error::invalid(path, text, NOT_AN_IP));
    }
    parsed
}

/// `IsValidCIDR`
pub(crate) fn cidr(errors: &mut Vec<Error>, path: &Path, text: &str) -> Option<ipnet::IpNet> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(Error::invalid(path, text, detail));
    }
    parsed
}

/// `ValidateEndpointIP`: one that traffic may be sent to.
pub(crate) fn endpoint_ip(errors: &mut Vec<Error>, path: &Path, text: &str) {
    let Some(ip) = ip(errors, path, text) else { return };
    let local = match ip {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    let local_multicast = match ip {
        IpAddr::V4(a) => a.octets()[..3] == [224, 0, 0],
        IpAddr::V6(a) => a.octets()[0] == 0xff && a.octets()[1] & 0xf == 2,
    };
    let wrong = [
        (ip.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
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
