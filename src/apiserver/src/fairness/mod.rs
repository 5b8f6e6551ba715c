//! API Priority and Fairness: one noisy client does not keep heartbeats and leader elections waiting.
//!
//! ```text
//!   request ── flow schemas, by precedence ──► priority level ──┬─ a free seat: go
//!                                   (and flow: user, namespace) ├─ a queue of the flow's hand: wait; queues take turns
//!                                                               └─ full, or waited too long: 429, Retry-After: 1
//! ```
//!
//! The configuration is upstream's defaults, which [`objects`] keeps in the store; FlowSchema and PriorityLevelConfiguration
//! objects there replace those of the same name and add to them. Every request is one seat wide, and levels lend each other nothing.

mod level;
mod objects;
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};
use api::{Reason, Status, Value};
use parking_lot::RwLock;
use store::Store;
use tokio_util::sync::CancellationToken;

pub use level::{Level, Queuing, Seat};
pub(crate) use objects::maintain;
use schema::Schema;

use crate::Attributes;

/// `--max-requests-inflight` and `--max-mutating-requests-inflight`, together: upstream's are 600. A request here costs a fraction
/// of one there, and writes that wait together share a commit, so a single busy client may have a thousand in flight.
const SEATS: u64 = 2400;
/// A quarter of the request timeout.
const PATIENCE: Duration = Duration::from_secs(15);

const SCHEMAS: &str = "flowcontrol.apiserver.k8s.io/flowschemas";
const LEVELS: &str = "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations";
const DEFAULTS: &str = include_str!("defaults.yaml");

#[derive(Default)]
struct Table {
    levels: HashMap<String, Arc<Level>>,
    /// By precedence.
    schemas: Vec<(Schema, Arc<Level>, Arc<Marks>)>,
}

/// What an answer says of its schema and level: their uids, empty while they are no objects.
#[derive(Debug)]
pub struct Marks {
    schema: HeaderValue,
    level: HeaderValue,
}

impl Marks {
    /// `ResponseHeaderMatchedFlowSchemaUID`, `…PriorityLevelConfigurationUID`
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.schema.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", self.level.clone());
    }
}

