//! Requests of groups that another API server serves: upstream's `kube-aggregator/pkg/apiserver/handler_proxy.go`.
//!
//! Bodies pass piece by piece as they come, so a watch is not held back; an upgraded connection is joined byte by byte.

use ::http::header::{self, HeaderValue};
use ::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Remote;
use super::connect::identify;
use crate::authn::without_bearer;
use crate::http::Body;
use crate::proxy::stream::{is_upgrade, join, pass, send, strip_hop_by_hop};
use crate::special::text;
use crate::{Attributes, User, Verb};

const PLAIN: &str = "text/plain; charset=utf-8";

/// As Go's `http.Error` writes it.
fn refuse(code: u16, why: &str) -> Response<Body> {
    text(code, PLAIN, format!("{why}\n"))
}

/// Whether a request may last: upstream's `BasicLongRunningRequestCheck`.
pub(crate) fn is_long_running(a: &Attributes, request: &Request<Incoming>) -> bool {
    a.verb == Verb::Watch
        || matches!(a.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
        || is_upgrade(request.headers())
}

/// Sends a request on for `user`, who may make it.
pub(crate) async fn serve(remote: &Remote, user: &User, mut request: Request<Incoming>) -> Response<Body> {
    if !remote.is_available() {
        return refuse(503, "service unavailable");
    }
    if let Err(why) = &remote.tls {
        return refuse(500, why);
    }
    let upgrade = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    without_bearer(&mut headers);
    strip_hop_by_hop(&mut headers);
    if let Err(why) = identify(&mut headers, user) {
        return refuse(500, &why);
    }
    let authority = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    if let Some(host) = headers.remove(header::HOST).or(authority) {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    for (name, value) in [("x-forwarded-uri", parts.uri.path()), ("host", &remote.host())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let onward = Request::builder().method(parts.method).uri(target).body(body.boxed());
    let mut onward = match onward {
        Ok(onward) => onward,
        Err(error) => return refuse(500, &error.to_string()),
    };
    *onward.headers_mut() = headers;
    let sent = async {
        let io = remote.connector.open(remote).await?;
        send(io, onward).await.map_err(|e| e.to_string())
    };
    let answer = match sent.await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(api_service = remote.name, error, "a request could not be sent on");
            return refuse(503, &format!("error trying to reach service: {error}"));
        }
    };
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) = (answer.status(), upgrade) {
        return join(upgrade, answer);
    }
    let (mut parts, body) = answer.into_parts();
    parts.version = ::http::Version::default();
    strip_hop_by_hop(&mut parts.headers);
    Response::from_parts(parts, pass(body))
}
