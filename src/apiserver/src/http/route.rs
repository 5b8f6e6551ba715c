//! What a path and a method ask for: upstream's `RequestInfo`.

use std::borrow::Cow;

use api::Status;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::Verb;

/// A request on a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// Behind the subresource: `/` and what follows.
    pub rest: String,
    /// The deprecated `…/watch/…` paths.
    pub watch: bool,
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Status> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    percent_decode_str(segment).decode_utf8().map_err(|_| Status::bad_request("the path is not UTF-8"))
}

/// `Ok(None)`: not a resource: discovery, health, metrics.
pub(crate) fn parse(path: &str) -> Result<Option<Info>, Status> {
    let mut parts = path.trim_matches('/').split('/').peekable();
    let mut info = Info::default();
    match parts.next() {
        Some("api") => {}
        Some("apis") => info.group = parts.next().unwrap_or_default().into(),
        _ => return Ok(None),
    }
    info.version = parts.next().unwrap_or_default().into();
    if parts.peek() == Some(&"watch") {
        parts.next();
        info.watch = true;
    }
    let mut rest: Vec<&str> = parts.collect();
    if rest.first().is_none_or(|r| r.is_empty()) {
        return Ok(None);
    }
    if rest[0] == "namespaces" && rest.len() > 1 {
        info.namespace = decode(rest[1])?.into_owned();
        // beside the namespace's own subresources, what follows is a resource within
        if rest.len() > 2 && !matches!(rest[2], "status" | "finalize") {
            rest.drain(..2);
        }
    }
    info.resource = decode(rest[0])?.into_owned();
    if let Some(name) = rest.get(1) {
        info.name = decode(name)?.into_owned();
        if info.name.is_empty() || matches!(&*info.name, "." | "..") || info.name.contains(['/', '%']) {
            return Err(not_found());
        }
    }
    info.subresource = rest.get(2).map_or(Ok(Cow::Borrowed("")), |s| decode(s))?.into_owned();
    if rest.len() > 3 || rest.len() == 3 && path.ends_with('/') {
        info.rest = format!("/{}", rest.get(3..).unwrap_or_default().join("/"));
        if path.ends_with('/') && info.rest.len() > 1 {
            info.rest.push('/');
        }
    }
    Ok(Some(info))
}

impl Info {
    pub fn verb(&self, method: &Method, watch: bool) -> Result<Verb, Status> {
        let one = !self.name.is_empty();
        Ok(match *method {
            Method::GET | Method::HEAD if self.subresource.is_empty() && (watch && !one || self.watch) => Verb::Watch,
            Method::GET | Method::HEAD if one => Verb::Get,
            Method::GET | Method::HEAD => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if one => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            // what is behind the proxy knows it; as upstream, only who may do all may do that
            Method::OPTIONS if self.subresource == "proxy" => Verb::Other(""),
            _ => return Err(method_not_allowed()),
        })
    }
}

/// What clients show for a path that is not served.
pub(crate) fn not_found() -> Status {
    Status::new(api::Reason::NotFound, "the server could not find the requested resource")
}

pub(crate) fn method_not_allowed() -> Status {
    let text = "the server does not allow this method on the requested resource";
    Status::new(api::Reason::MethodNotAllowed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_does() {
        for (path, want) in [
            ("/api/v1/pods", ["", "v1", "", "pods", "", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "a", "namespaces", "a", "", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "a", "namespaces", "a", "finalize", ""]),
            ("/api/v1/namespaces/a/pods/b/log", ["", "v1", "a", "pods", "b", "log", ""]),
            ("/apis/apps/v1/namespaces/a/deployments/", ["apps", "v1", "a", "deployments", "", "", ""]),
            ("/api/v1/namespaces/a/services/s:80/proxy/x/y/", ["", "v1", "a", "services", "s:80", "proxy", "/x/y/"]),
            ("/api/v1/nodes/n/proxy/", ["", "v1", "", "nodes", "n", "proxy", "/"]),
            ("/api/v1/nodes/a%3Ab", ["", "v1", "", "nodes", "a:b", "", ""]),
        ] {
            let i = parse(path).unwrap().unwrap();
            let got = [&i.group, &i.version, &i.namespace, &i.resource, &i.name, &i.subresource, &i.rest];
            assert_eq!(got, want.map(String::from).each_ref(), "{path}");
        }
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1/", "/healthz", "/version"] {
            assert_eq!(parse(path).unwrap(), None, "{path}");
        }
        assert!(parse("/api/v1/pods/%2e%2e").is_err());
        assert!(parse("/api/v1/watch/pods").unwrap().unwrap().watch);
    }
}
