//! What a process costs that has nothing to do.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::report::Report;

/// Bursts of disk writes are told apart this finely.
const SAMPLE: Duration = Duration::from_millis(100);

pub async fn idle(pid: u32, seconds: u64) -> Result<Vec<Report>> {
    let (cpu, (bytes, mut before)) = (cpu_seconds(pid)?, (written(pid)?, written(pid)?));
    let mut bursts = 0;
    for _ in 0..(seconds * 1000 / SAMPLE.as_millis() as u64) {
        tokio::time::sleep(SAMPLE).await;
        let now = written(pid)?;
        bursts += u64::from(now > before);
        before = now;
    }
    let s = seconds as f64;
    let mut reports = vec![
        Report::new(format!("idle for {seconds} s"))
            .with("resident", rss_mb(pid)?, "MB")
            .with("CPU", (cpu_seconds(pid)? - cpu) / s * 100.0, "% of a core")
            .with("disk bursts written", bursts as f64 / s, "1/s")
            .with("disk written", (before - bytes) as f64 / s / 1e3, "KB/s"),
    ];
    let shims: Vec<f64> = shims(pid).into_iter().filter_map(|p| rss_mb(p).ok()).collect();
    if !shims.is_empty() {
        let max = shims.iter().copied().fold(0.0, f64::max);
        let mean = shims.iter().sum::<f64>() / shims.len() as f64;
        reports.push(
            Report::new("shims").with("number", shims.len() as f64, "").with("mean", mean, "MB").with("max", max, "MB"),
        );
    }
    Ok(reports)
}

fn proc(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid}"))
}

/// The number after `name` in a file of `name value` lines.
fn field(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

pub fn rss_mb(pid: u32) -> Result<f64> {
    Ok(field(&proc(pid, "status")?, "VmRSS:")? * 1024.0 / 1e6)
}

fn written(pid: u32) -> Result<u64> {
    Ok(field(&proc(pid, "io")?, "write_bytes:")? as u64)
}

pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = proc(pid, "stat")?;
    // after the name, which may hold anything: state is the third field, utime and stime the 14th and 15th
    let fields: Vec<_> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks / per_second as f64)
}

/// Processes of the same binary that run as `shim`.
fn shims(of: u32) -> Vec<u32> {
    let exe = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let Some(ours) = exe(of) else { return Vec::new() };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != of && exe(*pid).as_ref() == Some(&ours))
        .filter(|pid| proc(*pid, "cmdline").is_ok_and(|c| c.split('\0').any(|arg| arg == "shim")))
        .collect()
}
