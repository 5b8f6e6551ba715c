//! Events about objects, recorded beside the work: upstream's `record.EventRecorder` with its `EventCorrelator`.
//!
//! ```text
//!   event() ──bounded queue, never waits──► one task: spam filter → same again? count+1 : similar? combine ──► Client
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::{Gvr, Object, Resource};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{Client, Clock, Patch, Target, WriteOptions, now_rfc3339};

/// Memory is taken only as they come.
const QUEUE: usize = 10_000;
/// Remembered events; the older half is forgotten beyond.
const REMEMBERED: usize = 2048;
/// So many different messages of one kind within [`SIMILAR_WITHIN`] become one event.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// An object may have so many events at once, and one more each [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

/// `v1.ObjectReference`: what an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// `spec.containers{name}` for events about a container.
    pub field_path: String,
}

impl Reference {
    pub fn of<K: Resource>(object: &Object) -> Reference {
        let api_version = if K::GROUP.is_empty() { K::VERSION.into() } else { format!("{}/{}", K::GROUP, K::VERSION) };
        Reference {
            api_version,
            kind: K::KIND.into(),
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            resource_version: object.revision().to_string(),
            field_path: String::new(),
        }
    }
    pub fn field(self, path: impl Into<String>) -> Reference {
        Reference { field_path: path.into(), ..self }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    component: Arc<str>,
    host: Arc<str>,
}

struct Event {
    source: Source,
    about: Reference,
    kind: EventType,
    reason: String,
    message: String,
}

/// Records events without ever waiting: they are dropped when the queue is full or the API refuses them. Clones share the
/// task, which ends with the last of them.
#[derive(Clone)]
pub struct Recorder {
    source: Source,
    queue: mpsc::Sender<Event>,
}

impl Recorder {
    /// `component` and `host` are the events' `source`; `host` may be empty.
    pub fn new(client: Arc<dyn Client>, clock: Arc<dyn Clock>, component: &str, host: &str) -> Recorder {
        let (queue, events) = mpsc::channel(QUEUE);
        tokio::spawn(
            Correlator { client, clock, seen: HashMap::new(), similar: HashMap::new(), tokens: HashMap::new() }
                .run(events),
        );
        Recorder { source: Source { component: component.into(), host: host.into() }, queue }
    }

    /// The same queue, another source.
    pub fn component(&self, component: &str) -> Recorder {
        Recorder { source: Source { component: component.into(), ..self.source.clone() }, queue: self.queue.clone() }
    }

    pub fn event(&self, about: Reference, kind: EventType, reason: &str, message: impl Into<String>) {
        let event = Event { source: self.source.clone(), about, kind, reason: reason.into(), message: message.into() };
        let _ = self.queue.try_send(event);
    }
    pub fn normal<K: Resource>(&self, about: &Object, reason: &str, message: impl Into<String>) {
        self.event(Reference::of::<K>(about), EventType::Normal, reason, message);
    }
    pub fn warning<K: Resource>(&self, about: &Object, reason: &str, message: impl Into<String>) {
        self.event(Reference::of::<K>(about), EventType::Warning, reason, message);
    }
}

/// All that makes two events similar; the resource version does not count.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Similar {
    source: Source,
    about: Reference,
    kind: EventType,
    reason: String,
}

struct Seen {
    name: String,
    count: u32,
    first: String,
    at: Instant,
}

struct Correlator {
    client: Arc<dyn Client>,
    clock: Arc<dyn Clock>,
    seen: HashMap<(Similar, String), Seen>,
    similar: HashMap<Similar, (HashSet<String>, Instant)>,
    tokens: HashMap<(Source, Reference), (f64, Instant)>,
}

