//! The verbs over HTTP: decode, call the engine, encode. Here a request finds its verb; reading is here too.

mod delete;
mod post;
mod scale;
mod write;

use std::sync::Arc;

use api::{Kind, Reason, Status};
use http::{Method, Response};
use serde_json::json;

use super::front::{Admitted, Front};
use super::negotiate::Format;
use super::output::{self, Frames};
use super::{Body, route, watch as stream};
use crate::engine::{Call, ListFailure, Part, Served, WatchRequest};
use crate::special::{Connect, ConnectRequest, Virtual};
use crate::{Verb, admission};
use post::{Expected, post};

fn served(front: &Front, a: &Admitted) -> Result<Arc<Served>, Status> {
    let i = &a.info;
    let served = front.engine.served(&i.group, &i.version, &i.resource).ok_or_else(route::not_found)?;
    let within = !i.namespace.is_empty();
    // one object needs its namespace, and a cluster-scoped resource has none (a namespace is in itself)
    let misplaced = match served.namespaced() {
        true => !within && !i.name.is_empty(),
        false => within && i.resource != "namespaces",
    };
    if misplaced {
        return Err(route::not_found());
    }
    // all namespaces together can be read, no more
    let across = served.namespaced() && !within;
    match a.attributes.verb {
        Verb::Create | Verb::DeleteCollection if across => Err(route::method_not_allowed()),
        Verb::Update | Verb::Patch if i.name.is_empty() => Err(route::method_not_allowed()),
        _ => Ok(served),
    }
}

/// The handler of a subresource that wants the connection.
pub(crate) fn connection(front: &Front, a: &Admitted) -> Option<(Arc<Kind>, Arc<dyn Connect>)> {
    if a.info.subresource.is_empty() {
        return None;
    }
    let served = served(front, a).ok()?;
    let handler = front.engine.specials().find_connect(&served.kind.group, &a.info.resource, &a.info.subresource)?;
    Some((served.kind.clone(), handler.clone()))
}

pub(crate) async fn connect(
    front: &Arc<Front>,
    (kind, handler): (Arc<Kind>, Arc<dyn Connect>),
    a: Admitted,
) -> Result<Response<Body>, Status> {
    let served = served(front, &a)?;
    let (i, query) = (&a.info, a.request.uri().query().unwrap_or_default());
    let options = || admission::connection(&kind.group, &i.resource, &i.subresource, &i.rest, query);
    let options = front.engine.admit_connection(&a.attributes, &served, options).await?;
    let Admitted { attributes, info, request, .. } = a;
    let engine = front.engine.clone();
    handler.connect(ConnectRequest { attributes, engine, kind, path: info.rest, options, request }).await
}

pub(crate) async fn watch(front: &Front, a: Admitted) -> Result<Response<Body>, Status> {
    let served = served(front, &a)?;
    let wanted = a.wanted()?;
    let unframed = match wanted.accepted.format {
        Format::Json => false,
        Format::Yaml => true,
        Format::Protobuf => !api::protobuf::covers(&served.group, &served.version, &served.kind.kind),
    };
    if unframed {
        let text = "only the following media types are accepted: application/json;stream=watch";
        return Err(Status::new(Reason::NotAcceptable, text));
    }
    let (labels, mut fields) = a.query.selectors(&served.kind)?;
    if !a.info.name.is_empty() {
        fields = api::fields::FieldSelector::parse(&format!("metadata.name={}", a.info.name))?;
    }
    let initial = a.query.initial()?;
    let options = stream::Options {
        bookmarks: a.query.flag("allowWatchBookmarks"),
        timeout_seconds: a.query.timeout_seconds()?,
        stop: front.stop.clone(),
    };
    let namespace = if served.namespaced() { a.info.namespace.as_str() } else { "" };
    let changes = front.engine.watch(&served, namespace, WatchRequest { labels, fields, initial }).await;
    let changes = match changes {
        Err(status) if !status.is_expired() => return Err(status),
        changes => changes,
    };
    let warning = served.warning.clone();
    let frames = Frames::new(served, wanted);
    let content_type = frames.content_type();
    let mut answer = output::response(200, content_type, stream::body(changes, frames, options));
    output::warn(&mut answer, warning.as_slice());
    Ok(answer)
}

