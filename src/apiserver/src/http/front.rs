//! Every request's way in: who, what, whether; then to the verb, to a special route or to discovery.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::table::IncludeObject;
use api::{Reason, Status};
use futures::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::negotiate::{self, Shape};
use super::output::{self, Wanted};
use super::query::Query;
use super::route::{self, Info};
use super::{Body, gzip, verbs};
use crate::authn::{impersonate, is_public};
use crate::authz::forbidden;
use crate::metrics::Metrics;
use crate::special::PathRequest;
use crate::{Attributes, Authenticator, Decision, Engine, User, Verb, discovery, health};

/// `--request-timeout`: how long anything but a watch or a connection may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The other end of a connection.
pub(crate) struct Peer {
    /// Verified, leaf first.
    pub certificates: Vec<Vec<u8>>,
    pub is_local: bool,
}

pub(crate) struct Front {
    pub engine: Arc<Engine>,
    pub authenticator: Arc<dyn Authenticator>,
    pub discovery: discovery::Discovery,
    pub health: health::Health,
    pub metrics: Metrics,
    pub stop: CancellationToken,
    /// Turns when certificates that were good are so no more.
    pub revoked: tokio::sync::watch::Sender<()>,
}

/// A request that has been let in.
pub(crate) struct Admitted {
    pub attributes: Attributes,
    pub info: Info,
    pub query: Query,
    pub request: Request<Incoming>,
}

impl Front {
    /// Never fails: what goes wrong is an answer too.
    pub async fn serve(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        let zip = !peer.is_local && gzip::is_accepted(request.headers());
        let mut label = super::Label::default();
        let work = AssertUnwindSafe(self.enter(&peer, request, &mut label)).catch_unwind();
        let mut answer = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => output::failure(&status),
            Err(_) => {
                tracing::error!(?label, "a request's handler panicked");
                output::failure(&Status::internal("the request's handler panicked"))
            }
        };
        if zip && !label.long_running {
            answer = gzip::compress(answer).await;
        }
        self.metrics.count(&label, answer.status().as_u16(), begun.elapsed());
        answer
    }

    async fn enter(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request<Incoming>,
        label: &mut super::Label,
    ) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let user = self.authenticator.authenticate(request.headers(), &peer.certificates)?;
        if let Some(handler) = self.engine.specials().find_path(path).cloned() {
            label.long_running = true;
            return handler.serve(PathRequest { user, engine: self.engine.clone(), request }).await;
        }
        let user = match user {
            Some(user) => user,
            None if is_public(path) => return self.plain(None, request).await,
            None => return Err(Status::unauthorized()),
        };
        let authorizer = self.engine.authorizer().clone();
        let user = impersonate(request.headers(), &user, &*authorizer)?.unwrap_or(user);
        let Some(info) = route::parse(path)? else {
            let attributes = plain_attributes(&user, &request);
            self.authorize(&attributes)?;
            return self.plain(Some(user), request).await;
        };
        let query = Query::parse(request.uri().query());
        let verb = info.verb(request.method(), query.flag("watch"))?;
        let mut attributes = attributes(user, verb, &info, path);
        if attributes.name.is_empty()
            && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
            && let Some(name) = query.selected_name()
        {
            attributes.name = name;
        }
        self.authorize(&attributes)?;
        label.set(&attributes);
        let admitted = Admitted { attributes, info, query, request };
        if let Some(kind) = verbs::connection(self, &admitted) {
            label.long_running = true;
            return verbs::connect(self, kind, admitted).await;
        }
        if verb == Verb::Watch {
            label.long_running = true;
            return verbs::watch(self, admitted).await;
        }
        match tokio::time::timeout(TIMEOUT, verbs::serve(self, admitted)).await {
            Ok(answer) => answer,
            Err(_) => {
                let text = "Timeout: request did not complete within the allotted timeout";
                Err(Status::new(Reason::Timeout, text))
            }
        }
    }

    fn authorize(&self, attributes: &Attributes) -> Result<(), Status> {
        match self.engine.authorizer().authorize(attributes) {
            Decision::Allow => Ok(()),
            decision => Err(forbidden(attributes, &decision)),
        }
    }

    /// Paths that are no resource.
    async fn plain(&self, _user: Option<Arc<User>>, request: Request<Incoming>) -> Result<Response<Body>, Status> {
        let path = request.uri().path().to_owned();
        if request.method() != http::Method::GET && request.method() != http::Method::HEAD {
            return Err(route::method_not_allowed());
        }
        let query = Query::parse(request.uri().query());
        if let Some(answer) = self.health.answer(&path, &query) {
            return Ok(answer);
        }
        if path.trim_end_matches('/') == "/metrics" {
            return Ok(output::response(200, "text/plain; version=0.0.4", Body::full(self.metrics.text())));
        }
        if let Some(answer) = self.engine.specials().find_document(&path) {
            return Ok(answer);
        }
        self.discovery.answer(&self.engine, &path, request.headers(), &query).await
    }
}

impl Admitted {
    /// `fieldManager=`, else the first word of the user agent: upstream's `managerOrUserAgent`.
    pub fn manager(&self) -> String {
        let agent = || {
            let agent = self.request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok());
            agent.unwrap_or_default().split('/').next().unwrap_or_default()
        };
        match self.query.get("fieldManager") {
            "" => agent().to_owned(),
            manager => manager.to_owned(),
        }
    }
    /// How the answer is wanted.
    pub fn wanted(&self) -> Result<Wanted, Status> {
        let mut accepted = negotiate::accepted(self.request.headers())?;
        if accepted.shape == Shape::Discovery {
            accepted.shape = Shape::Object;
        }
        let include = match accepted.shape {
            Shape::Table => IncludeObject::parse(self.query.get("includeObject")).ok_or_else(|| {
                let text = format!("unrecognized includeObject value: {:?}", self.query.get("includeObject"));
                Status::bad_request(text)
            })?,
            _ => IncludeObject::default(),
        };
        let pretty = matches!(self.query.get("pretty"), "true" | "1");
        Ok(Wanted { accepted, include, pretty })
    }
}

fn attributes(user: Arc<User>, verb: Verb, info: &Info, path: &str) -> Attributes {
    Attributes {
        user,
        verb,
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        path: path.to_owned(),
    }
}

fn plain_attributes(user: &Arc<User>, request: &Request<Incoming>) -> Attributes {
    let verb = match *request.method() {
        http::Method::POST => Verb::Other("post"),
        http::Method::PUT => Verb::Other("put"),
        http::Method::PATCH => Verb::Patch,
        http::Method::DELETE => Verb::Delete,
        http::Method::HEAD => Verb::Other("head"),
        http::Method::OPTIONS => Verb::Other("options"),
        _ => Verb::Get,
    };
    attributes(user.clone(), verb, &Info::default(), request.uri().path())
}
