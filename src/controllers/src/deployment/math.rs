//! How many pods, where: upstream's `deployment_util.go` as pure functions.

use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a rollout is about, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    pub replicas: i32,
    /// Pods above `replicas` while rolling; 0 unless rolling.
    pub max_surge: i32,
    /// Pods that may be missing while rolling; 0 unless rolling.
    pub max_unavailable: i32,
    pub rolling: bool,
}

/// One replica set, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub replicas: i32,
    pub available: i32,
    /// `deployment.kubernetes.io/max-replicas`
    pub max_replicas: Option<i32>,
}

/// `GetScaledValueFromIntOrPercent`; what is no number is 0.
pub fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(s)) => {
            let percent: i64 = s.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0);
            let hundredths = percent.saturating_mul(total.into());
            let whole = if round_up { (hundredths + 99).div_euclid(100) } else { hundredths.div_euclid(100) };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

impl Goal {
    /// `ResolveFenceposts`: one of the two is at least 1, else nothing could ever move.
    pub fn rolling(replicas: i32, surge: Option<&IntOrString>, unavailable: Option<&IntOrString>) -> Goal {
        let max_surge = scaled(surge, replicas, true);
        let mut max_unavailable = scaled(unavailable, replicas, false);
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Goal { replicas, max_surge, max_unavailable: max_unavailable.min(replicas), rolling: true }
    }
    pub fn recreate(replicas: i32) -> Goal {
        Goal { replicas, max_surge: 0, max_unavailable: 0, rolling: false }
    }
    pub fn max_replicas(&self) -> i32 {
        self.replicas + self.max_surge
    }
    pub fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }

    /// `NewRSNewReplicas`: the size of the new replica set, given that of all.
    pub fn grown(&self, new: i32, all: i32) -> i32 {
        if !self.rolling {
            return self.replicas;
        }
        let room = self.max_replicas() - all;
        if room <= 0 { new } else { new + room.min(self.replicas - new) }
    }

    /// The sizes of the old replica sets (oldest first) after `reconcileOldReplicaSets`: unhealthy pods go first, then as
    /// many as availability allows.
    pub fn shrunk(&self, old: &[Size], new: Size) -> Vec<i32> {
        let mut sizes: Vec<i32> = old.iter().map(|s| s.replicas).collect();
        let total: i32 = sizes.iter().sum();
        let mut budget = total + new.replicas - self.min_available() - (new.replicas - new.available);
        if total == 0 || budget <= 0 {
            return sizes;
        }
        for (size, rs) in sizes.iter_mut().zip(old) {
            let gone = (rs.replicas - rs.available).clamp(0, budget);
            *size -= gone;
            budget -= gone;
        }
        let available: i32 = old.iter().map(|s| s.available).sum::<i32>() + new.available;
        let mut spare = (available - self.min_available()).max(0);
        for size in &mut sizes {
            let gone = (*size).min(spare);
            *size -= gone;
            spare -= gone;
        }
        sizes
    }

    /// The sizes after proportional scaling of active replica sets, given the larger first: `scale` in `sync.go`.
    /// `current` is `status.replicas` of the deployment.
    pub fn proportional(&self, active: &[Size], current: i32) -> Vec<i32> {
        let total: i32 = active.iter().map(|s| s.replicas).sum();
        let allowed = if self.replicas > 0 { self.max_replicas() } else { 0 };
        let to_add = allowed - total;
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for rs in active {
            let share = self.share(rs, to_add, added, current);
            added += share;
            sizes.push(rs.replicas + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        sizes
    }

    /// `GetReplicaSetProportion`
    fn share(&self, rs: &Size, to_add: i32, added: i32, current: i32) -> i32 {
        if rs.replicas == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let fraction = if self.replicas == 0 {
            -rs.replicas
        } else {
            match rs.max_replicas.filter(|n| *n > 0).unwrap_or(current) {
                0 => 0,
                before => {
                    let grown = f64::from(rs.replicas) * f64::from(self.max_replicas()) / f64::from(before);
                    grown.round() as i32 - rs.replicas
                }
            }
        };
        let rest = to_add - added;
        if to_add > 0 { fraction.min(rest) } else { fraction.max(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(replicas: i32, available: i32) -> Size {
        Size { replicas, available, max_replicas: None }
    }

    #[test]
    fn fenceposts() {
        let percent = |s: &str| IntOrString::String(s.into());
        let quarter = percent("25%");
        for (replicas, surge, unavailable, want) in [
            (1, &quarter, &quarter, (1, 0)),
            (10, &quarter, &quarter, (3, 2)),
            (10, &IntOrString::Int(0), &IntOrString::Int(0), (0, 1)),
            (0, &quarter, &IntOrString::Int(1), (0, 0)),
            (2, &IntOrString::Int(0), &percent("100%"), (0, 2)),
        ] {
            let g = Goal::rolling(replicas, Some(surge), Some(unavailable));
            assert_eq!((g.max_surge, g.max_unavailable), want);
        }
    }

    #[test]
    fn new_grows_within_the_surge() {
        let g = Goal { replicas: 10, max_surge: 3, max_unavailable: 2, rolling: true };
        for (new, all, want) in [(0, 10, 3), (3, 13, 3), (3, 11, 5), (9, 11, 10), (0, 0, 10)] {
            assert_eq!(g.grown(new, all), want, "{new} of {all}");
        }
        assert_eq!(Goal::recreate(4).grown(0, 9), 4);
    }

    #[test]
    fn old_shrinks_as_availability_allows() {
        let g = Goal { replicas: 10, max_surge: 3, max_unavailable: 2, rolling: true };
        for (old, new, want) in [
            // at the start two may go at once
            (vec![size(10, 10)], size(3, 0), vec![8]),
            (vec![size(8, 8)], size(5, 3), vec![5]),
            // the unhealthy go first, whatever their age
            (vec![size(4, 4), size(6, 2)], size(3, 3), vec![3, 2]),
            (vec![size(8, 8)], size(5, 0), vec![8]),
            (vec![size(0, 0)], size(10, 10), vec![0]),
        ] {
            assert_eq!(g.shrunk(&old, new), want, "{old:?} {new:?}");
        }
    }

    #[test]
    fn scaling_is_shared_in_proportion() {
        let g = |replicas| Goal { replicas, max_surge: 0, max_unavailable: 1, rolling: true };
        let of = |sizes: &[i32], max| -> Vec<Size> {
            sizes.iter().map(|n| Size { replicas: *n, available: *n, max_replicas: Some(max) }).collect()
        };
        for (goal, sizes, max, want) in [
            (g(12), vec![6, 4], 10, vec![7, 5]),
            (g(5), vec![6, 4], 10, vec![3, 2]),
            (g(0), vec![6, 4], 10, vec![0, 0]),
            (g(20), vec![5, 3, 2], 10, vec![10, 6, 4]),
        ] {
            assert_eq!(goal.proportional(&of(&sizes, max), max), want, "{sizes:?}");
        }
    }
}
