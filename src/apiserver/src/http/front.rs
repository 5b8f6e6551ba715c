//! Every request's way in: who, what, whether; then to the verb, to a special route or to discovery.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::table::IncludeObject;
use api::{Reason, Status};
use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::negotiate::{self, Shape};
use super::output::{self, Wanted};
use super::query::{Query, manager_of_agent};
use super::route::{self, Info};
use super::{Body, gzip, verbs};
use crate::aggregation::{self, Aggregation};
use crate::audit::{Audit, Origin, Record, noting};
use crate::authn::{anonymous, impersonate, is_public};
use crate::authz::forbidden;
use crate::fairness::{Fairness, Marks, Seat};
use crate::metrics::{self, Metrics};
use crate::profile::{self, Profiling};
use crate::special::PathRequest;
use crate::{Attributes, Authenticator, Decision, Engine, User, Verb, discovery, health, resource_metrics};

/// `--request-timeout`: how long anything but a watch or a connection may take.
const TIMEOUT: Duration = Duration::from_secs(60);

const AUDIT_ID: &str = "audit-id";

/// The client's own, if it has one: upstream's `WithAuditInit`.
fn audit_id(request: &Request<Incoming>) -> HeaderValue {
    if let Some(own) = request.headers().get(AUDIT_ID).filter(|v| (1..=64).contains(&v.len())) {
        return own.clone();
    }
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens")
}

/// The other end of a connection.
pub(crate) struct Peer {
    /// Verified, leaf first.
    pub certificates: Vec<Vec<u8>>,
    pub address: IpAddr,
    /// Set once it may rest for long without reading.
    pub patient: Arc<AtomicBool>,
}

pub(crate) struct Front {
    pub engine: Arc<Engine>,
    pub aggregation: Arc<Aggregation>,
    pub authenticator: Arc<dyn Authenticator>,
    pub discovery: discovery::Discovery,
    pub health: health::Health,
    pub metrics: Metrics,
    pub audit: Option<Arc<Audit>>,
    pub fairness: Option<Arc<Fairness>>,
    /// `--anonymous-auth`
    pub anonymous: bool,
    pub profiling: Option<Profiling>,
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

/// What is remembered of a request while it is served.
#[derive(Default)]
struct Trace {
    label: super::Label,
    record: Option<Record>,
    marks: Option<Arc<Marks>>,
}

impl Front {
    /// Never fails: what goes wrong is an answer too.
    pub async fn serve(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        let zip = !peer.address.is_loopback() && gzip::is_accepted(request.headers());
        let id = audit_id(&request);
        let mut trace = Trace::default();
        let _running = self.metrics.begin(!matches!(*request.method(), http::Method::GET | http::Method::HEAD));
        let work = AssertUnwindSafe(self.enter(&peer, request, &id, &mut trace)).catch_unwind();
        let mut panicked = false;
        let mut answer = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => output::failure(&status),
            Err(_) => {
                panicked = true;
                tracing::error!(label = ?trace.label, "a request's handler panicked");
                output::failure(&Status::internal("the request's handler panicked"))
            }
        };
        let Trace { label, record, marks } = trace;
        if let Some(marks) = marks {
            marks.put(answer.headers_mut());
        }
        if let Some(record) = record {
            answer = record.answer(answer, label.long_running, panicked);
        }
        if zip && !label.long_running {
            answer = gzip::compress(answer).await;
        }
        answer.headers_mut().insert(AUDIT_ID, id);
        self.metrics.count(&label, answer, begun.elapsed())
    }

