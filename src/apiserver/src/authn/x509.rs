//! Client certificates: CN is the user, O the groups. Upstream's `authentication/request/x509`.

use std::fmt::Write;
use std::sync::Arc;

use api::Status;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::cache::Cache;
use crate::User;

/// The user of a certificate, from when and until when it counts.
type Entry = (Arc<User>, Timestamp, Timestamp);

/// Reads certificates that TLS has verified.
pub struct Certificates {
    seen: Cache<Vec<u8>, Entry>,
}

impl Default for Certificates {
    fn default() -> Self {
        Certificates { seen: Cache::new(256) }
    }
}

impl Certificates {
    /// The user, and from when the certificate counts. `Ok(None)`: a certificate without a name. A connection may outlive its
    /// certificate, hence the look at the clock.
    pub fn user(&self, der: &[u8]) -> Result<Option<(Arc<User>, Timestamp)>, Status> {
        let (user, not_before, not_after) = match self.seen.get(der) {
            Some(entry) => entry,
            None => {
                let Some(entry) = read(der)? else { return Ok(None) };
                self.seen.put(der.to_vec(), entry.clone());
                entry
            }
        };
        if not_after < Timestamp::now() {
            return Err(Status::unauthorized());
        }
        Ok(Some((user, not_before)))
    }
}

fn read(der: &[u8]) -> Result<Option<Entry>, Status> {
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| Status::unauthorized())?;
    let name = cert.subject().iter_common_name().next().and_then(|c| c.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let mut groups: Vec<String> =
        cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    let mut id = String::from("X509SHA256=");
    for byte in Sha256::digest(der) {
        let _ = write!(id, "{byte:02x}");
    }
    let extra = [("authentication.kubernetes.io/credential-id".to_owned(), vec![id])].into();
    let user = User { name: name.into(), uid: String::new(), groups, extra };
    let at = |t: i64| Timestamp::from_second(t).map_err(|_| Status::unauthorized());
    let validity = cert.validity();
    Ok(Some((Arc::new(user), at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?)))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use pki::{Authority, Identity, Profile};

    use super::*;

    #[test]
    fn a_certificate_names_user_and_groups_until_it_expires() {
        let now = Timestamp::now();
        let ca = Authority::generate("client-ca", now).unwrap();
        let der = |at| Identity::issue(&ca, &Profile::node("n1"), at).unwrap().chain().unwrap()[0].to_vec();
        let certificates = Certificates::default();
        let fresh = der(now);
        for _ in 0..2 {
            let (user, not_before) = certificates.user(&fresh).unwrap().unwrap();
            assert!(not_before < now);
            assert_eq!(user.name, "system:node:n1");
            assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
        }
        assert!(certificates.user(&der(now - SignedDuration::from_hours(24 * 400))).is_err());
        assert!(certificates.user(b"nonsense").is_err());
    }
}
