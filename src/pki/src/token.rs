//! The join token: `K10<sha256 of the server authority's DER, hex>::<user>:<secret>`, k3s' form.
//!
//! The hash lets a machine that has only the token tell the cluster's authority from an impostor's; the secret lets the
//! cluster tell the machine.

use std::fmt::{self, Write};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{Authority, Error};

const PREFIX: &str = "K10";
const SERVER: &str = "server";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Empty in a token that is only a secret: then the authority cannot be checked.
    pub ca_hash: String,
    pub user: String,
    pub secret: String,
}

impl JoinToken {
    pub fn new(authority: &Authority, secret: &str) -> JoinToken {
        JoinToken { ca_hash: ca_hash(authority.der()), user: SERVER.into(), secret: secret.into() }
    }
    pub fn random_secret() -> String {
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
    }

    /// Reads a full token, `user:secret`, or a bare secret.
    pub fn parse(text: &str) -> Result<JoinToken, Error> {
        let text = text.trim();
        let (ca_hash, credentials) = match text.strip_prefix(PREFIX).and_then(|t| t.split_once("::")) {
            Some((hash, rest)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => (hash, rest),
            Some(_) => return Err(Error::Token("the hash of the authority is not 64 hexadecimal digits")),
            None => ("", text),
        };
        let (user, secret) = credentials.split_once(':').unwrap_or((SERVER, credentials));
        if secret.is_empty() {
            return Err(Error::Token("it has no secret"));
        }
        Ok(JoinToken { ca_hash: ca_hash.to_ascii_lowercase(), user: user.into(), secret: secret.into() })
    }

    /// Whether `ca_der` is the authority that this token was made for.
    pub fn trusts(&self, ca_der: &[u8]) -> bool {
        self.ca_hash.is_empty() || self.ca_hash == ca_hash(ca_der)
    }

    /// Compares secrets in a time that does not tell where they differ.
    pub fn admits(&self, user: &str, secret: &str) -> bool {
        let digest = |s: &str| Sha256::digest(s.as_bytes());
        let difference = digest(&self.secret).iter().zip(digest(secret)).fold(0, |d, (a, b)| d | (a ^ b));
        self.user == user && difference == 0
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.ca_hash.is_empty() {
            write!(f, "{PREFIX}{}::", self.ca_hash)?;
        }
        write!(f, "{}:{}", self.user, self.secret)
    }
}

fn ca_hash(der: &[u8]) -> String {
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut hex, b| {
        let _ = write!(hex, "{b:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_knows_its_authority() {
        let now = "2026-01-15T10:00:00Z".parse().unwrap();
        let (ca, other) = (Authority::generate("a", now).unwrap(), Authority::generate("a", now).unwrap());
        let token = JoinToken::new(&ca, &JoinToken::random_secret());
        let text = token.to_string();
        assert!(text.starts_with("K10") && text.contains("::server:"), "{text}");
        let read = JoinToken::parse(&format!("{text}\n")).unwrap();
        assert_eq!(read, token);
        assert!(read.trusts(ca.der()) && !read.trusts(other.der()));
        assert!(read.admits("server", &token.secret));
        assert!(!read.admits("server", "guess") && !read.admits("node", &token.secret));
    }

    #[test]
    fn short_forms_and_nonsense() {
        let bare = JoinToken::parse("hunter2").unwrap();
        assert_eq!((bare.user.as_str(), bare.secret.as_str(), bare.trusts(b"any")), ("server", "hunter2", true));
        assert_eq!(JoinToken::parse("node:s").unwrap().user, "node");
        for bad in ["", "K10abc::server:x", "server:"] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
    }
}
