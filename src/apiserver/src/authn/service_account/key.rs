//! The public key as others may have it: OpenID Connect discovery.

use api::Value;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A P-256 point (SEC 1, uncompressed) as a JSON Web Key, named by its hash.
pub fn jwk(point: &[u8]) -> Value {
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    json!({
        "use": "sig", "kty": "EC", "kid": base64(&Sha256::digest(point)), "crv": "P-256", "alg": "ES256",
        "x": base64(x), "y": base64(y),
    })
}

/// What `/.well-known/openid-configuration` says.
pub fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
