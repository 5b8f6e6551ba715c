//! Where a process is, a hundred times a second: the stacks of those of its threads that run.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use apiserver::profile::Profile;
use nix::unistd::Pid;

use super::modules::Modules;
use super::thread::look;

const PERIOD: Duration = Duration::from_millis(10);
/// `USER_HZ`: the kernel's figures for processes are in hundredths on every architecture.
const TICK: Duration = Duration::from_millis(10);

pub struct Samples {
    modules: Modules,
    /// How often a thread was seen with a stack, by its name and the addresses, the innermost first.
    stacks: HashMap<(String, Vec<u64>), u64>,
    began: SystemTime,
    duration: Duration,
    /// What the process used of the processors meanwhile.
    cpu: Duration,
}

/// Watches `pid` for `duration`, or until it ends. Errors in words for the operator.
pub fn sample(pid: Pid, duration: Duration) -> Result<Samples, String> {
    let failed = |what: &str, e: io::Error| format!("{what} process {pid}: {e}");
    let mut modules = Modules::of(pid).map_err(|e| failed("cannot read the maps of", e))?;
    let (mut stack, mut stacks) = (Vec::new(), HashMap::new());
    // a system that forbids it is found out at once
    look(pid, &mut stack).map_err(|e| failed("may not look at (it takes CAP_SYS_PTRACE)", e.into()))?;
    let (began, start, before) = (SystemTime::now(), Instant::now(), used(pid));
    let mut next = start;
    while start.elapsed() < duration {
        let Ok(threads) = running(pid) else { break };
        for (tid, name) in threads {
            if let Ok(Some(registers)) = look(tid, &mut stack)
                && !registers.is_asleep()
            {
                *stacks.entry((name, modules.walk(&registers, &stack))).or_insert(0) += 1;
            }
        }
        next = (next + PERIOD).max(Instant::now());
        std::thread::sleep(next.min(start + duration).saturating_duration_since(Instant::now()));
    }
    let cpu = used(pid).saturating_sub(before);
    Ok(Samples { modules, stacks, began, duration: start.elapsed(), cpu })
}

/// The third word of `/proc/PID/stat` and those after it; the second is a name that may have any character.
fn after_name(stat: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    Some((name, rest.split_whitespace()))
}

/// The threads that run or are ready to, with their names.
fn running(pid: Pid) -> io::Result<Vec<(Pid, String)>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        let tid = path.file_name().and_then(|n| n.to_str()?.parse().ok());
        // it may have ended
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        if let (Some(tid), Some((name, mut rest))) = (tid, after_name(&stat))
            && rest.next() == Some("R")
        {
            out.push((Pid::from_raw(tid), name.to_owned()));
        }
    }
    Ok(out)
}

/// Processor time since the start of `pid`.
fn used(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = |rest: &mut dyn Iterator<Item = &str>| -> u32 {
        rest.skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum()
    };
    after_name(&stat).map_or(Duration::ZERO, |(_, mut rest)| TICK * ticks(&mut rest))
}

impl Samples {
    /// As pprof reads it. The time that the process used is spread evenly over the samples.
    pub fn encode(&self) -> Vec<u8> {
        let mut profile = Profile::new(&[("samples", "count"), ("cpu", "nanoseconds")], PERIOD.as_nanos() as u64);
        let mappings: Vec<u64> = self.modules.mappings().map(|m| profile.mapping(m)).collect();
        let all: u64 = self.stacks.values().sum();
        let each = self.cpu.as_nanos() as u64 / all.max(1);
        for ((thread, stack), count) in &self.stacks {
            let mut place = |address: u64| match self.modules.find(address) {
                Some((mapping, name)) => profile.address(mappings[mapping], address, name.as_deref()),
                None => profile.address(0, address, None),
            };
            let locations: Vec<u64> = stack.iter().map(|a| place(*a)).collect();
            profile.sample(&locations, &[*count, count * each], &[("thread", thread)]);
        }
        profile.finish(self.began, self.duration)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const BUSY: &str = "SKIFF_TEST_BUSY";

    struct Busy(Child);
    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[inline(never)]
    fn spin(depth: u32) -> u64 {
        let below =
            if depth == 0 { (0..5_000_000u64).fold(1, |n, i| std::hint::black_box(n ^ i)) } else { spin(depth - 1) };
        std::hint::black_box(below + 1)
    }

    /// Not a test, but what the next one looks at, in a process of its own.
    #[test]
    fn busy() {
        while std::env::var_os(BUSY).is_some() {
            spin(20);
        }
    }

    #[test]
    fn a_busy_process_is_seen_with_its_stacks() {
        let name = std::any::type_name_of_val(&busy).split_once("::").unwrap().1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--test-threads=1"]).env(BUSY, "1").stdout(Stdio::null());
        let child = Busy(command.spawn().unwrap());
        let pid = Pid::from_raw(child.0.id().try_into().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        let seen = loop {
            let seen = sample(pid, Duration::from_millis(500)).unwrap();
            // it may still be starting
            let deep: u64 = seen.stacks.iter().filter(|((_, s), _)| s.len() > 25).map(|(_, n)| n).sum();
            if deep >= 5 || Instant::now() > deadline {
                assert!(deep >= 5, "{:?}", seen.stacks);
                break seen;
            }
        };
        assert!(seen.cpu > Duration::ZERO && seen.duration >= Duration::from_millis(500));
        let spins = |a: &u64| seen.modules.find(*a).and_then(|(_, name)| name).is_some_and(|n| n.contains("spin"));
        let inside = |s: &[u64]| s.iter().filter(|a| spins(a)).count() > 20;
        assert!(seen.stacks.keys().any(|(_, s)| inside(s)), "{:?}", seen.stacks);
        assert!(seen.encode().starts_with(&[0x1f, 0x8b]));
        assert!(sample(Pid::from_raw(i32::MAX), Duration::ZERO).is_err());
    }
}
