//! The agent's side of joining, and what goes over the wire.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use ipnet::IpNet;
use jiff::Timestamp;
use pki::{JoinToken, Profile, SigningRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Caller;
use crate::{AUTHORITY_PATH, Error, JOIN_PATH};

/// The body of the POST to [`JOIN_PATH`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub node_name: String,
    /// The machine's own, made at its first start: whoever does not know it cannot take the node's name.
    pub node_password: String,
    /// PKCS#10, PEM.
    pub csr: String,
    /// The machine's clock.
    pub time: Timestamp,
}

/// What a node must know of its cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub cluster_cidrs: Vec<IpNet>,
    pub service_cidrs: Vec<IpNet>,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// Of the API server.
    pub version: String,
    /// Whether nodes wait for a cloud provider (or skiff's stand-in for one) to set their addresses.
    #[serde(default)]
    pub external_cloud_provider: bool,
    /// How pods of different nodes reach each other: `vxlan`, `host-gw`, `none`.
    #[serde(default)]
    pub network_backend: String,
    /// Whether they reach each other's nodes by their ExternalIP.
    #[serde(default)]
    pub network_external: bool,
}

/// The answer to a [`Request`], beside the certificate that is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// PEM.
    pub certificate: String,
    pub settings: Settings,
    /// `host:port`
    pub servers: Vec<String>,
}

/// Why the server refuses: the reason of the first cause in its `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TokenExpired,
    ClockSkew,
    NameTaken,
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::TokenExpired => "TokenExpired",
            Refusal::ClockSkew => "ClockSkew",
            Refusal::NameTaken => "NodeNameTaken",
        }
    }
}

/// The server's authority, PEM: one that `token` names, or with a short token, whatever the server shows.
pub async fn fetch_authority(address: &str, token: &JoinToken) -> Result<String, Error> {
    let caller = Caller::new(address, &pki::client_config_trusting_all());
    let request = http::Request::get(AUTHORITY_PATH).body(Full::default()).map_err(garbled)?;
    let answer = caller.call(request).await?;
    if answer.status != StatusCode::OK {
        let why = format!("{AUTHORITY_PATH} is answered with {}: is this a skiff server?", answer.status);
        return Err(Error::Garbled(why));
    }
    let pem = String::from_utf8(answer.body.into()).map_err(garbled)?;
    let der = pki::certificate(&pem).map_err(garbled)?;
    if !token.trusts(&der) {
        return Err(Error::WrongAuthority);
    }
    Ok(pem)
}

/// Proves the token's secret, and gets a certificate for `node_name`. The key never leaves this machine.
pub async fn join(
    address: &str,
    authority: &str,
    token: &JoinToken,
    node_name: &str,
    node_password: &str,
) -> Result<(pki::Identity, Joined), Error> {
    let asked = SigningRequest::new(&Profile::node(node_name))?;
    let body = Request {
        node_name: node_name.into(),
        node_password: node_password.into(),
        csr: asked.pem.clone(),
        time: Timestamp::now(),
    };
    let body = Bytes::from(serde_json::to_vec(&body).map_err(garbled)?);
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.secret)).map_err(|_| Error::WrongToken)?;
    bearer.set_sensitive(true);
    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(JOIN_PATH);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));

    let caller = Caller::new(address, &*pki::client_config_pem(authority, None)?);
    let answer = caller.call(request).await?;
    if !answer.status.is_success() {
        return Err(refused(&caller.address, answer.status, &answer.body, node_name));
    }
    let joined: Joined = serde_json::from_slice(&answer.body).map_err(garbled)?;
    Ok((asked.identity(joined.certificate.clone()), joined))
}

fn garbled(error: impl std::fmt::Display) -> Error {
    Error::Garbled(error.to_string())
}

fn refused(server: &str, code: StatusCode, body: &[u8], node_name: &str) -> Error {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = status["message"].as_str().map_or_else(|| code.to_string(), str::to_owned);
    let cause = status.pointer("/details/causes/0/reason").and_then(Value::as_str).unwrap_or_default();
    let is = |r: Refusal| cause == r.as_str();
    match code.as_u16() {
        _ if is(Refusal::TokenExpired) => Error::ExpiredToken,
        _ if is(Refusal::ClockSkew) => Error::ClockSkew(message),
        _ if is(Refusal::NameTaken) => Error::NameTaken(node_name.to_owned()),
        401 => Error::WrongToken,
        // starting, stopping, or overwhelmed
        429 | 500.. => Error::Unreachable { server: server.to_owned(), why: message },
        _ => Error::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_from_the_others() {
        let status = |cause: &str| {
            let cause = serde_json::json!([{"reason": cause}]);
            serde_json::json!({"kind": "Status", "message": "m", "details": {"causes": cause}}).to_string()
        };
        for (code, cause, exit) in [
            (401, "", 10),
            (401, "TokenExpired", 11),
            (403, "NodeNameTaken", 13),
            (400, "ClockSkew", 14),
            (403, "", 15),
            (503, "", 1),
        ] {
            let error = refused("s", StatusCode::from_u16(code).unwrap(), status(cause).as_bytes(), "n");
            assert_eq!(error.exit_code(), exit, "{code} {cause}: {error}");
            assert_eq!(error.is_temporary(), code == 503);
        }
    }
}
