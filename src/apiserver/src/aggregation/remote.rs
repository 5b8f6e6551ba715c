//! A group and version that another API server serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use api::{Object, Value};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::Notify;

use super::connect::Connector;
use super::openapi::Said;

/// What of an APIService counts, and what is known of whom it names.
pub(crate) struct Remote {
    /// `v1alpha1.wardle.example.com`
    pub name: String,
    pub group: String,
    pub version: String,
    /// `groupPriorityMinimum`, `versionPriority`
    pub priority: (i64, i64),
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub connector: Arc<Connector>,
    /// Or why there is no connection to be made.
    pub tls: Result<Arc<ClientConfig>, String>,
    /// As it was written; another makes another remote.
    pub(super) spec: Value,
    /// The condition `Available`.
    available: AtomicBool,
    /// Something that its availability hangs on has changed.
    pub(super) touched: Notify,
    /// `resources` of the APIResourceList that it answered last, and whether it still does.
    resources: Mutex<Option<(Arc<Vec<Value>>, bool)>>,
    /// What it says of its OpenAPI, by path, and since when.
    pub(super) documents: Mutex<Vec<(String, Instant, Option<Said>)>>,
}

/// Whether the condition `Available` is true.
fn is_available(tree: &Value) -> bool {
    let conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == "Available").any(|c| c["status"] == "True")
}

/// Whether an APIService is of another server.
pub(super) fn is_remote(tree: &Value) -> bool {
    tree["spec"]["service"].is_object() && tree["spec"]["group"].as_str().is_some_and(|g| !g.is_empty())
}

impl Remote {
    /// Of an APIService for which [`is_remote`] holds.
    pub(super) fn new(object: &Object, tree: &Value, connector: &Arc<Connector>) -> Remote {
        let spec = &tree["spec"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (namespace, service) = (text(&spec["service"]["namespace"]), text(&spec["service"]["name"]));
        Remote {
            name: object.name().to_owned(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            priority: (
                spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
                spec["versionPriority"].as_i64().unwrap_or_default(),
            ),
            port: spec["service"]["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            tls: connector.tls(spec["caBundle"].as_str(), spec["insecureSkipTLSVerify"] == true),
            connector: connector.clone(),
            namespace,
            service,
            spec: spec.clone(),
            available: AtomicBool::new(is_available(tree)),
            touched: Notify::new(),
            resources: Mutex::default(),
            documents: Mutex::default(),
        }
    }

    /// The host that its certificate must be for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
    /// Where its discovery is.
    pub fn root(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }
    pub(super) fn learn(&self, tree: &Value) {
        self.available.store(is_available(tree), Ordering::Relaxed);
    }
    /// What it serves, as it said last, and whether it says so still.
    pub fn resources(&self) -> (Arc<Vec<Value>>, bool) {
        let known = self.resources.lock().clone();
        known.map_or_else(Default::default, |(list, fresh)| (list, fresh && self.is_available()))
    }
    /// `None`: it did not answer.
    pub(super) fn answered(&self, list: Option<Value>) {
        let mut known = self.resources.lock();
        match (list, &mut *known) {
            (Some(mut list), _) => {
                let resources = match list["resources"].take() {
                    Value::Array(resources) => resources,
                    _ => Vec::new(),
                };
                *known = Some((Arc::new(resources), true));
            }
            (None, Some((_, fresh))) => *fresh = false,
            (None, None) => {}
        }
    }
}
