//! A certificate with its key, and what is written on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::authority::set_lifetime;
use crate::{Authority, Error, files};

const LEAF_DAYS: i32 = 365;
const RENEW_BEFORE_DAYS: i64 = 90;

/// What a certificate says of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// CN: the user's name of a client.
    pub common_name: String,
    /// O: the user's groups.
    pub organizations: Vec<String>,
    /// DNS names and IP addresses under which it serves; empty: it is a client's.
    pub hosts: BTreeSet<String>,
}

impl Profile {
    pub fn client(user: &str, groups: &[&str]) -> Profile {
        let organizations = groups.iter().map(|g| (*g).to_owned()).collect();
        Profile { common_name: user.into(), organizations, hosts: BTreeSet::new() }
    }
    /// The identity of a kubelet: `system:node:<name>` in `system:nodes`.
    pub fn node(name: &str) -> Profile {
        Profile::client(&format!("system:node:{name}"), &["system:nodes"])
    }
    pub fn server(name: &str, hosts: impl IntoIterator<Item = String>) -> Profile {
        Profile { common_name: name.into(), organizations: Vec::new(), hosts: hosts.into_iter().collect() }
    }
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    /// A fresh key, vouched for by `authority` for a year.
    pub fn issue(authority: &Authority, profile: &Profile, now: Timestamp) -> Result<Identity, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(profile)?;
        params.use_authority_key_identifier_extension = true;
        set_lifetime(&mut params, now, LEAF_DAYS);
        let certificate = params.signed_by(&key, authority.issuer())?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// Reads `<dir>/<name>.crt` and `.key`, or issues and writes them where they are missing or no longer good.
    pub fn open(
        dir: &Path,
        name: &str,
        authority: &Authority,
        profile: &Profile,
        now: Timestamp,
    ) -> Result<Identity, Error> {
        let (crt, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if let (Some(certificate), Some(key)) = (files::read(&crt)?, files::read(&key)?) {
            let kept = Identity { certificate, key };
            match kept.unfit(authority, profile, now) {
                None => return Ok(kept),
                Some(why) => tracing::info!(certificate = %crt.display(), why, "renewing"),
            }
        }
        let issued = Identity::issue(authority, profile, now)?;
        files::write(&key, &issued.key)?;
        files::write(&crt, &issued.certificate)?;
        Ok(issued)
    }

    /// Why this must be issued anew, if it must.
    fn unfit(&self, authority: &Authority, profile: &Profile, now: Timestamp) -> Option<&'static str> {
        let (Ok(pair), Ok(der)) =
            (KeyPair::from_pem(&self.key), CertificateDer::from_pem_slice(self.certificate.as_bytes()))
        else {
            return Some("it is damaged");
        };
        let (Ok((_, cert)), Ok((_, ca))) =
            (X509Certificate::from_der(&der), X509Certificate::from_der(authority.der()))
        else {
            return Some("it is damaged");
        };
        let renew_at = (now + SignedDuration::from_hours(24 * RENEW_BEFORE_DAYS)).as_second();
        let hosts: BTreeSet<String> = match cert.subject_alternative_name() {
            Ok(Some(san)) => san.value.general_names.iter().filter_map(host).collect(),
            _ => BTreeSet::new(),
        };
        if cert.issuer().as_raw() != ca.subject().as_raw() {
            Some("its authority is another")
        } else if cert.public_key().subject_public_key.data != pair.public_key_raw() {
            Some("its key is another")
        } else if cert.validity().not_after.timestamp() < renew_at {
            Some("it expires soon")
        } else if cert.validity().not_before.timestamp() > now.as_second() {
            Some("it is not valid yet")
        } else if hosts != canonical(&profile.hosts) {
            Some("its hosts changed")
        } else {
            let cn = cert.subject().iter_common_name().next().and_then(|c| c.as_str().ok());
            let groups: Vec<_> = cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
            (cn != Some(&profile.common_name) || groups != profile.organizations).then_some("its subject changed")
        }
    }

    /// From and until when it counts.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), Error> {
        validity(&self.leaf()?)
    }
    /// CN: the user.
    pub fn common_name(&self) -> Result<String, Error> {
        let der = self.leaf()?;
        let (_, cert) = X509Certificate::from_der(&der).map_err(|e| Error::Pem(e.to_string()))?;
        let cn = cert.subject().iter_common_name().next().and_then(|c| c.as_str().ok());
        Ok(cn.unwrap_or_default().to_owned())
    }
    fn leaf(&self) -> Result<CertificateDer<'static>, Error> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|e| Error::Pem(e.to_string()))
    }
    /// The chain as rustls wants it.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| Error::Pem(e.to_string()))
    }
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| Error::Pem(e.to_string()))
    }
}

/// What goes on a certificate, or a request for one, but its lifetime.
pub(crate) fn params(profile: &Profile) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for organization in &profile.organizations {
        params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, profile.common_name.as_str());
    for host in &profile.hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let server = !profile.hosts.is_empty();
    params.extended_key_usages =
        vec![if server { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth }];
    Ok(params)
}

/// From and until when a certificate counts.
pub(crate) fn validity(der: &[u8]) -> Result<(Timestamp, Timestamp), Error> {
    let damaged = |e: &dyn std::fmt::Display| Error::Pem(e.to_string());
    let (_, cert) = X509Certificate::from_der(der).map_err(|e| damaged(&e))?;
    let at = |t: i64| Timestamp::from_second(t).map_err(|e| damaged(&e));
    Ok((at(cert.validity().not_before.timestamp())?, at(cert.validity().not_after.timestamp())?))
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        GeneralName::IPAddress(b) => match b.len() {
            4 => <[u8; 4]>::try_from(*b).ok().map(|a| IpAddr::from(a).to_string()),
            _ => <[u8; 16]>::try_from(*b).ok().map(|a| IpAddr::from(a).to_string()),
        },
        _ => None,
    }
}

/// Addresses as they read back from a certificate.
fn canonical(hosts: &BTreeSet<String>) -> BTreeSet<String> {
    hosts.iter().map(|h| h.parse::<IpAddr>().map_or_else(|_| h.clone(), |ip| ip.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_kept_until_something_about_it_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        let days = |n: i64| now + SignedDuration::from_hours(24 * n);
        let ca = Authority::generate("server-ca", now).unwrap();
        let hosts = ["localhost", "::1", "10.43.0.1", "kubernetes.default.svc"].map(String::from);
        let profile = Profile::server("kube-apiserver", hosts);
        let open = |ca: &Authority, p: &Profile, t| Identity::open(dir.path(), "server", ca, p, t).unwrap().certificate;

        let first = open(&ca, &profile, now);
        assert_eq!(open(&ca, &profile, days(270)), first, "kept while it has 90 days to live");
        let renewed = open(&ca, &profile, days(280));
        assert_ne!(renewed, first);

        let mut more = profile.clone();
        more.hosts.insert("skiff.example.com".into());
        let widened = open(&ca, &more, days(280));
        assert_ne!(widened, renewed);
        assert_eq!(open(&ca, &more, days(281)), widened);

        let other_ca = Authority::generate("server-ca", days(281)).unwrap();
        assert_ne!(open(&other_ca, &more, days(281)), widened);

        std::fs::write(dir.path().join("server.crt"), "not a certificate").unwrap();
        assert!(open(&other_ca, &more, days(281)).starts_with("-----BEGIN CERTIFICATE"));
    }
}
