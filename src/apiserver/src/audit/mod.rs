//! Audit: who asked for what and what came of it, as `audit.k8s.io/v1` events. Upstream's `apiserver/pkg/audit`.
//!
//! A request's [`Record`] is made once its user and attributes are known; without a policy there is none, and nothing is paid.

mod file;
mod local;
mod policy;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use ::http::{HeaderMap, Response, header};
use api::{Status, Value};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

pub use file::Rotation;
pub(crate) use local::Audited;
pub use policy::{Level, Policy, Stage};

use crate::http::Body;
use crate::http::negotiate::Format;
use crate::outbound::Outbound;
use crate::{Attributes, User};
use file::LogFile;
use policy::Verdict;
use webhook::Webhook;

/// `--audit-*`
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub policy_file: Option<PathBuf>,
    pub log_path: Option<PathBuf>,
    pub rotation: Rotation,
    pub webhook_config_file: Option<PathBuf>,
}

/// The policy and where events go.
pub struct Audit {
    policy: Policy,
    log: Option<LogFile>,
    webhook: Option<Webhook>,
}

type Notes = Arc<Mutex<Vec<(String, String)>>>;

tokio::task_local! {
    /// What admission notes of the request that is being served, if it is recorded.
    static NOTES: Notes;
}

/// Whether notes of this request are wanted.
pub(crate) fn is_recorded() -> bool {
    NOTES.try_with(|_| ()).is_ok()
}

/// Notes something of the request that is being served, if it is recorded: upstream's `AddAuditAnnotation`.
pub(crate) fn annotate(key: &str, value: &str) {
    let _ = NOTES.try_with(|notes| notes.lock().push((key.to_owned(), value.to_owned())));
}

/// Serves a request whose notes go into its record, if it has one.
pub(crate) async fn noting<T>(record: Option<&mut Record>, work: impl Future<Output = T>) -> T {
    let Some(record) = record else { return work.await };
    let notes = Notes::default();
    let done = Box::pin(NOTES.scope(notes.clone(), work)).await;
    for (key, value) in notes.lock().drain(..) {
        record.event["annotations"][key] = value.into();
    }
    done
}

/// A request's body as it came, for its record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<Option<(Format, Bytes)>>>);

impl Capture {
    pub fn keep(&self, format: Format, bytes: &Bytes) {
        *self.0.lock() = Some((format, bytes.clone()));
    }
}

/// One request's events.
pub(crate) struct Record {
    audit: Arc<Audit>,
    verdict: Verdict,
    /// What all stages say.
    event: Value,
    capture: Option<Capture>,
}

fn micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// Where a request came in, for its record.
pub(crate) struct Origin<'a> {
    pub id: &'a str,
    pub uri: &'a str,
    pub headers: &'a HeaderMap,
    pub source: &'a str,
}

impl Audit {
    /// `None`: nothing is to be recorded. Must be called within a runtime.
    pub fn open(o: &Options) -> Result<Option<Arc<Audit>>, String> {
        let Some(path) = &o.policy_file else {
            return match o.log_path.is_some() || o.webhook_config_file.is_some() {
                true => Err("auditing needs a policy: --audit-policy-file".into()),
                false => Ok(None),
            };
        };
        let about = |path: &PathBuf, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| about(path, &e))?;
        let policy = Policy::parse(&text).map_err(|e| about(path, &e))?;
        let log = match &o.log_path {
            Some(path) => Some(LogFile::open(path, o.rotation.clone()).map_err(|e| about(path, &e))?),
            None => None,
        };
        let webhook = match &o.webhook_config_file {
            Some(path) => Some(Webhook::new(Outbound::from_kubeconfig(path)?)),
            None => None,
        };
        Ok((log.is_some() || webhook.is_some()).then(|| Arc::new(Audit { policy, log, webhook })))
    }

    fn send(&self, event: Value) {
        if let Some(log) = &self.log {
            let mut line = serde_json::to_vec(&event).expect("a tree encodes");
            line.push(b'\n');
            log.write(line);
        }
        if let Some(webhook) = &self.webhook {
            webhook.write(event);
        }
    }

    /// The record of a request, its receipt written; `None` where the policy wants none. `as_user` is whom `user` acts as.
    pub(crate) fn begin(
        self: &Arc<Self>,
        a: &Attributes,
        origin: &Origin<'_>,
        user: &User,
        as_user: Option<&User>,
    ) -> Option<Record> {
        let verdict = self.policy.verdict(a);
        if verdict.level == Level::None {
            return None;
        }
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": verdict.level.as_str(), "auditID": origin.id,
            "stage": "", "requestURI": origin.uri, "verb": a.verb.as_str(), "user": user_info(user),
            "sourceIPs": [origin.source], "requestReceivedTimestamp": micro(Timestamp::now()),
        });
        if let Some(user) = as_user {
            event["impersonatedUser"] = user_info(user);
        }
        if let Some(agent) = origin.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()) {
            event["userAgent"] = agent.into();
        }
        if !a.resource.is_empty() {
            let mut about = json!({"resource": a.resource, "apiVersion": a.version});
            for (key, value) in [
                ("namespace", &a.namespace),
                ("name", &a.name),
                ("apiGroup", &a.group),
                ("subresource", &a.subresource),
            ] {
                if !value.is_empty() {
                    about[key] = value.as_str().into();
                }
            }
            event["objectRef"] = about;
        }
        let record = Record { audit: self.clone(), verdict, event, capture: None };
        record.stage(Stage::RequestReceived, |_| {});
        Some(record)
    }
}

