//! Kernel settings of the network namespace that the caller is in.

/// Sets `net/<key>` unless it is so already. A host that forbids it is told of, not failed on.
pub fn set(key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    if current.trim() != value
        && let Err(error) = std::fs::write(&path, value)
    {
        tracing::warn!(%key, %error, "cannot set sysctl");
    }
}

pub fn get(key: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/net/{key}")).ok()?.trim().to_owned())
}
