//! Tokens with which machines join, in k3s' forms:
//!
//! ```text
//!   K10<sha256 of the server authority's DER, hex>::<user>:<secret>    the cluster's own secret
//!   K10<…>::<id>.<secret>                                              a bootstrap token: `skiff token create`
//!   <user>:<secret>, <secret>, <id>.<secret>                           short: the authority is trusted on first use
//! ```
//!
//! The hash lets a machine that has only the token tell the cluster's authority from an impostor's; the secret lets the
//! cluster tell the machine.

use std::fmt::{self, Write};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{Authority, Error};

const PREFIX: &str = "K10";
/// May join servers too.
pub const SERVER: &str = "server";
/// May join agents only.
pub const NODE: &str = "node";

#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The cluster's own.
    Password { user: String, secret: String },
    /// `[a-z0-9]{6}`, `[a-z0-9]{16}`
    Bootstrap { id: String, secret: String },
}

#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Empty in a short token: then the authority cannot be checked.
    pub ca_hash: String,
    pub secret: Secret,
}

impl Secret {
    /// As it goes into an `Authorization: Bearer` header.
    pub fn parse(text: &str) -> Result<Secret, Error> {
        let is = |s: &str, n| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match (text.split_once(':'), text.split_once('.')) {
            _ if text.is_empty() => Err(Error::Token("it has no secret")),
            (Some((_, "")), _) => Err(Error::Token("it has no secret")),
            (Some((user, secret)), _) => Ok(Secret::Password { user: user.into(), secret: secret.into() }),
            (None, Some((id, secret))) if is(id, 6) && is(secret, 16) => {
                Ok(Secret::Bootstrap { id: id.into(), secret: secret.into() })
            }
            _ => Ok(Secret::Password { user: SERVER.into(), secret: text.into() }),
        }
    }

    /// A fresh bootstrap token.
    pub fn bootstrap() -> Secret {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let random = |n| (0..n).map(|_| char::from(ALPHABET[rand::random_range(0..36)])).collect();
        Secret::Bootstrap { id: random(6), secret: random(16) }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Password { user, secret } => write!(f, "{user}:{secret}"),
            Secret::Bootstrap { id, secret } => write!(f, "{id}.{secret}"),
        }
    }
}

/// Compares secrets in a time that does not tell where they differ.
pub fn same_secret(a: &str, b: &str) -> bool {
    let digest = |s: &str| Sha256::digest(s.as_bytes());
    digest(a).iter().zip(digest(b)).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

impl JoinToken {
    pub fn new(authority: &Authority, secret: Secret) -> JoinToken {
        JoinToken { ca_hash: ca_hash(authority.der()), secret }
    }
    /// Of the cluster's own secret.
    pub fn password(authority: &Authority, user: &str, secret: &str) -> JoinToken {
        JoinToken::new(authority, Secret::Password { user: user.into(), secret: secret.into() })
    }
    pub fn random_secret() -> String {
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
    }

    /// Reads a token in any of its forms.
    pub fn parse(text: &str) -> Result<JoinToken, Error> {
        let text = text.trim();
        let (ca_hash, secret) = match text.strip_prefix(PREFIX).and_then(|t| t.split_once("::")) {
            Some((hash, rest)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => (hash, rest),
            Some(_) => return Err(Error::Token("the hash of the authority is not 64 hexadecimal digits")),
            None => ("", text),
        };
        Ok(JoinToken { ca_hash: ca_hash.to_ascii_lowercase(), secret: Secret::parse(secret)? })
    }

    /// The cluster's own secret; `None` in a bootstrap token.
    pub fn own_secret(&self) -> Option<&str> {
        match &self.secret {
            Secret::Password { secret, .. } => Some(secret),
            Secret::Bootstrap { .. } => None,
        }
    }

    /// Whether `ca_der` is the authority that this token was made for.
    pub fn trusts(&self, ca_der: &[u8]) -> bool {
        self.ca_hash.is_empty() || self.ca_hash == ca_hash(ca_der)
    }
}

/// For whoever it is meant for: not for logs, hence no `Debug` that shows it.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.ca_hash.is_empty() {
            write!(f, "{PREFIX}{}::", self.ca_hash)?;
        }
        write!(f, "{}", self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("ca_hash", &self.ca_hash).finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Of an authority's certificate: 64 hexadecimal digits.
pub fn ca_hash(der: &[u8]) -> String {
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
        let token = JoinToken::password(&ca, SERVER, &JoinToken::random_secret());
        let text = token.to_string();
        assert!(text.starts_with("K10") && text.contains("::server:"), "{text}");
        let read = JoinToken::parse(&format!("{text}\n")).unwrap();
        assert_eq!(read, token);
        assert!(read.trusts(ca.der()) && !read.trusts(other.der()));
        assert!(!format!("{token:?}").contains(token.own_secret().unwrap()), "no log shows it");
        let made = JoinToken::new(&ca, Secret::bootstrap());
        assert_eq!(JoinToken::parse(&made.to_string()).unwrap(), made);
        assert!(made.own_secret().is_none());
    }

    #[test]
    fn short_forms_and_nonsense() {
        let read = |t: &str| JoinToken::parse(t).unwrap().secret.to_string();
        assert_eq!(read("hunter2"), "server:hunter2");
        assert_eq!(read("a.b"), "server:a.b");
        assert_eq!(read("node:s"), "node:s");
        assert_eq!(read("abcdef.0123456789abcdef"), "abcdef.0123456789abcdef");
        assert!(JoinToken::parse("hunter2").unwrap().trusts(b"any"));
        for bad in ["", "K10abc::server:x", "server:"] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
        assert!(same_secret("a", "a") && !same_secret("a", "b"));
    }
}