impl Record {
    /// Where the request's body is to be left, if that is wanted.
    pub fn capture(&mut self) -> Option<Capture> {
        let capture = Capture::default();
        self.capture = Some(capture.clone());
        Some(capture)
    }

    pub fn decided(&mut self, allowed: bool) {
        let decision = if allowed { "allow" } else { "forbid" };
        self.event["annotations"] =
            json!({"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": ""});
    }

    /// What was asked for, as a tree.
    pub fn request(&mut self, tree: Value) {
        if self.event["objectRef"].is_object() {
            for (key, pointer) in [("name", "/metadata/name"), ("uid", "/metadata/uid")] {
                let said = tree.pointer(pointer).and_then(Value::as_str).filter(|s| !s.is_empty());
                if let (Some(said), true) = (said, self.event["objectRef"][key].is_null()) {
                    self.event["objectRef"][key] = said.into();
                }
            }
        }
        if self.verdict.level >= Level::Request {
            self.event["requestObject"] = self.shown(tree);
        }
    }

    fn shown(&self, mut tree: Value) -> Value {
        if self.verdict.omit_managed_fields {
            let strip = |tree: &mut Value| {
                if let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
                    meta.remove("managedFields");
                }
            };
            tree.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
            strip(&mut tree);
        }
        tree
    }

    fn stage(&self, stage: Stage, fill: impl FnOnce(&mut Value)) {
        if self.verdict.omit.contains(&stage) {
            return;
        }
        let mut event = self.event.clone();
        event["stage"] = stage.as_str().into();
        event["stageTimestamp"] = micro(Timestamp::now()).into();
        fill(&mut event);
        self.audit.send(event);
    }

    fn take_capture(&mut self) {
        let kept = self.capture.take().and_then(|c| c.0.lock().take());
        if let Some((format, bytes)) = kept
            && let Some(tree) = read(format, &bytes)
        {
            self.request(tree);
        }
    }

    /// The end, in process: an object, nothing, or a failure.
    pub fn finish(&mut self, code: u16, object: Option<Value>, failure: Option<&Status>) {
        let mut status = json!({"metadata": {}, "code": code});
        if let Some(failure) = failure {
            status = status_of(failure.to_value());
        }
        let object = object.filter(|_| self.verdict.level >= Level::RequestResponse).map(|o| self.shown(o));
        self.stage(Stage::ResponseComplete, |event| {
            event["responseStatus"] = status;
            if let Some(object) = object {
                event["responseObject"] = object;
            }
        });
    }

    /// The end over HTTP, or the beginning of an answer that goes on. `panicked`: the handler did.
    pub fn answer(mut self, answer: Response<Body>, long_running: bool, panicked: bool) -> Response<Body> {
        self.take_capture();
        let code = answer.status().as_u16();
        let plain = json!({"metadata": {}, "code": code});
        if panicked {
            self.stage(Stage::Panic, |e| e["responseStatus"] = plain);
            return answer;
        }
        let (head, body) = answer.into_parts();
        if long_running && code < 300 {
            self.stage(Stage::ResponseStarted, |e| e["responseStatus"] = plain.clone());
            let end = AtEnd(Some(self), plain);
            let stream = match body {
                Body::Stream(stream) => stream,
                body => return Response::from_parts(head, body),
            };
            // dropped with the stream
            let stream = stream.map(move |item| {
                let _ = &end;
                item
            });
            return Response::from_parts(head, Body::stream(stream));
        }
        let (bytes, body) = body.known();
        let format = match head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) {
            Some(t) if t.starts_with("application/json") => Some(Format::Json),
            Some(t) if t.starts_with(api::protobuf::MEDIA_TYPE) => Some(Format::Protobuf),
            _ => None,
        };
        let wanted = code >= 400 || self.verdict.level >= Level::RequestResponse;
        let tree = match (format, bytes) {
            (Some(format), Some(bytes)) if wanted => read(format, &bytes),
            _ => None,
        };
        let object = tree.as_ref().filter(|_| self.verdict.level >= Level::RequestResponse);
        let object = object.map(|t| self.shown(t.clone()));
        let status = match tree {
            Some(tree) if tree["kind"] == "Status" => status_of(tree),
            _ => plain,
        };
        self.stage(Stage::ResponseComplete, |event| {
            event["responseStatus"] = status;
            if let Some(object) = object {
                event["responseObject"] = object;
            }
        });
        Response::from_parts(head, body)
    }
}

/// Writes a long answer's last event when it ends.
struct AtEnd(Option<Record>, Value);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.stage(Stage::ResponseComplete, |e| e["responseStatus"] = self.1.take());
        }
    }
}

fn status_of(mut tree: Value) -> Value {
    if let Some(status) = tree.as_object_mut() {
        status.remove("kind");
        status.remove("apiVersion");
    }
    tree
}

fn read(format: Format, bytes: &[u8]) -> Option<Value> {
    match format {
        Format::Json => serde_json::from_slice(bytes).ok(),
        Format::Yaml => api::decode::yaml(bytes).ok().map(|d| d.tree),
        Format::Protobuf => api::protobuf::decode(bytes).ok(),
    }
}
