//! How often webhooks and policies ran and what came of it, under upstream's names (`admission/metrics`, `policy/*/metrics`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

const NAMES: [(&str, &str); 5] = [
    (
        "apiserver_admission_webhook_request_total",
        "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type (validating or mutating) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code.",
    ),
    (
        "apiserver_admission_webhook_rejection_count",
        "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation.",
    ),
    (
        "apiserver_admission_webhook_fail_open_count",
        "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type (validating or mutating).",
    ),
    (
        "apiserver_validating_admission_policy_check_total",
        "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
    ),
    (
        "apiserver_mutating_admission_policy_check_total",
        "[ALPHA] Mutation admission policy check total, labeled by policy and further identified by binding.",
    ),
];

/// Which of the figures.
#[derive(Debug, Clone, Copy)]
pub enum Count {
    Request,
    Rejection,
    FailOpen,
    Validation,
    Mutation,
}

/// Labels as they are printed, by figure.
#[derive(Debug, Default)]
pub struct Counts(Mutex<[BTreeMap<String, u64>; NAMES.len()]>);

impl Counts {
    pub fn add(&self, what: Count, labels: &[(&str, &str)]) {
        let text: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        *self.0.lock()[what as usize].entry(text.join(",")).or_default() += 1;
    }

    /// In the Prometheus text form; nothing of what never was.
    pub fn write(&self, out: &mut String) {
        for ((name, help), series) in NAMES.iter().zip(self.0.lock().iter()).filter(|(_, s)| !s.is_empty()) {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, n) in series {
                let _ = writeln!(out, "{name}{{{labels}}} {n}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_printed_under_upstreams_names() {
        let counts = Counts::default();
        for _ in 0..2 {
            counts.add(Count::FailOpen, &[("name", "a.b.c"), ("type", "validating")]);
        }
        let mut out = String::new();
        counts.write(&mut out);
        let last = "apiserver_admission_webhook_fail_open_count{name=\"a.b.c\",type=\"validating\"} 2";
        assert_eq!(out.lines().last(), Some(last));
        assert_eq!(out.lines().count(), 3);
    }
}
