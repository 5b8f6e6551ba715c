//! Which value goes into which file of a control group.

use crate::Resources;

#[derive(Debug, PartialEq)]
pub(super) struct Value {
    pub controller: &'static str,
    pub file: String,
    pub text: String,
    /// A kernel without it is fine.
    pub optional: bool,
}

/// `container`: a leaf, which may have what a pod's group does not need.
pub(super) fn values(v2: bool, resources: &Resources, container: bool) -> Vec<Value> {
    let mut values = Vec::new();
    let mut put = |controller, file: &str, text: String, optional| {
        values.push(Value { controller, file: file.to_owned(), text, optional })
    };
    let limit = |n: i64| if n <= 0 { "max".to_owned() } else { n.to_string() };
    let period = resources.cpu_period_us.filter(|p| *p > 0);
    if v2 {
        if resources.cpu_shares > 0 {
            put("cpu", "cpu.weight", weight(resources.cpu_shares).to_string(), false);
        }
        if resources.cpu_quota_us.is_some() || period.is_some() {
            let quota = limit(resources.cpu_quota_us.unwrap_or(0));
            put("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000)), false);
        }
        if let Some(bytes) = resources.memory_limit_bytes {
            put("memory", "memory.max", limit(bytes), false);
        }
        if container {
            put("memory", "memory.oom.group", "1".to_owned(), true);
        }
        if let Some(pids) = resources.pids_limit {
            put("pids", "pids.max", limit(pids), false);
        }
    } else {
        if resources.cpu_shares > 0 {
            put("cpu", "cpu.shares", resources.cpu_shares.clamp(2, 262_144).to_string(), false);
        }
        if let Some(period) = period {
            put("cpu", "cpu.cfs_period_us", period.to_string(), false);
        }
        if let Some(quota) = resources.cpu_quota_us {
            put("cpu", "cpu.cfs_quota_us", if quota <= 0 { -1 } else { quota }.to_string(), false);
        }
        if let Some(bytes) = resources.memory_limit_bytes {
            put("memory", "memory.limit_in_bytes", if bytes <= 0 { -1 } else { bytes }.to_string(), false);
        }
        if let Some(pids) = resources.pids_limit {
            put("pids", "pids.max", limit(pids), false);
        }
    }
    for (size, bytes) in &resources.hugepages {
        let file = format!("hugetlb.{size}.{}", if v2 { "max" } else { "limit_in_bytes" });
        put("hugetlb", &file, bytes.to_string(), true);
    }
    values
}

/// Version 1's shares (2…262144) as version 2's weight (1…10000), the way Kubernetes converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(v2: bool, resources: &Resources, container: bool) -> Vec<String> {
        values(v2, resources, container).into_iter().map(|v| format!("{}={}", v.file, v.text)).collect()
    }

    #[test]
    fn limits_in_both_versions() {
        let resources = Resources {
            cpu_shares: 512,
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_limit_bytes: Some(64 << 20),
            pids_limit: Some(100),
            oom_score_adj: Some(999),
            hugepages: [("2MB".to_owned(), 4 << 20)].into(),
        };
        assert_eq!(
            lines(false, &resources, true),
            [
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=67108864",
                "pids.max=100",
                "hugetlb.2MB.limit_in_bytes=4194304",
            ]
        );
        assert_eq!(
            lines(true, &resources, true),
            [
                "cpu.weight=20",
                "cpu.max=50000 100000",
                "memory.max=67108864",
                "memory.oom.group=1",
                "pids.max=100",
                "hugetlb.2MB.max=4194304",
            ]
        );
    }

    #[test]
    fn nothing_and_no_limit() {
        assert!(lines(false, &Resources::default(), false).is_empty());
        assert!(lines(true, &Resources::default(), false).is_empty());
        let open = Resources {
            cpu_quota_us: Some(-1),
            memory_limit_bytes: Some(0),
            pids_limit: Some(-1),
            ..Default::default()
        };
        assert_eq!(lines(false, &open, false), ["cpu.cfs_quota_us=-1", "memory.limit_in_bytes=-1", "pids.max=max"]);
        assert_eq!(lines(true, &open, false), ["cpu.max=max 100000", "memory.max=max", "pids.max=max"]);
    }

    #[test]
    fn weights() {
        for (shares, want) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 1), (9_999_999, 10_000)] {
            assert_eq!(weight(shares), want, "{shares}");
        }
    }
}
