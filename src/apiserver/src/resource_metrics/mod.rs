//! `metrics.k8s.io/v1beta1`: what nodes and pods use, for `kubectl top` and autoscalers. Upstream's metrics-server.
//!
//! Asked of the kubelets (`/stats/summary`, by the dialer) when somebody asks; nothing is scraped and nothing is kept. An
//! APIService that names a service takes the group over, so that a real metrics-server can be installed.

mod answer;
mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::http::Response;
use api::fields::FieldSelector;
use api::labels::Selector;
use api::{Object, Reason, Status, Value};
use client::NodeDialer;
use futures::future::join_all;
use serde_json::json;

use crate::http::negotiate::{Accepted, Shape};
use crate::http::output::{self, Wanted};
use crate::http::query::Query;
use crate::http::{Body, not_found};
use crate::{Attributes, Engine, Lookup, Verb};
use fetch::Summary;

pub(crate) const GROUP: &str = "metrics.k8s.io";
pub(crate) const VERSION: &str = "v1beta1";

/// Of one node.
const PATIENCE: Duration = Duration::from_secs(10);

/// The two resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Nodes,
    Pods,
}

impl Resource {
    fn kind(self) -> &'static str {
        match self {
            Resource::Nodes => "NodeMetrics",
            Resource::Pods => "PodMetrics",
        }
    }
    fn plural(self) -> &'static str {
        match self {
            Resource::Nodes => "nodes",
            Resource::Pods => "pods",
        }
    }
}

/// `resources` of the group's APIResourceList.
pub(crate) fn resources() -> Vec<Value> {
    let line = |r: Resource| {
        json!({"name": r.plural(), "singularName": "", "namespaced": r == Resource::Pods, "kind": r.kind(),
            "verbs": ["get", "list"]})
    };
    vec![line(Resource::Nodes), line(Resource::Pods)]
}

/// Answers from the kubelets.
pub(crate) struct ResourceMetrics {
    dialer: Arc<dyn NodeDialer>,
}

impl ResourceMetrics {
    pub fn new(dialer: Arc<dyn NodeDialer>) -> ResourceMetrics {
        ResourceMetrics { dialer }
    }

    /// A request of the group, authorized.
    pub async fn serve(
        &self,
        engine: &Arc<Engine>,
        a: &Attributes,
        query: &Query,
        accepted: Accepted,
    ) -> Result<Response<Body>, Status> {
        let wanted =
            Wanted { accepted, include: Default::default(), pretty: matches!(query.get("pretty"), "true" | "1") };
        let resource = asked(a)?;
        let tree = match a.verb {
            Verb::Get => match self.one(engine, a).await? {
                item if accepted.shape == Shape::Table => answer::table(resource, &[item]),
                item => item,
            },
            _ => {
                let items = self.all(engine, a, query.get("labelSelector"), query.get("fieldSelector")).await?;
                match accepted.shape {
                    Shape::Table => answer::table(resource, &items),
                    _ => answer::list(resource, items),
                }
            }
        };
        let accepted = Accepted { shape: Shape::Object, ..wanted.accepted };
        Ok(output::tree(&Wanted { accepted, ..wanted }, 200, &tree))
    }

    /// The figures of the one that is named.
    pub async fn one(&self, engine: &Engine, a: &Attributes) -> Result<Value, Status> {
        let resource = asked(a)?;
        let kind = engine.kind("", "v1", resource.plural()).ok_or_else(not_found)?;
        let Ok(object) = engine.get(&kind, &a.namespace, &a.name) else {
            return Err(Status::not_found(GROUP, resource.plural(), &a.name));
        };
        self.measured(resource, &[object]).await.pop().ok_or_else(|| not_measured(resource, a))
    }

    /// Those of all that are selected.
    pub async fn all(&self, engine: &Engine, a: &Attributes, labels: &str, fields: &str) -> Result<Vec<Value>, Status> {
        let resource = asked(a)?;
        Ok(self.measured(resource, &select(engine, a, resource, labels, fields)?).await)
    }

    /// What is known of the objects, in their order; those whose node does not answer are left out, as upstream does.
    async fn measured(&self, resource: Resource, selected: &[Arc<Object>]) -> Vec<Value> {
        let home = |o: &Object| match resource {
            Resource::Nodes => Some(o.name().to_owned()),
            Resource::Pods => o.tree()["spec"]["nodeName"].as_str().map(str::to_owned),
        };
        let homes: Vec<Option<String>> = selected.iter().map(|o| home(o)).collect();
        let nodes: BTreeSet<&String> = homes.iter().flatten().collect();
        let asked = nodes.into_iter().map(async |node| {
            let asked = tokio::time::timeout(PATIENCE, Summary::fetch(&*self.dialer, node)).await;
            match asked.unwrap_or_else(|_| Err("it does not answer".into())) {
                Ok(summary) => Some((node.clone(), summary)),
                Err(error) => {
                    tracing::debug!(node, error, "a node's figures could not be had");
                    None
                }
            }
        });
        let summaries: BTreeMap<String, Summary> = join_all(asked).await.into_iter().flatten().collect();
        let of = |(object, home): (&Arc<Object>, &Option<String>)| {
            let summary = summaries.get(home.as_ref()?)?;
            match resource {
                Resource::Nodes => answer::node(object, summary),
                Resource::Pods => answer::pod(object, summary),
            }
        };
        selected.iter().zip(&homes).filter_map(of).collect()
    }
}

fn not_measured(resource: Resource, a: &Attributes) -> Status {
    let name = if a.namespace.is_empty() { a.name.clone() } else { format!("{}/{}", a.namespace, a.name) };
    let text = format!("{} metrics not found for {name:?}", resource.plural().trim_end_matches('s'));
    Status { name: a.name.clone(), ..Status::new(Reason::NotFound, text) }
}

/// What a request is about, if that can be read.
fn asked(a: &Attributes) -> Result<Resource, Status> {
    let resource = match a.resource.as_str() {
        "nodes" if a.namespace.is_empty() => Resource::Nodes,
        "pods" => Resource::Pods,
        _ => return Err(not_found()),
    };
    if !a.subresource.is_empty() {
        return Err(not_found());
    }
    if !matches!(a.verb, Verb::Get | Verb::List) {
        return Err(Status::method_not_allowed(GROUP, resource.plural(), a.verb.as_str()));
    }
    Ok(resource)
}

/// The nodes or pods that are asked for.
fn select(
    engine: &Engine,
    a: &Attributes,
    resource: Resource,
    labels: &str,
    fields: &str,
) -> Result<Vec<Arc<Object>>, Status> {
    let kind = engine.kind("", "v1", resource.plural()).ok_or_else(not_found)?;
    let labels = match labels {
        "" => Selector::everything(),
        text => Selector::parse(text)?,
    };
    let fields = match fields {
        "" => FieldSelector::default(),
        text => FieldSelector::for_kind(text, &kind)?,
    };
    let mut all = Lookup::list(&**engine.store(), resource.plural(), &a.namespace);
    all.retain(|o| labels.matches(&o.meta().labels) && fields.matches(&*kind.strategy, o));
    Ok(all)
}
