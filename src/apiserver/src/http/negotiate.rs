//! Which form an answer takes: upstream's `negotiation.NegotiateOutputMediaType`.

use api::protobuf::MEDIA_TYPE;
use api::{Reason, Status};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    /// Of the built-in kinds.
    Protobuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Table,
    PartialObjectMetadata,
    PartialObjectMetadataList,
    /// Aggregated discovery.
    Discovery,
    /// The same as it was called before 1.30.
    DiscoveryBeta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub format: Format,
    pub shape: Shape,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => MEDIA_TYPE,
        }
    }
}

pub(crate) const JSON: Accepted = Accepted { format: Format::Json, shape: Shape::Object };

/// One clause of an `Accept` header, if it is served.
fn clause(text: &str) -> Option<(Accepted, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        MEDIA_TYPE => Format::Protobuf,
        _ => return None,
    };
    let (mut shape, mut group, mut version, mut quality) = ("", "", "", 1.0);
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key {
            "as" => shape = value,
            "g" => group = value,
            "v" => version = value,
            "q" => quality = value.parse().unwrap_or(1.0),
            _ => {}
        }
    }
    let shape = match (shape, group, version) {
        ("", ..) => Shape::Object,
        ("Table", "meta.k8s.io", "v1") if format != Format::Protobuf => Shape::Table,
        ("PartialObjectMetadata", "meta.k8s.io", "v1") => Shape::PartialObjectMetadata,
        ("PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::PartialObjectMetadataList,
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Shape::Discovery,
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => Shape::DiscoveryBeta,
        _ => return None,
    };
    Some((Accepted { format, shape }, quality))
}

/// The best of what the client accepts. `NotAcceptable` if that is nothing that is served.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    let mut best: Option<(Accepted, f32)> = None;
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        let text = value.to_str().unwrap_or_default();
        any |= !text.trim().is_empty();
        for (accepted, quality) in text.split(',').filter_map(|c| clause(c.trim())) {
            // of equals the first, but JSON before protobuf: objects are stored in JSON and go out as they are
            let cheaper = |b: Accepted| {
                b.format == Format::Protobuf && accepted.format == Format::Json && b.shape == accepted.shape
            };
            if best.is_none_or(|(b, q)| quality > q || quality == q && cheaper(b)) {
                best = Some((accepted, quality));
            }
        }
    }
    match best {
        Some((accepted, _)) => Ok(accepted),
        None if !any => Ok(JSON),
        None => {
            let text = "only the following media types are accepted: application/json, application/yaml, \
                        application/vnd.kubernetes.protobuf";
            Err(Status::new(Reason::NotAcceptable, text))
        }
    }
}

/// The form of a request's body; JSON where nothing is said.
pub(crate) fn content(headers: &HeaderMap) -> Result<Format, Status> {
    match media_type(headers) {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        MEDIA_TYPE => Ok(Format::Protobuf),
        _ => Err(unsupported(&["application/json", "application/yaml", MEDIA_TYPE])),
    }
}

/// The `Content-Type` without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

pub(crate) fn unsupported(known: &[&str]) -> Status {
    let list = known.join(", ");
    let text = format!("the body of the request was in an unknown format - accepted media types include: {list}");
    Status::new(Reason::UnsupportedMediaType, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_served_form_wins() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            accepted(&headers).map(|a| (a.format, a.shape))
        };
        use {Format::*, Shape::*};
        for (text, want) in [
            ("*/*", (Json, Object)),
            ("application/yaml", (Yaml, Object)),
            ("application/vnd.kubernetes.protobuf, application/json", (Json, Object)),
            ("application/vnd.kubernetes.protobuf, */*", (Json, Object)),
            ("application/vnd.kubernetes.protobuf;stream=watch", (Protobuf, Object)),
            ("application/vnd.kubernetes.protobuf, application/json;q=0.9", (Protobuf, Object)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                (Protobuf, PartialObjectMetadata),
            ),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", (Json, Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", (Json, Object)),
            ("application/json;q=0.5, application/yaml", (Yaml, Object)),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                (Json, Discovery),
            ),
        ] {
            assert_eq!(of(text).unwrap(), want, "{text}");
        }
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(of(table).unwrap_err().code, 406);
        assert_eq!(accepted(&HeaderMap::new()).unwrap(), JSON);
    }
}
