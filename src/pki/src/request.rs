//! Certificates on request: who holds a key asks (PKCS#10), an authority vouches.

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateSigningRequestParams, KeyPair};

use crate::authority::set_validity;
use crate::identity::params;
use crate::{Authority, Error, Identity, Profile};

/// A certificate counts from so long before it was signed: clocks differ.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// A fresh key and the request for a certificate of it.
pub struct SigningRequest {
    /// PKCS#10, PEM.
    pub pem: String,
    key: String,
}

impl SigningRequest {
    pub fn new(profile: &Profile) -> Result<SigningRequest, Error> {
        let key = KeyPair::generate()?;
        let pem = params(profile)?.serialize_request(&key)?.pem()?;
        Ok(SigningRequest { pem, key: key.serialize_pem() })
    }
    /// With the certificate that came for it.
    pub fn identity(self, certificate: String) -> Identity {
        Identity { certificate, key: self.key }
    }
}

/// Whom the request (PKCS#10, PEM) is for; errors where it is none, or not signed by the key that it is about.
pub fn requested(request: &str) -> Result<Profile, Error> {
    use rcgen::{DnType, DnValue, SanType};
    let csr = CertificateSigningRequestParams::from_pem(request)?.params;
    let mut profile = Profile::default();
    for (kind, value) in csr.distinguished_name.iter() {
        let text = match value {
            DnValue::Utf8String(s) => s.clone(),
            DnValue::PrintableString(s) => s.as_str().to_owned(),
            DnValue::Ia5String(s) => s.as_str().to_owned(),
            _ => return Err(Error::Pem("a name in an encoding that nobody uses".into())),
        };
        match kind {
            DnType::CommonName => profile.common_name = text,
            DnType::OrganizationName => profile.organizations.push(text),
            _ => {}
        }
    }
    for name in &csr.subject_alt_names {
        match name {
            SanType::DnsName(name) => profile.hosts.insert(name.as_str().to_owned()),
            SanType::IpAddress(ip) => profile.hosts.insert(ip.to_string()),
            _ => return Err(Error::Pem("a kind of host that no node has".into())),
        };
    }
    Ok(profile)
}

impl Authority {
    /// Vouches for the key of `request` (whose own signature is checked) under `profile`, for `lifetime` from `now`, but not
    /// longer than the authority itself has. What the request says of its holder is not read: the caller has.
    pub fn sign(
        &self,
        request: &str,
        profile: &Profile,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<String, Error> {
        let csr = CertificateSigningRequestParams::from_pem(request)?;
        let mut params = params(profile)?;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now - BACKDATE, (now + lifetime).min(self.expires()?));
        Ok(params.signed_by(&csr.public_key, self.issuer())?.pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_an_identity() {
        let now: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        let ca = Authority::generate("client-ca", now).unwrap();
        let profile = Profile::node("n1");
        let request = SigningRequest::new(&profile).unwrap();
        assert_eq!(requested(&request.pem).unwrap(), profile);
        let signed = ca.sign(&request.pem, &profile, SignedDuration::from_secs(90), now).unwrap();
        let identity = request.identity(signed);
        let validity = identity.validity().unwrap();
        assert_eq!(validity.0, now - BACKDATE);
        assert_eq!(validity.1, now + SignedDuration::from_secs(90));
        assert_eq!(identity.common_name().unwrap(), "system:node:n1");
        let long = SigningRequest::new(&profile).unwrap();
        let signed = ca.sign(&long.pem, &profile, SignedDuration::from_hours(24 * 9000), now).unwrap();
        assert_eq!(long.identity(signed).validity().unwrap().1, ca.expires().unwrap());
        assert!(requested("nonsense").is_err());
    }
}
