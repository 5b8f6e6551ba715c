//! What is left of memory, bytes and inodes, and the least that must be. Pure but for [`Signals::read`].

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::node::machine::{FileSystem, file_system, meminfo};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Memory,
    NodeFs,
    NodeFsInodes,
    ImageFs,
    ImageFsInodes,
}

const ALL: [(Signal, &str); 5] = [
    (Signal::Memory, "memory.available"),
    (Signal::NodeFs, "nodefs.available"),
    (Signal::NodeFsInodes, "nodefs.inodesFree"),
    (Signal::ImageFs, "imagefs.available"),
    (Signal::ImageFsInodes, "imagefs.inodesFree"),
];

impl Signal {
    pub fn is_disk(self) -> bool {
        self != Signal::Memory
    }
    /// As an eviction's message names what is short.
    pub fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::NodeFs | Signal::ImageFs => "ephemeral-storage",
            Signal::NodeFsInodes | Signal::ImageFsInodes => "inodes",
        }
    }
    /// As fast as it is taken to run out, a second.
    fn rate(self) -> u64 {
        match self {
            Signal::Memory | Signal::NodeFs | Signal::ImageFs => 256 << 20,
            Signal::NodeFsInodes | Signal::ImageFsInodes => 50_000,
        }
    }
}

/// Of which there is `available` in `capacity`; a capacity of 0: nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub available: u64,
    pub capacity: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pub memory: Amount,
    pub node: FileSystem,
    pub images: FileSystem,
}

impl Signals {
    pub fn read(node: &Path, images: &Path) -> Signals {
        let number = |name| u64::try_from(meminfo(name)).unwrap_or(0);
        let memory = Amount { available: number("MemAvailable"), capacity: number("MemTotal") };
        Signals { memory, node: file_system(node), images: file_system(images) }
    }

    fn of(&self, signal: Signal) -> Amount {
        let bytes = |f: &FileSystem| Amount { available: f.available_bytes, capacity: f.usable_bytes() };
        let inodes = |f: &FileSystem| Amount { available: f.inodes_free, capacity: f.inodes };
        match signal {
            Signal::Memory => self.memory,
            Signal::NodeFs => bytes(&self.node),
            Signal::NodeFsInodes => inodes(&self.node),
            Signal::ImageFs => bytes(&self.images),
            Signal::ImageFsInodes => inodes(&self.images),
        }
    }

    /// As `df` counts it: what is kept back for root is neither used nor free.
    pub fn image_use_percent(&self) -> u8 {
        let all = self.images.usable_bytes();
        if all == 0 {
            return 0;
        }
        let used = all.saturating_sub(self.images.available_bytes);
        u8::try_from(u128::from(used) * 100 / u128::from(all)).unwrap_or(100)
    }

    /// How many bytes must go for a use of `percent`.
    pub fn bytes_above(&self, percent: u8) -> u64 {
        let all = self.images.usable_bytes();
        let allowed = (u128::from(all) * u128::from(percent) / 100) as u64;
        all.saturating_sub(self.images.available_bytes).saturating_sub(allowed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Percent(f64),
    /// Bytes, or inodes.
    Amount(u64),
}

impl Limit {
    fn of(self, capacity: u64) -> u64 {
        match self {
            Limit::Percent(p) => (capacity as f64 * p / 100.0) as u64,
            Limit::Amount(n) => n,
        }
    }
}

/// `--eviction-hard`: the node is under pressure where less is available. The default is upstream's.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds(Vec<(Signal, Limit)>);

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds(vec![
            (Signal::Memory, Limit::Amount(100 << 20)),
            (Signal::NodeFs, Limit::Percent(10.0)),
            (Signal::NodeFsInodes, Limit::Percent(5.0)),
            (Signal::ImageFs, Limit::Percent(15.0)),
            (Signal::ImageFsInodes, Limit::Percent(5.0)),
        ])
    }
}

