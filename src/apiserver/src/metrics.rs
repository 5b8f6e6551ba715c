//! `/metrics`: figures under upstream's names (`endpoints/metrics`), in the Prometheus text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ::http::Response;
use futures::StreamExt;
use parking_lot::Mutex;

use crate::http::{Body, Label};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

#[derive(Default)]
struct Series {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
    /// Long-running ones that are there now.
    open: usize,
}

/// Verb, scope, group, version, resource, subresource.
type Key = (&'static str, &'static str, String, String, String, String);

#[derive(Default)]
struct Inner {
    series: Mutex<BTreeMap<Key, Series>>,
    reading: AtomicUsize,
    mutating: AtomicUsize,
}

#[derive(Default, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

/// Counts a request while it is served.
pub(crate) struct InFlight(Arc<Inner>, bool);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.gauge(self.1).fetch_sub(1, Relaxed);
    }
}

/// Counts a long answer while it goes on.
struct Open(Arc<Inner>, Key);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(series) = self.0.series.lock().get_mut(&self.1) {
            series.open = series.open.saturating_sub(1);
        }
    }
}

impl Inner {
    fn gauge(&self, mutating: bool) -> &AtomicUsize {
        if mutating { &self.mutating } else { &self.reading }
    }
}

/// `CleanVerb`: what upstream calls a verb here.
fn verb(label: &Label) -> &'static str {
    match label.verb {
        _ if label.long_running && label.verb != "watch" => "CONNECT",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

fn key(l: &Label) -> Key {
    (verb(l), l.scope, l.group.clone(), l.version.clone(), l.resource.clone(), l.subresource.clone())
}

impl Metrics {
    pub fn begin(&self, mutating: bool) -> InFlight {
        self.0.gauge(mutating).fetch_add(1, Relaxed);
        InFlight(self.0.clone(), mutating)
    }

    /// Counts an answered request; a long answer goes on being counted until it ends. Those on no resource are not.
    pub fn count(&self, label: &Label, answer: Response<Body>, took: Duration) -> Response<Body> {
        if label.resource.is_empty() {
            return answer;
        }
        let (code, key) = (answer.status().as_u16(), key(label));
        {
            let mut all = self.0.series.lock();
            // names of resources that do not exist must not fill the memory
            if code == 404 && !all.contains_key(&key) {
                return answer;
            }
            let series = all.entry(key.clone()).or_default();
            *series.by_code.entry(code).or_default() += 1;
            if !label.long_running {
                let seconds = took.as_secs_f64();
                if let Some(i) = BUCKETS.iter().position(|b| seconds <= *b) {
                    series.buckets[i] += 1;
                }
                series.sum += seconds;
                series.count += 1;
                return answer;
            }
            series.open += 1;
        }
        let open = Open(self.0.clone(), key);
        let (head, body) = answer.into_parts();
        let body = match body {
            // dropped with the stream
            Body::Stream(stream) => Body::stream(stream.map(move |item| {
                let _ = &open;
                item
            })),
            body => body,
        };
        Response::from_parts(head, body)
    }

    /// The Prometheus text of requests.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, dry run value, group, \
             version, resource, scope, component, and HTTP response code.\n# TYPE apiserver_request_total counter\n",
        );
        let mut latency = String::from(
            "# HELP apiserver_request_duration_seconds Response latency distribution in seconds for each verb, dry run \
             value, group, version, resource, subresource, scope and component.\n\
             # TYPE apiserver_request_duration_seconds histogram\n",
        );
        let mut long = String::from(
            "# HELP apiserver_longrunning_requests Gauge of all active long-running apiserver requests broken out by \
             verb, group, version, resource, scope and component.\n# TYPE apiserver_longrunning_requests gauge\n",
        );
        for ((verb, scope, group, version, resource, subresource), series) in self.0.series.lock().iter() {
            let labels = format!(
                "component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
                 subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
            );
            for (code, n) in &series.by_code {
                let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",dry_run=\"\",{labels}}} {n}");
            }
            if matches!(*verb, "WATCH" | "CONNECT") {
                let _ = writeln!(long, "apiserver_longrunning_requests{{{labels}}} {}", series.open);
            }
            if series.count > 0 {
                let name = "apiserver_request_duration_seconds";
                let mut up_to = 0;
                for (bound, n) in BUCKETS.iter().zip(series.buckets) {
                    up_to += n;
                    let _ = writeln!(latency, "{name}_bucket{{dry_run=\"\",{labels},le=\"{bound}\"}} {up_to}");
                }
                let (count, sum) = (series.count, series.sum);
                let _ = writeln!(latency, "{name}_bucket{{dry_run=\"\",{labels},le=\"+Inf\"}} {count}");
                let _ = writeln!(latency, "{name}_sum{{dry_run=\"\",{labels}}} {sum}");
                let _ = writeln!(latency, "{name}_count{{dry_run=\"\",{labels}}} {count}");
            }
        }
        out += &latency;
        out += &long;
        out += "# HELP apiserver_current_inflight_requests Maximal number of currently used inflight request limit of this \
                apiserver per request kind in last second.\n# TYPE apiserver_current_inflight_requests gauge\n";
        for (kind, gauge) in [("mutating", &self.0.mutating), ("readOnly", &self.0.reading)] {
            let n = gauge.load(Relaxed);
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {n}");
        }
        process(&mut out);
        out
    }
}

