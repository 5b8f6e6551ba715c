//! TLS as skiff speaks it: rustls with ring, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{Authority, Error, Identity};

fn roots(authority: &CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(roots)
}

/// Shows `identity`; a client may show a certificate, and then it must be one of `clients`. Sessions resume by ticket, so the
/// server remembers nothing of its clients.
pub fn server_config(identity: &Identity, clients: &Authority) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients.der())?), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain()?, identity.private_key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Trusts `servers`, shows `identity` if there is one.
pub fn client_config(servers: &Authority, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, Error> {
    client_of(servers.der(), identity)
}

/// The same with the authority as it is written in a file.
pub fn client_config_pem(servers: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, Error> {
    client_of(&certificate(servers)?, identity)
}

/// The DER of the first certificate in a PEM text.
pub fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::Pem(e.to_string()))
}

fn client_of(servers: &CertificateDer<'static>, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(servers)?);
    let mut config = match identity {
        Some(i) => builder.with_client_auth_cert(i.chain()?, i.private_key()?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