/// Everything that ends by itself.
pub(crate) async fn serve(front: &Arc<Front>, a: Admitted) -> Result<Response<Body>, Status> {
    let i = &a.info;
    let specials = front.engine.specials();
    if let Some(Virtual { kind, handler, served }) = specials.find_virtual(&i.group, &i.version, &i.resource) {
        if a.attributes.verb != Verb::Create || kind.namespaced == i.namespace.is_empty() || !i.name.is_empty() {
            return Err(route::method_not_allowed());
        }
        let (handler, served) = (handler.clone(), served.clone());
        let expected = Expected { kind: kind.kind, group: kind.group, version: kind.version };
        return post(front, a, &handler, &served, expected).await;
    }
    let served = served(front, &a)?;
    let warning = served.warning.clone();
    let answer = resource(front, a, served).await;
    answer.map(|mut answer| {
        output::warn(&mut answer, warning.as_slice());
        answer
    })
}

async fn resource(front: &Arc<Front>, a: Admitted, served: Arc<Served>) -> Result<Response<Body>, Status> {
    let (kind, sub, method) = (&served.kind, a.info.subresource.as_str(), a.request.method());
    if sub == "scale" && kind.subresources.scale {
        return match *method {
            Method::GET | Method::HEAD => scale::get(front, a, &served).await,
            Method::PUT | Method::PATCH => scale::write(front, a, &served).await,
            _ => Err(route::method_not_allowed()),
        };
    }
    if !sub.is_empty()
        && *method == Method::POST
        && let Some(handler) = front.engine.specials().find_post(&kind.group, &kind.plural, sub).cloned()
    {
        let expected = Expected::of(&kind.group, &kind.plural, sub).ok_or_else(route::not_found)?;
        return post(front, a, &handler, &served, expected).await;
    }
    let part =
        Part::of(kind, sub).ok_or_else(|| match front.engine.specials().find_post(&kind.group, &kind.plural, sub) {
            Some(_) => route::method_not_allowed(),
            None => route::not_found(),
        })?;
    if part == Part::Main && !kind.verbs.iter().any(|v| v == a.attributes.verb.as_str()) {
        return Err(route::method_not_allowed());
    }
    match a.attributes.verb {
        Verb::Get => {
            let wanted = a.wanted()?;
            front.engine.reached(a.query.version()?)?;
            let object = front.engine.get_one(&Call::new(&a.attributes, &served, false), &a.info.name).await?;
            Ok(output::object(&wanted, &served, 200, &object))
        }
        Verb::Update => write::update(front, a, &served, part).await,
        Verb::Patch => write::patch(front, a, &served, part).await,
        _ if part != Part::Main => Err(route::method_not_allowed()),
        Verb::List => list(front, a, &served).await,
        Verb::Create if a.info.name.is_empty() => write::create(front, a, &served).await,
        Verb::Delete => delete::one(front, a, &served).await,
        Verb::DeleteCollection if kind.verbs.iter().any(|v| v == "deletecollection") => {
            delete::collection(front, a, &served).await
        }
        _ => Err(route::method_not_allowed()),
    }
}

async fn list(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let wanted = a.wanted()?;
    let request = a.query.list(&served.kind)?;
    let namespace = if served.namespaced() { a.info.namespace.as_str() } else { "" };
    match front.engine.list(served, namespace, &request).await {
        Ok(listing) => Ok(output::list(&wanted, served, &listing)),
        Err(ListFailure::Status(status)) => Err(status),
        Err(ListFailure::Expired { status, next }) => {
            let mut tree = status.to_value();
            tree["metadata"]["continue"] = json!(next);
            Ok(output::tree(&wanted, status.code, &tree))
        }
    }
}