/// `apiserver_storage_objects`
pub(crate) fn objects(out: &mut String, counts: impl Iterator<Item = (String, usize)>) {
    out.push_str(
        "# HELP apiserver_storage_objects Number of stored objects at the time of last check split by kind.\n\
         # TYPE apiserver_storage_objects gauge\n",
    );
    for (resource, n) in counts {
        let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {n}");
    }
}

/// Kernel ticks a second, as every Linux tells programs.
const TICKS: f64 = 100.0;

/// `process_*`, from `/proc/self`; what cannot be read is left out.
fn process(out: &mut String) {
    let mut gauge = |name: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(out, "# TYPE process_{name} {kind}\nprocess_{name} {value}");
        }
    };
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let stat = read("self/stat");
    // behind the name, which may hold anything
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split(' ').map(|f| f.parse().unwrap_or(0.0)).collect();
    let field = |n: usize| fields.get(n).copied();
    let booted = read("stat");
    let booted = booted.lines().find_map(|l| l.strip_prefix("btime ")?.parse::<f64>().ok());
    let status = read("self/status");
    let kilobytes = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|n| n * 1024.0)
    };
    gauge("cpu_seconds_total", "counter", field(12).zip(field(13)).map(|(user, system)| (user + system) / TICKS));
    gauge("resident_memory_bytes", "gauge", kilobytes("VmRSS:"));
    gauge("virtual_memory_bytes", "gauge", kilobytes("VmSize:"));
    gauge("start_time_seconds", "gauge", field(20).zip(booted).map(|(ticks, boot)| boot + ticks / TICKS));
    gauge("open_fds", "gauge", std::fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as f64));
    let limits = read("self/limits");
    let most = limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    gauge("max_fds", "gauge", most);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn requests_are_counted_by_upstreams_names() {
        let metrics = Metrics::default();
        let label = |verb, long_running| Label {
            verb,
            scope: "namespace",
            group: "apps".into(),
            version: "v1".into(),
            resource: "deployments".into(),
            subresource: String::new(),
            long_running,
        };
        let busy = metrics.begin(true);
        drop(metrics.count(&label("create", false), Response::new(Body::empty()), Duration::from_millis(30)));
        let watch = Response::new(Body::stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()));
        let watch = metrics.count(&label("watch", true), watch, Duration::ZERO);
        let labels = |verb| {
            format!(
                "component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"namespace\",subresource=\"\",\
                 verb=\"{verb}\",version=\"v1\""
            )
        };
        let text = metrics.text();
        let (post, open) = (labels("POST"), labels("WATCH"));
        for line in [
            format!("apiserver_request_total{{code=\"200\",dry_run=\"\",{post}}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{post},le=\"0.025\"}} 0"),
            format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{post},le=\"0.05\"}} 1"),
            format!("apiserver_longrunning_requests{{{open}}} 1"),
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1".into(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        drop((watch, busy));
        let text = metrics.text();
        assert!(text.contains(&format!("apiserver_longrunning_requests{{{open}}} 0\n")), "{text}");
        assert!(text.contains("request_kind=\"mutating\"} 0\n") && text.contains("process_open_fds "), "{text}");
    }
}
