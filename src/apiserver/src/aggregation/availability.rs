//! Whether the API server behind an APIService is there: upstream's `remote_available_controller.go`.

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use api::Value;
use serde_json::json;

use super::connect::slices;
use super::{Aggregation, Remote, modify};
use crate::{Engine, Lookup, crd};

/// One that answers is asked again after this long, for it may die without a word.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Of one try.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: usize = 2;

/// What the condition `Available` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub ok: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Verdict {
        Verdict { ok: false, reason, message }
    }
    /// Of what this server serves itself.
    pub fn local() -> Verdict {
        Verdict { ok: true, reason: "Local", message: "Local APIServices are always available".into() }
    }
    fn passed() -> Verdict {
        Verdict { ok: true, reason: "Passed", message: "all checks passed".into() }
    }
    fn is_in(&self, tree: &Value) -> bool {
        let conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
        let status = if self.ok { "True" } else { "False" };
        conditions
            .filter(|c| c["type"] == "Available")
            .any(|c| c["status"] == status && c["reason"] == self.reason && c["message"] == self.message.as_str())
    }
}

/// Checks a remote whenever something that it hangs on changes; while it is there now and then, while it does not answer with
/// back-off.
pub(super) async fn keep_checked(engine: Arc<Engine>, aggregation: Arc<Aggregation>, remote: Arc<Remote>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let before = remote.resources();
        let verdict = check(&remote).await;
        if remote.resources() != before {
            aggregation.changed();
        }
        write(&engine, &remote.name, &verdict).await;
        let wait = match verdict.reason {
            "Passed" => {
                backoff = BACKOFF_FIRST;
                Some(LOOK_AGAIN)
            }
            "FailedDiscoveryCheck" => {
                let wait = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                Some(wait)
            }
            // of the others an event tells
            _ => None,
        };
        match wait {
            Some(wait) => drop(tokio::time::timeout(wait, remote.touched.notified()).await),
            None => remote.touched.notified().await,
        }
    }
}

/// Writes the condition where it says something else.
pub(super) async fn write(engine: &Engine, name: &str, verdict: &Verdict) {
    let now = engine.store().get(&store::Key::new(super::RESOURCE, "", name));
    if now.is_none_or(|o| verdict.is_in(&o.tree())) {
        return;
    }
    let done = modify(engine, name, |tree| {
        if !tree["status"].is_object() {
            tree["status"] = json!({});
        }
        crd::set_condition(tree, "Available", verdict.ok, verdict.reason, &verdict.message);
        Ok(())
    });
    match done.await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(api_service = name, %error, "the status of an APIService was not written");
        }
        _ if verdict.ok => tracing::debug!(api_service = name, "available"),
        _ => tracing::info!(api_service = name, reason = verdict.reason, message = verdict.message, "not available"),
    }
}

/// What is wrong with the service, if there is something.
fn service(lookup: &dyn Lookup, namespace: &str, name: &str, port: u16) -> Result<(), Verdict> {
    let Some(found) = lookup.get("services", namespace, name) else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Err(Verdict::no("ServiceNotFound", message));
    };
    let tree = found.tree();
    if tree["spec"]["type"].as_str().is_some_and(|t| t != "ClusterIP") {
        return Ok(());
    }
    let ports = tree["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(listens) = ports.iter().find(|p| p["port"] == port) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Verdict::no("ServicePortError", message));
    };
    let port_name = listens["name"].as_str().unwrap_or_default();
    let slices = slices(lookup, namespace, name);
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(Verdict::no("EndpointsNotFound", message));
    }
    let has_addresses = slices.iter().map(|s| s.tree()).any(|slice| {
        let list = |key: &str| slice[key].as_array().cloned().unwrap_or_default();
        let ready = list("endpoints")
            .iter()
            .any(|e| e["conditions"]["ready"] != false && e["addresses"].as_array().is_some_and(|a| !a.is_empty()));
        ready && list("ports").iter().any(|p| p["name"].as_str().unwrap_or_default() == port_name)
    });
    if !has_addresses {
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Err(Verdict::no("MissingEndpoints", message));
    }
    Ok(())
}

async fn check(remote: &Remote) -> Verdict {
    if let Err(verdict) = service(&*remote.connector.lookup, &remote.namespace, &remote.service, remote.port) {
        return verdict;
    }
    let url = format!("https://{}:{}{}", remote.host(), remote.port, remote.root());
    let mut last = String::new();
    for _ in 0..TRIES {
        let accept = HeaderValue::from_static("application/json");
        let path = remote.root();
        let asked = remote.connector.get(remote, &path, &accept);
        last = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) if (200..300).contains(&answer.code) => {
                remote.answered(serde_json::from_slice(&answer.body).ok());
                return Verdict::passed();
            }
            Ok(Ok(answer)) => {
                format!("failing or missing response from {url}: bad status from {url}: {}", answer.code)
            }
            Ok(Err(error)) => format!("failing or missing response from {url}: Get {url:?}: {error}"),
            Err(_) => format!("timed out waiting for {url}"),
        };
    }
    remote.answered(None);
    Verdict::no("FailedDiscoveryCheck", last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::fake::Cluster;

    #[test]
    fn a_service_must_be_there_and_ready() {
        let cluster = Cluster::default();
        let reason = || service(&cluster, "n", "s", 443).err().map(|v| (v.reason, v.message));
        let no = |reason, message: &str| Some((reason, message.to_owned()));
        assert_eq!(reason(), no("ServiceNotFound", "service/s in \"n\" is not present"));
        let tree = |port: u16| {
            json!({"metadata": {"name": "s", "namespace": "n"},
                "spec": {"type": "ClusterIP", "ports": [{"port": port, "name": "https"}]}})
        };
        cluster.put("services", tree(80));
        assert_eq!(reason(), no("ServicePortError", "service/s in \"n\" is not listening on port 443"));
        cluster.put("services", tree(443));
        assert_eq!(reason(), no("EndpointsNotFound", "cannot find endpointslices for service/s in \"n\""));
        let slice = |ready: bool| {
            json!({"metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
                "ports": [{"name": "https", "port": 8443}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
        };
        cluster.put("discovery.k8s.io/endpointslices", slice(false));
        assert_eq!(
            reason(),
            no("MissingEndpoints", "endpointslices for service/s in \"n\" have no addresses with port name \"https\"")
        );
        cluster.put("discovery.k8s.io/endpointslices", slice(true));
        assert_eq!(reason(), None);
    }
}
