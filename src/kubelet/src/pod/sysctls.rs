//! Which sysctls a pod may set: upstream's safe list.

use api::k8s_openapi::api::core::v1::PodSpec;

use super::status::Failure;

const SAFE: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
];

pub(crate) fn forbidden(spec: &PodSpec) -> Option<Failure> {
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    let bad =
        sysctls.map(|s| s.name.replace('/', ".")).find(|n| !SAFE.contains(&n.as_str()) && n != "net.ipv4.tcp_wmem")?;
    let message = format!("forbidden sysctl: {bad:?} not allowlisted");
    Some(Failure { reason: "SysctlForbidden".into(), message, disrupted: None })
}