impl Correlator {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.record(event).await;
        }
    }

    async fn record(&mut self, event: Event) {
        let now = Instant::now();
        let anonymous = Reference { resource_version: String::new(), ..event.about.clone() };
        if !self.admits((event.source.clone(), Reference { field_path: String::new(), ..anonymous.clone() }), now) {
            return;
        }
        let similar =
            Similar { source: event.source.clone(), about: anonymous, kind: event.kind, reason: event.reason.clone() };
        let combined = self.is_one_of_many(&similar, &event.message, now);
        let message =
            if combined { format!("(combined from similar events): {}", event.message) } else { event.message.clone() };
        let key = (similar, if combined { String::new() } else { message.clone() });
        let last = now_rfc3339(&*self.clock);
        let known = self.seen.get(&key).map(|s| (s.name.clone(), s.count + 1, s.first.clone()));
        if let Some((name, count, first)) = known {
            let target = Target::one(events(), namespace(&event.about), &name);
            let patch = json!({"count": count, "lastTimestamp": last, "message": message});
            if self.client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await.is_ok() {
                self.seen.insert(key, Seen { name, count, first, at: now });
                return;
            }
        }
        let name = format!("{}.{:016x}", event.about.name, self.clock.now().as_nanosecond() as u64);
        let tree = tree(&event, &name, &message, &last);
        let target = Target::within(events(), namespace(&event.about));
        match self.client.create(&target, tree, &WriteOptions::default()).await {
            Ok(_) => {
                self.seen.insert(key, Seen { name, count: 1, first: last, at: now });
                self.forget();
            }
            // the namespace is going, mostly
            Err(error) => tracing::debug!(%error, object = event.about.name, "event not recorded"),
        }
    }

    /// The spam filter: a token bucket per source and object.
    fn admits(&mut self, key: (Source, Reference), now: Instant) -> bool {
        let (tokens, at) = self.tokens.entry(key).or_insert((BURST, now));
        *tokens = (*tokens + (now - *at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *at = now;
        let admitted = *tokens >= 1.0;
        *tokens -= f64::from(u8::from(admitted));
        admitted
    }

    fn is_one_of_many(&mut self, similar: &Similar, message: &str, now: Instant) -> bool {
        let (messages, last) = self.similar.entry(similar.clone()).or_insert_with(|| (HashSet::new(), now));
        if now - *last > SIMILAR_WITHIN {
            messages.clear();
        }
        *last = now;
        if messages.len() < SIMILAR {
            messages.insert(message.to_owned());
        }
        messages.len() >= SIMILAR && !messages.contains(message)
    }

    fn forget(&mut self) {
        fn halve<K, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Instant) {
            if map.len() > REMEMBERED {
                let mut ages: VecDeque<Instant> = map.values().map(&at).collect();
                ages.make_contiguous().sort_unstable();
                let middle = ages[ages.len() / 2];
                map.retain(|_, v| at(v) > middle);
            }
        }
        halve(&mut self.seen, |s| s.at);
        halve(&mut self.similar, |s| s.1);
        halve(&mut self.tokens, |t| t.1);
    }
}

fn events() -> Gvr {
    Gvr::new("", "v1", "events")
}

/// Events about cluster-scoped objects live in `default`.
fn namespace(about: &Reference) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

fn tree(event: &Event, name: &str, message: &str, now: &str) -> api::Value {
    let mut involved = serde_json::Map::new();
    let about = &event.about;
    for (key, value) in [
        ("kind", &about.kind),
        ("namespace", &about.namespace),
        ("name", &about.name),
        ("uid", &about.uid),
        ("apiVersion", &about.api_version),
        ("resourceVersion", &about.resource_version),
        ("fieldPath", &about.field_path),
    ] {
        if !value.is_empty() {
            involved.insert(key.into(), json!(value));
        }
    }
    let mut source = json!({"component": &*event.source.component});
    if !event.source.host.is_empty() {
        source["host"] = json!(&*event.source.host);
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace(about)},
        "involvedObject": involved, "source": source,
        "type": match event.kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        "reason": event.reason, "message": message, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "reportingComponent": &*event.source.component, "reportingInstance": &*event.source.host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::fake::FakeClient;

    #[tokio::test(start_paused = true)]
    async fn equal_events_are_counted_similar_ones_combined_and_floods_cut() {
        let fake = FakeClient::new();
        let recorder = Recorder::new(fake.arc(), Arc::new(SystemClock), "tester", "host");
        let pod = |name: &str| Reference {
            kind: "Pod".into(),
            namespace: "n".into(),
            name: name.into(),
            ..Default::default()
        };
        for _ in 0..3 {
            recorder.event(pod("a"), EventType::Normal, "Pulled", "it");
        }
        for i in 0..15 {
            recorder.event(pod("b"), EventType::Warning, "Failed", format!("try {i}"));
        }
        for i in 0..40 {
            recorder.event(pod("c"), EventType::Warning, format!("R{i}").as_str(), "x");
        }
        drop(recorder);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let of = |name: &str| {
            let all = fake.objects(&events());
            all.into_iter().map(|o| o.tree()).filter(|t| t["involvedObject"]["name"] == name).collect::<Vec<_>>()
        };
        let a = of("a");
        assert_eq!((a.len(), &a[0]["count"], &a[0]["source"]["component"]), (1, &json!(3), &json!("tester")));
        let b = of("b");
        assert_eq!(b.len(), 11);
        assert!(b.iter().any(|e| e["message"] == "(combined from similar events): try 14" && e["count"] == 5));
        assert_eq!(of("c").len(), 25);
    }
}
