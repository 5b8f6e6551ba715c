//! Reading a control group's accounts, as cAdvisor counts them.

/// What a group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Usage without the file cache that can be dropped at once.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    pub pids: u64,
}

pub(super) fn v1(cpu: &str, memory: &str, memory_stat: &str, pids: &str) -> Usage {
    let memory_bytes = number(memory);
    let stat = |name| field(memory_stat, name).unwrap_or(0);
    Usage {
        cpu_nanos: number(cpu),
        memory_bytes,
        working_set_bytes: memory_bytes.saturating_sub(stat("total_inactive_file")),
        rss_bytes: stat("total_rss"),
        pids: number(pids),
    }
}

pub(super) fn v2(cpu_stat: &str, memory: &str, memory_stat: &str, pids: &str) -> Usage {
    let memory_bytes = number(memory);
    let stat = |name| field(memory_stat, name).unwrap_or(0);
    Usage {
        cpu_nanos: field(cpu_stat, "usage_usec").unwrap_or(0) * 1000,
        memory_bytes,
        working_set_bytes: memory_bytes.saturating_sub(stat("inactive_file")),
        rss_bytes: stat("anon"),
        pids: number(pids),
    }
}

/// The number behind `name` in a file of `name number` lines.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let want = Usage { cpu_nanos: 5000, memory_bytes: 100, working_set_bytes: 70, rss_bytes: 20, pids: 3 };
        let stat = "cache 10\nrss 1\ninactive_file 2\ntotal_rss 20\ntotal_inactive_file 30\n";
        assert_eq!(v1("5000\n", "100\n", stat, "3\n"), want);
        assert_eq!(v2("usage_usec 5\nuser_usec 1\n", "100\n", "anon 20\ninactive_file 30\n", "3\n"), want);
        assert_eq!(v1("", "", "", ""), Usage::default());
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", "oom_kill"), Some(4));
    }
}
