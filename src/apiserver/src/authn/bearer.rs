//! Where a bearer token hides.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token of `Authorization: Bearer …`, or of the WebSocket subprotocol that browsers use instead
/// (`base64url.bearer.authorization.k8s.io.<base64url>`).
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if let Some((scheme, token)) = authorization.and_then(|a| a.trim().split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.trim().is_empty()
    {
        return Some(token.trim().to_owned());
    }
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok())?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let encoded = protocols(headers).find_map(|p| p.strip_prefix(SUBPROTOCOL).map(str::to_owned))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    lines.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// Takes the credentials out of headers that go on to a backend.
pub fn without_bearer(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let kept: Vec<&str> = protocols(headers).filter(|p| !p.starts_with(SUBPROTOCOL)).collect();
    let kept = kept.join(", ");
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept)) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_comes_by_header_or_subprotocol() {
        let socket = "base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io";
        for (list, token) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bearer  abc ")], Some("abc")),
            (&[("authorization", "Basic abc")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("upgrade", "websocket"), ("sec-websocket-protocol", socket)], Some("abc")),
            (&[("sec-websocket-protocol", socket)], None),
        ] {
            assert_eq!(bearer(&headers(list)).as_deref(), token, "{list:?}");
        }
        let mut h = headers(&[("authorization", "Bearer x"), ("sec-websocket-protocol", socket)]);
        without_bearer(&mut h);
        assert_eq!(h, headers(&[("sec-websocket-protocol", "v5.channel.k8s.io")]));
    }
}