    async fn enter(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request<Incoming>,
        id: &HeaderValue,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let user = match self.authenticate(peer, &request).await {
            Ok(user) => user,
            Err(status) => {
                trace.record = self.record(&plain_attributes(&anonymous(), &request), peer, &request, id, None);
                return Err(status);
            }
        };
        if let Some(handler) = self.engine.specials().find_path(path).cloned() {
            trace.label.long_running = true;
            peer.patient.store(true, Ordering::Relaxed);
            return handler.serve(PathRequest { user, engine: self.engine.clone(), request }).await;
        }
        let own = match user {
            Some(user) => user,
            None if is_public(path) => return self.plain(None, request).await,
            None if self.anonymous => anonymous(),
            None => return Err(Status::unauthorized()),
        };
        let authorizer = self.engine.authorizer().clone();
        let user = match impersonate(request.headers(), &own, &*authorizer) {
            Ok(user) => user.unwrap_or_else(|| own.clone()),
            Err(status) => {
                trace.record = self.record(&plain_attributes(&own, &request), peer, &request, id, None);
                return Err(status);
            }
        };
        let Some(info) = route::parse(path)? else {
            let attributes = plain_attributes(&user, &request);
            trace.record = self.record(&attributes, peer, &request, id, Some(&own));
            let lasting = self.profiling.is_some() && profile::is_long_running(path);
            let _seat = if lasting { None } else { self.seat(&attributes, trace).await? };
            self.decide(&attributes, trace)?;
            if lasting {
                trace.label.long_running = true;
                peer.patient.store(true, Ordering::Relaxed);
            } else if let Some(remote) = self.aggregation.find_path(path) {
                let answer = aggregation::serve(&remote, &attributes.user, request);
                return tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| timed_out());
            }
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
        trace.record = self.record(&attributes, peer, &request, id, Some(&own));
        // a watch has its seat until it begins
        let seat = self.seat(&attributes, trace).await?;
        self.decide(&attributes, trace)?;
        trace.label.set(&attributes);
        if let Some(remote) = self.aggregation.find(&attributes.group, &attributes.version) {
            let lasting = aggregation::is_long_running(&attributes, &request);
            let answer = aggregation::serve(&remote, &attributes.user, request);
            if lasting {
                trace.label.long_running = true;
                peer.patient.store(true, Ordering::Relaxed);
                drop(seat);
                return Ok(answer.await);
            }
            return tokio::time::timeout(query.timeout(TIMEOUT)?, answer).await.map_err(|_| timed_out());
        }
        if attributes.group == resource_metrics::GROUP
            && attributes.version == resource_metrics::VERSION
            && let Some(metrics) = self.aggregation.metrics()
        {
            let accepted = negotiate::accepted(request.headers())?;
            return metrics.serve(&self.engine, &attributes, &query, accepted).await;
        }
        let mut admitted = Admitted { attributes, info, query, request };
        if let Some(capture) = trace.record.as_mut().and_then(Record::capture) {
            admitted.request.extensions_mut().insert(capture);
        }
        if let Some(kind) = verbs::connection(self, &admitted) {
            trace.label.long_running = true;
            // a person may read a log, or leave a terminal alone
            peer.patient.store(true, Ordering::Relaxed);
            drop(seat);
            return noting(trace.record.as_mut(), verbs::connect(self, kind, admitted)).await;
        }
        if verb == Verb::Watch {
            trace.label.long_running = true;
            return verbs::watch(self, admitted).await;
        }
        let limit = admitted.query.timeout(TIMEOUT)?;
        match tokio::time::timeout(limit, noting(trace.record.as_mut(), verbs::serve(self, admitted))).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out()),
        }
    }

    /// From memory where that is enough, else by whoever must be asked.
    async fn authenticate(&self, peer: &Peer, request: &Request<Incoming>) -> Result<Option<Arc<User>>, Status> {
        match self.authenticator.authenticate(request.headers(), &peer.certificates) {
            Err(status) => match self.authenticator.inquire(request.headers()) {
                Some(answer) => answer.await.map(Some),
                None => Err(status),
            },
            known => known,
        }
    }

    /// `own`: who asks, whom they act as apart; absent where it is not known.
    fn record(
        &self,
        attributes: &Attributes,
        peer: &Peer,
        request: &Request<Incoming>,
        id: &HeaderValue,
        own: Option<&Arc<User>>,
    ) -> Option<Record> {
        let audit = self.audit.as_ref()?;
        let (uri, source) = (request.uri(), peer.address.to_string());
        let uri = uri.path_and_query().map_or("/", |p| p.as_str());
        let origin = Origin { id: id.to_str().unwrap_or_default(), uri, headers: request.headers(), source: &source };
        let own = own.unwrap_or(&attributes.user);
        let other = (!Arc::ptr_eq(own, &attributes.user)).then_some(&*attributes.user);
        audit.begin(attributes, &origin, own, other)
    }

    async fn seat(&self, attributes: &Attributes, trace: &mut Trace) -> Result<Option<Seat>, Status> {
        match &self.fairness {
            Some(fairness) => fairness.enter(attributes, &mut trace.marks).await,
            None => Ok(None),
        }
    }

    fn decide(&self, attributes: &Attributes, trace: &mut Trace) -> Result<(), Status> {
        let decision = self.authorize(attributes);
        if let Some(record) = &mut trace.record {
            record.decided(decision.is_ok());
        }
        decision
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
        if let Some(profiling) = &self.profiling
            && let Some(answer) = profiling.answer(&self.engine, &path, &query).await
        {
            return Ok(answer);
        }
        if path.trim_end_matches('/') == "/metrics" {
            let mut text = self.metrics.text();
            let (store, routes) = (self.engine.store(), self.engine.routes());
            let counts = routes.registry.kinds().iter().map(|k| {
                let name = if k.group.is_empty() { k.plural.clone() } else { format!("{}.{}", k.plural, k.group) };
                (name, store.snapshot(&k.store_resource()).len())
            });
            metrics::objects(&mut text, counts);
            if let Some(fairness) = &self.fairness {
                fairness.metrics(&mut text);
            }
            self.engine.plugins().iter().for_each(|p| p.metrics(&mut text));
            return Ok(output::response(200, "text/plain; version=0.0.4", Body::full(text)));
        }
        if let Some(answer) = self.engine.specials().find_document(&path) {
            return Ok(answer);
        }
        self.discovery.answer(&self.engine, &self.aggregation, &path, request.headers(), &query).await
    }
}

impl Admitted {
    /// `fieldManager=`, else the first word of the user agent: upstream's `managerOrUserAgent`.
    pub fn manager(&self, options: &str) -> Result<String, Status> {
        Ok(match self.query.field_manager(options)? {
            "" => {
                let agent = self.request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok());
                manager_of_agent(agent.unwrap_or_default())
            }
            manager => manager.to_owned(),
        })
    }
    /// How the answer is wanted.
    pub fn wanted(&self) -> Result<Wanted, Status> {
        let mut accepted = negotiate::accepted(self.request.headers())?;
        if matches!(accepted.shape, Shape::Discovery | Shape::DiscoveryBeta) {
            accepted.shape = Shape::Object;
        }
        let of_list = matches!(self.attributes.verb, Verb::List | Verb::DeleteCollection);
        let wrong = match accepted.shape {
            Shape::PartialObjectMetadata if of_list => Some(("PartialObjectMetadata", "a list")),
            Shape::PartialObjectMetadataList if !of_list => Some(("PartialObjectMetadataList", "not a list")),
            _ => None,
        };
        if let Some((asked, is)) = wrong {
            let text = format!("you requested {asked}, but the requested object is {is}");
            return Err(Status::new(Reason::NotAcceptable, text));
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

fn timed_out() -> Status {
    Status::new(Reason::Timeout, "Timeout: request did not complete within the allotted timeout")
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
