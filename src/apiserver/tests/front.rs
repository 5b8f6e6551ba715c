//! What stands before the engine: limits, audit, fairness, who may come in.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apiserver::Options;
use apiserver::audit::{self, Audit};
use apiserver::fairness::Fairness;
use apiserver::profile::CpuProfiler;
use async_trait::async_trait;
use serde_json::{Value, json};
use support::{Cluster, soon};
use tokio::sync::Notify;

const CMS: &str = "/api/v1/namespaces/default/configmaps";

fn cm(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": text}})
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let c = Cluster::start().await;
    let too_long = c.json("POST", CMS, cm("a", &"x".repeat(3 << 20))).await;
    assert_eq!(too_long.failure(), (413, "Request entity too large: limit is 3145728".into()));
    assert_eq!(too_long.json()["reason"], "RequestEntityTooLarge");
    assert_eq!(c.json("POST", CMS, cm("a", &"x".repeat(1 << 19))).await.code, 201);
    let operation = json!({"op": "test", "path": "/kind", "value": "ConfigMap"});
    let many = Value::from(vec![operation; 10_001]).to_string();
    let many = c.send("PATCH", &format!("{CMS}/a"), &[("content-type", "application/json-patch+json")], many).await;
    assert_eq!(many.code, 413, "{}", many.text());
    for (kind, body) in [
        ("application/json", "[".repeat(100_000)),
        ("application/json", format!("{{\"metadata\":{}", "{\"a\":".repeat(50_000))),
        ("application/yaml", format!("a: {}", "[".repeat(100_000))),
        ("application/vnd.kubernetes.protobuf", "k8s\0\u{1}\u{ff}\u{ff}".into()),
        ("application/json", "{\"metadata\": 7, \"kind\": []}".into()),
    ] {
        let answer = c.send("POST", CMS, &[("content-type", kind)], body).await;
        assert!((400..500).contains(&answer.code), "{kind}: {} {}", answer.code, answer.text());
    }
    let bad = c.get(&format!("{CMS}?timeout=soon")).await;
    assert!(bad.failure().1.starts_with("invalid timeout specified in the request URL"), "{}", bad.text());
    assert_eq!(c.get(&format!("{CMS}?timeout=32s")).await.code, 200);
}

#[tokio::test]
async fn every_answer_says_its_audit_id() {
    let c = Cluster::start().await;
    for path in [CMS, "/livez", "/api/v1/nothing"] {
        let id = c.get(path).await.headers["audit-id"].to_str().unwrap().to_owned();
        assert_eq!(id.len(), 36, "{path}: {id}");
    }
}