/// `imagefs.available<5%,memory.available<100Mi`. What is not named keeps no limit, as upstream; empty: none at all.
impl FromStr for Thresholds {
    type Err = String;
    fn from_str(text: &str) -> Result<Thresholds, String> {
        let one = |part: &str| {
            let (name, limit) = part.split_once('<').ok_or_else(|| format!("expected SIGNAL<LIMIT, not {part:?}"))?;
            let signal = ALL.iter().find(|(_, n)| *n == name.trim()).map(|(s, _)| *s);
            let signal = signal.ok_or_else(|| format!("unknown signal {name:?}"))?;
            let limit = limit.trim();
            let wrong = || format!("{limit:?} is neither a percentage nor a quantity");
            let limit = match limit.strip_suffix('%') {
                Some(p) => Limit::Percent(p.parse().ok().filter(|p| (0.0..=100.0).contains(p)).ok_or_else(wrong)?),
                None => {
                    let q: api::quantity::Quantity = limit.parse().map_err(|_| wrong())?;
                    Limit::Amount(u64::try_from(q.value()).map_err(|_| wrong())?)
                }
            };
            Ok((signal, limit))
        };
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(one).collect::<Result<_, _>>().map(Thresholds)
    }
}

/// A threshold that is not held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Short {
    pub signal: Signal,
    pub threshold: u64,
    pub available: u64,
}

impl Thresholds {
    pub(crate) fn memory_bytes(&self, capacity: u64) -> u64 {
        self.0.iter().find(|(s, _)| *s == Signal::Memory).map_or(0, |(_, limit)| limit.of(capacity))
    }

    /// Memory first: it kills faster.
    pub(crate) fn met(&self, signals: &Signals) -> Vec<Short> {
        let mut short: Vec<Short> =
            self.left(signals).filter(|(s, _)| s.available < s.threshold).map(|s| s.0).collect();
        short.sort_by_key(|s| s.signal);
        short
    }

    fn left<'a>(&'a self, signals: &'a Signals) -> impl Iterator<Item = (Short, u64)> {
        self.0.iter().filter_map(move |(signal, limit)| {
            let amount = signals.of(*signal);
            let threshold = limit.of(amount.capacity);
            let short = Short { signal: *signal, threshold, available: amount.available };
            let room = amount.available.saturating_sub(threshold);
            (amount.capacity > 0).then_some((short, room))
        })
    }

    /// How long until the first could be short.
    pub(crate) fn pause(&self, signals: &Signals) -> Duration {
        let seconds = self.left(signals).map(|(s, room)| room / s.signal.rate()).min();
        Duration::from_secs(seconds.unwrap_or(60).clamp(5, 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(free_percent: u64) -> FileSystem {
        FileSystem {
            capacity_bytes: 110 << 30,
            free_bytes: (free_percent << 30) + (10 << 30),
            available_bytes: free_percent << 30,
            inodes: 10_000_000,
            inodes_free: 5_000_000,
        }
    }

    #[test]
    fn thresholds_are_met_in_time() {
        let memory = |mib: u64| Amount { available: mib << 20, capacity: 1 << 30 };
        let limits = Thresholds::default();
        for (mib, free, want, pause) in [
            (500, 50, vec![], 5),
            (90, 50, vec![Signal::Memory], 5),
            (500, 14, vec![Signal::ImageFs], 5),
            (99, 9, vec![Signal::Memory, Signal::NodeFs, Signal::ImageFs], 5),
        ] {
            let s = Signals { memory: memory(mib), node: full(free), images: full(free) };
            assert_eq!(limits.met(&s).iter().map(|s| s.signal).collect::<Vec<_>>(), want, "{mib} {free}");
            assert_eq!(limits.pause(&s).as_secs(), pause);
        }
        let rich = Amount { available: 20 << 30, capacity: 24 << 30 };
        assert_eq!(limits.pause(&Signals { memory: rich, node: full(50), images: full(50) }).as_secs(), 60);
        let s = Signals { memory: rich, node: full(14), images: full(14) };
        assert_eq!((s.image_use_percent(), s.bytes_above(80)), (86, 6 << 30));
    }

    #[test]
    fn limits_are_read() {
        let t: Thresholds = "imagefs.available<5%, memory.available<64Mi".parse().unwrap();
        assert_eq!(t.0, [(Signal::ImageFs, Limit::Percent(5.0)), (Signal::Memory, Limit::Amount(64 << 20))]);
        assert_eq!(t.memory_bytes(1 << 30), 64 << 20);
        for wrong in ["x<5%", "memory.available", "memory.available<5x", "nodefs.available<101%"] {
            assert!(wrong.parse::<Thresholds>().is_err(), "{wrong}");
        }
        assert_eq!("".parse::<Thresholds>().unwrap().met(&Signals::default()), []);
    }
}
