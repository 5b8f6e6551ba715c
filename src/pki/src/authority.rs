//! A certificate authority: one key that vouches for others.

use std::path::Path;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{Error, files};

const CA_DAYS: i32 = 3650;

/// An authority that lives in two files. Its name carries the second of its birth, so that certificates of an earlier one
/// under the same path are told apart.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// Reads `<dir>/<name>.crt` and `.key`; makes both if neither is there.
    pub fn open(dir: &Path, name: &str, now: Timestamp) -> Result<Authority, Error> {
        let (crt, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        match (files::read(&crt)?, files::read(&key)?) {
            (Some(cert), Some(key_pem)) => {
                let damaged = |path: &Path, e: rcgen::Error| Error::Damaged { path: path.into(), why: e.to_string() };
                let pair = KeyPair::from_pem(&key_pem).map_err(|e| damaged(&key, e))?;
                let der = CertificateDer::from_pem_slice(cert.as_bytes())
                    .map_err(|e| Error::Damaged { path: crt.clone(), why: e.to_string() })?;
                let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|e| damaged(&crt, e))?;
                Ok(Authority { issuer, pem: cert, der })
            }
            (None, None) => {
                let made = Authority::generate(name, now)?;
                files::write(&key, &made.issuer.key().serialize_pem())?;
                files::write(&crt, &made.pem)?;
                Ok(made)
            }
            (None, Some(_)) => Err(Error::Damaged { path: crt, why: "is missing, while its key is there".into() }),
            (Some(_), None) => {
                Err(Error::Damaged { path: key, why: "is missing, while its certificate is there".into() })
            }
        }
    }

    /// A fresh authority that lives in memory only.
    pub fn generate(name: &str, now: Timestamp) -> Result<Authority, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("skiff-{name}@{}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_lifetime(&mut params, now, CA_DAYS);
        let pair = KeyPair::generate()?;
        let cert = params.self_signed(&pair)?;
        let (pem, der) = (cert.pem(), cert.der().clone());
        Ok(Authority { issuer: Issuer::new(params, pair), pem, der })
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
    /// The certificate that others trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
    /// After which nothing that it has signed counts.
    pub fn expires(&self) -> Result<Timestamp, Error> {
        crate::identity::validity(&self.der).map(|(_, end)| end)
    }
}

/// In whole seconds.
pub(crate) fn set_validity(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let at = |t: Timestamp| {
        let seconds = u64::try_from(t.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from), at(to));
}

/// Valid from a day ago (clocks differ) to `days` ahead.
pub(crate) fn set_lifetime(params: &mut CertificateParams, now: Timestamp, days: i32) {
    let midnight = |days: i32| {
        let date = (now + SignedDuration::from_hours(24) * days).to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    (params.not_before, params.not_after) = (midnight(-1), midnight(days));
}
