//! `/metrics`: a few figures under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use crate::http::Label;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

#[derive(Default)]
struct Series {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

/// Verb, group, version, resource, subresource.
type Key = (&'static str, String, String, String, String);

#[derive(Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<Key, Series>>);

impl Metrics {
    /// Counts an answered request. Those on no resource are not counted.
    pub fn count(&self, label: &Label, code: u16, took: Duration) {
        if label.resource.is_empty() {
            return;
        }
        let l = label;
        let key = (l.verb, l.group.clone(), l.version.clone(), l.resource.clone(), l.subresource.clone());
        let mut all = self.0.lock();
        // names of resources that do not exist must not fill the memory
        if code == 404 && !all.contains_key(&key) {
            return;
        }
        let series = all.entry(key).or_default();
        *series.by_code.entry(code).or_default() += 1;
        if !label.long_running {
            let seconds = took.as_secs_f64();
            if let Some(i) = BUCKETS.iter().position(|b| seconds <= *b) {
                series.buckets[i] += 1;
            }
            series.sum += seconds;
            series.count += 1;
        }
    }

    /// The Prometheus text.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, group, version, resource and code.\n\
             # TYPE apiserver_request_total counter\n",
        );
        let mut latency = String::from(
            "# HELP apiserver_request_duration_seconds Response latency distribution in seconds.\n\
             # TYPE apiserver_request_duration_seconds histogram\n",
        );
        for ((verb, group, version, resource, subresource), series) in self.0.lock().iter() {
            let verb = verb.to_uppercase();
            let labels = format!(
                "verb=\"{verb}\",group=\"{group}\",version=\"{version}\",resource=\"{resource}\",subresource=\"{subresource}\""
            );
            for (code, n) in &series.by_code {
                let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{labels}}} {n}");
            }
            if series.count > 0 {
                let mut up_to = 0;
                for (bound, n) in BUCKETS.iter().zip(series.buckets) {
                    up_to += n;
                    let _ = writeln!(
                        latency,
                        "apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {up_to}"
                    );
                }
                let (count, sum) = (series.count, series.sum);
                let _ = writeln!(latency, "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}");
                let _ = writeln!(latency, "apiserver_request_duration_seconds_sum{{{labels}}} {sum}");
                let _ = writeln!(latency, "apiserver_request_duration_seconds_count{{{labels}}} {count}");
            }
        }
        out + &latency
    }
}
