//! Who goes first: those above their requests, then the less important, then the greedier. Pure. Upstream's
//! `rankMemoryPressure` and `rankDiskPressure`.

use std::cmp::Reverse;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub uid: String,
    pub priority: i32,
    /// Of the resource that is short.
    pub requested: u64,
    pub used: u64,
}

impl Candidate {
    fn excess(&self) -> i128 {
        i128::from(self.used) - i128::from(self.requested)
    }
}

pub(crate) fn rank(mut all: Vec<Candidate>) -> Vec<Candidate> {
    all.sort_by_key(|c| (c.excess() <= 0, c.priority, Reverse(c.excess())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_requests_then_priority_then_use() {
        let c = |uid: &str, priority, requested, used| Candidate { uid: uid.into(), priority, requested, used };
        let ranked = rank(vec![
            c("guaranteed", 0, 100, 90),
            c("important", 1000, 0, 500),
            c("modest", 0, 0, 10),
            c("greedy", 0, 50, 90),
        ]);
        let order: Vec<_> = ranked.iter().map(|c| c.uid.as_str()).collect();
        assert_eq!(order, ["greedy", "modest", "important", "guaranteed"]);
    }
}