/// Uids by resource and name.
type Uids = HashMap<(&'static str, String), HeaderValue>;

pub struct Fairness {
    table: RwLock<Table>,
}

type Specs = BTreeMap<String, Value>;

/// The built-in levels and schemas: specs by name.
fn defaults() -> (Specs, Specs) {
    let documents = api::decode::yaml_documents(DEFAULTS.as_bytes()).expect("the built-in configuration is YAML");
    let (mut levels, mut schemas) = (Specs::new(), Specs::new());
    for document in documents {
        let (mut tree, text) = (document.tree, String::from);
        let into = if tree["kind"] == "FlowSchema" { &mut schemas } else { &mut levels };
        into.insert(tree["metadata"]["name"].as_str().map(text).unwrap_or_default(), tree["spec"].take());
    }
    (levels, schemas)
}

impl Fairness {
    /// With the built-in configuration.
    pub fn new() -> Fairness {
        let this = Fairness { table: RwLock::default() };
        let (levels, schemas) = defaults();
        this.configure(&levels, &schemas, &Uids::default());
        this
    }

    /// Takes its configuration from `store` too, until `stop`. Must be called within a runtime.
    pub fn follow(self: &Arc<Self>, store: &Arc<Store>, stop: &CancellationToken) {
        let (this, store, stop) = (self.clone(), store.clone(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(this.keep(&store)).await });
    }

    async fn keep(&self, store: &Store) {
        loop {
            let (mut levels, mut schemas) = defaults();
            let mut uids = Uids::default();
            let revision = store.revision();
            for (resource, into) in [(LEVELS, &mut levels), (SCHEMAS, &mut schemas)] {
                for object in store.snapshot(resource).iter() {
                    let uid = HeaderValue::from_str(object.uid()).unwrap_or(HeaderValue::from_static(""));
                    uids.insert((resource, object.name().into()), uid);
                    into.insert(object.name().into(), object.tree()["spec"].take());
                }
            }
            self.configure(&levels, &schemas, &uids);
            let (Ok(mut a), Ok(mut b)) = (store.watch(LEVELS, revision), store.watch(SCHEMAS, revision)) else {
                return;
            };
            let changed = tokio::select! { e = a.next() => e.map(drop), e = b.next() => e.map(drop) };
            if matches!(changed, Err(store::Error::Closed)) {
                return;
            }
        }
    }

    fn configure(&self, levels: &Specs, schemas: &Specs, uids: &Uids) {
        let read: Vec<_> = levels.iter().map(|(name, spec)| (name, schema::level(spec))).collect();
        let shares: u64 = read.iter().filter_map(|(_, (shares, _))| *shares).sum();
        let mut table = self.table.write();
        let old = std::mem::take(&mut *table);
        for (name, (share, queuing)) in read {
            let seats = share.map(|s| (SEATS * s).div_ceil(shares.max(1)).max(1) as usize);
            let level = match (old.levels.get(name), seats) {
                (Some(level), Some(seats)) if !level.is_exempt() => {
                    level.resize(seats, queuing);
                    level.clone()
                }
                (Some(level), None) if level.is_exempt() => level.clone(),
                _ => Arc::new(Level::new(name, seats, queuing)),
            };
            table.levels.insert(name.clone(), level);
        }
        let read = schemas.iter().filter_map(|(name, spec)| Schema::read(name, spec));
        let known: Vec<_> = read.filter_map(|s| Some((table.levels.get(s.level())?.clone(), s))).collect();
        let uid = |resource, name: &str| {
            uids.get(&(resource, name.to_owned())).cloned().unwrap_or(HeaderValue::from_static(""))
        };
        let marked = known.into_iter().map(|(level, schema)| {
            let marks = Marks { schema: uid(SCHEMAS, &schema.name), level: uid(LEVELS, schema.level()) };
            (schema, level, Arc::new(marks))
        });
        table.schemas = marked.collect();
        table
            .schemas
            .sort_by(|(a, ..), (b, ..)| (a.matching_precedence, &a.name).cmp(&(b.matching_precedence, &b.name)));
    }

    /// The level of a request, and its flow within.
    fn classify(&self, a: &Attributes) -> Option<(Arc<Level>, u64, Arc<Marks>)> {
        let table = self.table.read();
        let (schema, level, marks) = table.schemas.iter().find(|(s, ..)| s.matches(a))?;
        let mut flow = DefaultHasher::new();
        (&schema.name, schema.distinguisher(a)).hash(&mut flow);
        Some((level.clone(), flow.finish(), marks.clone()))
    }

    /// Waits for a seat, which the request holds while it runs. Errors with `TooManyRequests`.
    /// `marks` is told where the request belongs.
    pub async fn enter(&self, a: &Attributes, marks: &mut Option<Arc<Marks>>) -> Result<Option<Seat>, Status> {
        let Some((level, flow, its_marks)) = self.classify(a) else { return Ok(None) };
        *marks = Some(its_marks);
        level.enter(flow, PATIENCE).await.map(Some).map_err(|_| {
            let mut status = Status::new(Reason::TooManyRequests, "Too many requests, please try again later.");
            status.retry_after_seconds = 1;
            status
        })
    }

    /// `apiserver_flowcontrol_*`
    pub fn metrics(&self, out: &mut String) {
        let table = self.table.read();
        let levels: BTreeMap<_, _> = table.levels.iter().collect();
        let mut family = |name: &str, kind: &str, value: &dyn Fn(&Level) -> Option<u64>| {
            let _ = writeln!(out, "# TYPE apiserver_flowcontrol_{name} {kind}");
            for (level, value) in levels.iter().filter_map(|(n, l)| Some((n, value(l)?))) {
                let _ = writeln!(out, "apiserver_flowcontrol_{name}{{priority_level=\"{level}\"}} {value}");
            }
        };
        family("nominal_limit_seats", "gauge", &|l| l.seats().map(|n| n as u64));
        family("current_executing_requests", "gauge", &|l| Some(l.running() as u64));
        family("current_inqueue_requests", "gauge", &|l| Some(l.waiting() as u64));
        family("dispatched_requests_total", "counter", &|l| Some(l.dispatched.load(Relaxed)));
        family("rejected_requests_total", "counter", &|l| Some(l.rejected.load(Relaxed)));
    }
}

impl Default for Fairness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{User, Verb};

    fn request(name: &str, groups: &[&str], verb: Verb, group: &str, resource: &str) -> Attributes {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push("system:authenticated".into());
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let path = if resource.is_empty() { group } else { "" };
        Attributes {
            user: Arc::new(User { name: name.into(), groups, ..User::default() }),
            verb,
            group: if resource.is_empty() { "" } else { group }.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: if resource.starts_with("node") { "" } else { "ns" }.into(),
            name: String::new(),
            path: path.into(),
        }
    }

    #[test]
    fn requests_go_where_upstream_sends_them() {
        let fairness = Fairness::new();
        let node = &["system:nodes"][..];
        for (a, level) in [
            (request("admin", &["system:masters"], Verb::List, "", "pods"), "exempt"),
            (request("ann", &[], Verb::Get, "/healthz", ""), "exempt"),
            (request("ann", &[], Verb::Get, "/metrics", ""), "global-default"),
            (request("system:node:n", node, Verb::Update, "coordination.k8s.io", "leases"), "node-high"),
            (request("system:node:n", node, Verb::Patch, "", "nodes/status"), "node-high"),
            (request("system:node:n", node, Verb::List, "", "pods"), "system"),
            (request("system:kube-scheduler", &[], Verb::Update, "coordination.k8s.io", "leases"), "leader-election"),
            (request("system:kube-scheduler", &[], Verb::List, "", "pods"), "workload-high"),
            (
                request("system:serviceaccount:kube-system:x", &["system:serviceaccounts"], Verb::List, "", "pods"),
                "workload-high",
            ),
            (request("system:serviceaccount:a:x", &["system:serviceaccounts"], Verb::List, "", "pods"), "workload-low"),
            (request("ann", &[], Verb::List, "", "pods"), "global-default"),
        ] {
            assert_eq!(fairness.classify(&a).unwrap().0.name, level, "{a:?}");
        }
        let flow = |name| fairness.classify(&request(name, &[], Verb::List, "", "pods")).unwrap().1;
        assert!(flow("ann") == flow("ann") && flow("ann") != flow("bob"));
        let mut text = String::new();
        fairness.metrics(&mut text);
        assert!(text.contains("nominal_limit_seats{priority_level=\"workload-low\"} 980\n"), "{text}");
    }

    #[tokio::test]
    async fn objects_configure_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), store::Options::default()).unwrap());
        let (fairness, stop) = (Arc::new(Fairness::new()), CancellationToken::new());
        fairness.follow(&store, &stop);
        let put = async |resource: &str, tree: Value| {
            let draft = api::Draft::encode(&tree).unwrap();
            let key = store::Key::new(resource, "", &draft.meta().name);
            store.commit(key, None, store::Change::Put(draft)).await.unwrap();
        };
        let spec =
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}});
        put(LEVELS, json!({"metadata": {"name": "small", "uid": "1-2"}, "spec": spec})).await;
        let rules = json!([{"subjects": [{"kind": "User", "user": {"name": "ann"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]);
        let spec = json!({"priorityLevelConfiguration": {"name": "small"}, "matchingPrecedence": 50, "rules": rules});
        put(SCHEMAS, json!({"metadata": {"name": "ann"}, "spec": spec})).await;
        let ann = request("ann", &[], Verb::List, "", "pods");
        let follows = async {
            while fairness.classify(&ann).unwrap().0.name != "small" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), follows).await.expect("the table follows");
        let mut headers = HeaderMap::new();
        fairness.classify(&ann).unwrap().2.put(&mut headers);
        assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], "1-2");
        let mut seats = Vec::new();
        let refused = loop {
            match fairness.enter(&ann, &mut None).await {
                Ok(seat) => seats.push(seat),
                Err(status) => break status,
            }
        };
        assert_eq!((refused.code, refused.retry_after_seconds, seats.len()), (429, 1, 10));
        stop.cancel();
    }
}
