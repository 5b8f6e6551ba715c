//! From what `logs`, `exec` and `port-forward` are given to pods: a pod, or the pods behind a workload or service.

use std::time::Duration;

use api::Value;

use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::objects::{list, text};
use crate::session::Session;

/// The label selector of the pods behind an object; `None` where there is none.
fn selector(o: &Value) -> Option<String> {
    let s = &o["spec"]["selector"];
    let labels = s.get("matchLabels").unwrap_or(s);
    let labels =
        if s.get("matchExpressions").is_some() && s.get("matchLabels").is_none() { &Value::Null } else { labels };
    let mut parts: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for e in list(s, "/matchExpressions") {
        let values: Vec<&str> = list(e, "/values").iter().filter_map(Value::as_str).collect();
        let (key, values) = (text(e, "/key"), values.join(","));
        parts.push(match text(e, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

/// Pods by label selector, those that are ready and have run longest first (`podutils.ByLogging`, `ActivePods`).
pub async fn by_selector(s: &Session, namespace: &str, selector: &str) -> Result<Vec<Value>> {
    let mapping = s.mapping("pods").await?;
    let mut all = s.list(&mapping, namespace, &[("labelSelector", selector), ("limit", "500")]).await?;
    let mut pods = match all["items"].take() {
        Value::Array(pods) => pods,
        _ => Vec::new(),
    };
    let ready = |p: &Value| list(p, "/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    pods.sort_by_cached_key(|p| {
        let phase = match text(p, "/status/phase") {
            "Running" => 0,
            "Pending" => 1,
            _ => 2,
        };
        (text(p, "/spec/nodeName").is_empty(), phase, !ready(p), text(p, "/metadata/creationTimestamp").to_owned())
    });
    Ok(pods)
}

/// What `NAME`, `TYPE/NAME` means: the object and its type. A bare name is a pod's.
pub async fn object(s: &Session, arg: &str) -> Result<(Mapping, Value)> {
    let (kind, name) = arg.split_once('/').unwrap_or(("pods", arg));
    let mapping = s.mapping(kind).await?;
    let object = s.get(&mapping.path(s.namespace_of(&mapping, false), name)).await?;
    Ok((mapping, object))
}

/// All pods behind an object; a pod is itself.
pub async fn behind(s: &Session, mapping: &Mapping, object: Value) -> Result<Vec<Value>> {
    if mapping.kind == "Pod" && mapping.group.is_empty() {
        return Ok(vec![object]);
    }
    let Some(chosen) = selector(&object) else {
        return Err(Error::other(format!("cannot attach to *v1.{}: selector of pods is not known", mapping.kind)));
    };
    by_selector(s, text(&object, "/metadata/namespace"), &chosen).await
}

/// One pod behind `arg`, waiting up to `timeout` for one to appear.
pub async fn one(s: &Session, arg: &str, timeout: Duration) -> Result<Value> {
    let (mapping, found) = object(s, arg).await?;
    let deadline = tokio::time::Instant::now() + timeout;
    if let Some(pod) = behind(s, &mapping, found.clone()).await?.into_iter().next() {
        return Ok(pod);
    }
    // the workload's own changes tell that it has made pods
    let (namespace, name) = (text(&found, "/metadata/namespace").to_owned(), text(&found, "/metadata/name").to_owned());
    let left = deadline - tokio::time::Instant::now();
    let has_pods = s.until(&mapping, &namespace, &name, Some(left), |o| {
        Ok(o.filter(|o| o["status"]["replicas"].as_i64().or(o["status"]["active"].as_i64()).unwrap_or(0) > 0)
            .map(|_| ()))
    });
    has_pods.await?;
    let pods = behind(s, &mapping, found).await?;
    pods.into_iter().next().ok_or_else(|| Error::other("timed out waiting for the condition"))
}

/// The container that is meant where none is named: the annotation's, or the first; said on stderr when there are several.
pub fn default_container(pod: &Value, quiet: bool) -> Result<String> {
    let names: Vec<&str> = containers(pod);
    let chosen = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    if let Some(name) = chosen.filter(|c| names.contains(c)) {
        return Ok(name.to_owned());
    }
    let first = list(pod, "/spec/containers").first().map(|c| text(c, "/name").to_owned());
    let first = first.ok_or_else(|| Error::other("the pod has no containers"))?;
    if names.len() > 1 && !quiet {
        eprintln!("Defaulted container {first:?} out of: {}", listed(pod));
    }
    Ok(first)
}

/// All containers' names: regular, ephemeral, init.
pub fn containers(pod: &Value) -> Vec<&str> {
    let of = |pointer: &str| list(pod, pointer).iter().map(|c| text(c, "/name")).collect::<Vec<_>>();
    [of("/spec/containers"), of("/spec/ephemeralContainers"), of("/spec/initContainers")].concat()
}

/// `a, b (ephem), c (init)`
pub fn listed(pod: &Value) -> String {
    let of = |pointer: &str, mark: &str| {
        list(pod, pointer).iter().map(|c| format!("{}{mark}", text(c, "/name"))).collect::<Vec<_>>()
    };
    [of("/spec/containers", ""), of("/spec/ephemeralContainers", " (ephem)"), of("/spec/initContainers", " (init)")]
        .concat()
        .join(", ")
}
