//! Figures, and how they are shown.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Report {
    /// What was measured; the same text on both sides of a table.
    pub name: String,
    pub figures: Vec<Figure>,
}

#[derive(Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

impl Report {
    pub fn new(name: impl Into<String>) -> Report {
        Report { name: name.into(), figures: Vec::new() }
    }
    pub fn with(mut self, name: &str, value: f64, unit: &str) -> Report {
        self.figures.push(Figure { name: name.into(), value, unit: unit.into() });
        self
    }
    /// Median, 99th percentile and maximum, in milliseconds.
    pub fn percentiles(self, mut times: Vec<Duration>) -> Report {
        times.sort_unstable();
        let at = |q: f64| {
            let i = ((times.len() as f64 * q).ceil() as usize).clamp(1, times.len().max(1)) - 1;
            times.get(i).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        let (median, p99, max) = (at(0.5), at(0.99), at(1.0));
        self.with("p50", median, "ms").with("p99", p99, "ms").with("max", max, "ms")
    }
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("a report is JSON"));
            return;
        }
        let figures: Vec<_> =
            self.figures.iter().map(|f| format!("{} {} {}", f.name, number(f.value), f.unit)).collect();
        println!("{}: {}", self.name, figures.join(", "));
    }
}

fn number(v: f64) -> String {
    match v.abs() {
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        _ => format!("{v:.2}"),
    }
}

/// Two runs beside each other. The ratio says how many times better ours is, whichever way better is.
pub fn table(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    println!("| measured | figure | skiff | upstream | better by |\n|---|---|---:|---:|---:|");
    for report in &ours {
        let other = theirs.iter().find(|r| r.name == report.name);
        for f in &report.figures {
            let peer = other.and_then(|r| r.figures.iter().find(|p| p.name == f.name));
            let more_is_better = f.unit.ends_with("/s") && !f.name.contains("written");
            let ratio = peer.map(|p| if more_is_better { f.value / p.value } else { p.value / f.value });
            let show = |v: f64| format!("{} {}", number(v), f.unit);
            let ratio = ratio.filter(|r| r.is_finite() && !f.unit.is_empty() && f.unit != "MB/list");
            println!(
                "| {} | {} | {} | {} | {} |",
                report.name,
                f.name,
                show(f.value),
                peer.map_or("-".into(), |p| show(p.value)),
                ratio.map_or("-".into(), |r| format!("{}×", number(r)))
            );
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Report>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().filter(|l| l.starts_with('{')).map(|l| Ok(serde_json::from_str(l)?)).collect()
}