/// The events in the log, once there are `count` that `is` wants.
async fn events(log: &Path, count: usize, is: impl Fn(&Value) -> bool) -> Vec<Value> {
    soon(async {
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let all = whole.lines().map(|l| serde_json::from_str::<Value>(l).expect("a line is an event"));
            let wanted: Vec<Value> = all.filter(|e| is(e)).collect();
            if wanted.len() >= count {
                return wanted;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn requests_leave_their_traces() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, log) = (dir.path().join("policy.yaml"), dir.path().join("audit.log"));
    let text = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: RequestResponse, verbs: [create, update, get], resources: [{group: "", resources: [configmaps]}], omitManagedFields: true}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: Metadata, verbs: [watch, delete]}
- {level: None}
"#;
    std::fs::write(&policy, text).unwrap();
    let options =
        audit::Options { policy_file: Some(policy), log_path: Some(log.clone()), ..audit::Options::default() };
    let audit = Audit::open(&options).unwrap();
    let c = Cluster::with_options(Options { audit, ..Options::default() }).await;
    let made = c.json("POST", CMS, cm("a", "v")).await;
    c.json(
        "POST",
        "/api/v1/namespaces/default/secrets",
        json!({"metadata": {"name": "s"}, "stringData": {"k": "hush"}}),
    )
    .await;
    assert_eq!(c.get(&format!("{CMS}/none")).await.code, 404);
    c.get("/api/v1/namespaces").await;
    c.get(&format!("{CMS}?watch=true&timeoutSeconds=1&resourceVersion=0")).await;

    let all = events(&log, 5, |_| true).await;
    let of = |verb: &str, resource: &str| -> Vec<&Value> {
        all.iter().filter(|e| e["verb"] == verb && e["objectRef"]["resource"] == resource).collect()
    };
    let create = of("create", "configmaps")[0];
    assert_eq!(create["auditID"], made.headers["audit-id"].to_str().unwrap());
    assert_eq!((&create["kind"], &create["level"]), (&json!("Event"), &json!("RequestResponse")));
    assert_eq!((&create["requestObject"]["data"]["k"], &create["responseStatus"]["code"]), (&json!("v"), &json!(201)));
    assert!(create["responseObject"]["metadata"]["uid"].is_string(), "{create}");
    assert!(create["responseObject"]["metadata"]["managedFields"].is_null(), "{create}");
    assert_eq!(
        create["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!((&create["user"]["username"], &create["sourceIPs"]), (&json!("tester"), &json!(["127.0.0.1"])));
    assert_eq!(create["annotations"]["authorization.k8s.io/decision"], "allow");
    let secret = of("create", "secrets")[0];
    assert!(secret["requestObject"].is_null() && secret["objectRef"]["name"] == "s", "{secret}");
    assert_eq!(of("get", "configmaps")[0]["responseStatus"]["reason"], "NotFound");
    let stages: Vec<&Value> = of("watch", "configmaps").into_iter().map(|e| &e["stage"]).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    assert!(of("list", "namespaces").is_empty());
    assert!(!std::fs::read_to_string(&log).unwrap().contains("hush"));
}

#[tokio::test]
async fn fairness_and_anonymous_users_are_options() {
    let fairness = Some(Arc::new(Fairness::new()));
    let c = Cluster::with_options(Options { fairness, anonymous: true, ..Options::default() }).await;
    let answer = c.get(CMS).await;
    assert_eq!(answer.code, 200);
    // whose objects nobody has made here
    for name in ["flowschema", "prioritylevel"] {
        assert_eq!(answer.headers[format!("x-kubernetes-pf-{name}-uid").as_str()], "");
    }
    let metrics = c.get("/metrics").await.text();
    let dispatched = "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"exempt\"}";
    assert!(metrics.lines().any(|l| l.starts_with(dispatched) && !l.ends_with(" 0")), "{metrics}");
}

/// Ends a profile when it is told to.
#[derive(Default, Clone)]
struct Watch {
    begun: Arc<Notify>,
    end: Arc<Notify>,
}

#[async_trait]
impl CpuProfiler for Watch {
    async fn profile(&self, duration: Duration) -> Result<Vec<u8>, String> {
        if duration == Duration::from_secs(1) {
            return Err("no".into());
        }
        self.begun.notify_one();
        self.end.notified().await;
        Ok(duration.as_secs().to_string().into_bytes())
    }
}

#[tokio::test]
async fn profiles_are_taken_one_at_a_time() {
    const PROFILE: &str = "/debug/pprof/profile";
    let off = Cluster::start().await;
    for path in ["/debug/pprof/", "/debug/pprof/heap", PROFILE] {
        assert_eq!(off.get(path).await.code, 404, "{path}");
    }

    let watch = Watch::default();
    let fairness = Some(Arc::new(Fairness::new()));
    let profiling: Option<Box<dyn CpuProfiler>> = Some(Box::new(watch.clone()));
    let c = Cluster::with_options(Options { fairness, profiling, ..Options::default() }).await;
    assert_eq!(c.get("/debug/pprof").await.headers["location"], "/debug/pprof/");
    assert!(c.get("/debug/pprof/").await.text().contains("href=\"profile\""));
    assert_eq!((c.get("/debug/pprof/x").await.code, c.get("/debug/pprofx").await.code), (404, 404));
    assert_eq!(c.json("POST", PROFILE, json!({})).await.code, 405);

    let refused = |why: &str| (500, format!("Could not enable CPU profiling: {why}\n"));
    let told = async |query: &str| {
        let answer = c.get(&format!("{PROFILE}{query}")).await;
        (answer.code, answer.text())
    };
    let other = async {
        soon(watch.begun.notified()).await;
        assert_eq!(told("?seconds=2").await, refused("cpu profiling already in use"));
        watch.end.notify_one();
    };
    let (first, ()) = tokio::join!(told(""), other);
    assert_eq!(first, (200, "30".into()));
    assert_eq!(told("?seconds=1").await, refused("no"));
    assert_eq!(told("?seconds=100000").await.0, 400);

    c.made(CMS, cm("a", "x")).await;
    let heap = c.get("/debug/pprof/heap?debug=1").await.text();
    let line = heap.lines().find(|l| l.ends_with(" objects / configmaps / default")).expect("a line of it");
    assert_eq!(line.split_whitespace().nth(1), Some("1"), "{heap}");
    assert!(c.get("/debug/pprof/heap").await.bytes.starts_with(&[0x1f, 0x8b]));
}
