//! Pulling from registries with `oci-client`: each of the registry's mirrors in turn, then itself. Layers that are here
//! already are not asked for; others are unpacked while they come.

use std::io;

use futures::TryStreamExt;
use oci_client::Reference as Remote;
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::reference::Reference;
use super::registries::{Auth, Endpoint, Registries};
use super::{Store, parse_config};
use crate::{Credentials, Error, Result};

/// A registry that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Store {
    /// Pulls an image and returns its id. The process must have a rustls crypto provider; one is installed if not.
    pub async fn pull(
        self: &Arc<Self>,
        name: &str,
        credentials: Option<Credentials>,
        registries: &Registries,
    ) -> Result<String> {
        let reference = Reference::parse(name).map_err(Error::Image)?;
        // fails when there is one already, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut failures = Vec::new();
        for endpoint in registries.endpoints(&reference.registry) {
            match self.pull_from(&endpoint, &reference, credentials.as_ref()).await {
                Ok(id) => return Ok(id),
                Err(error) => failures.push(format!("{}: {error}", endpoint.host)),
            }
        }
        Err(Error::Image(format!("failed to pull image \"{name}\": {}", failures.join("; "))))
    }

    async fn pull_from(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<String> {
        let client = Client::try_from(config(endpoint)?).map_err(remote)?;
        let (host, repository) = (endpoint.host.clone(), reference.repository.clone());
        let image = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => Remote::with_digest(host, repository, digest.clone()),
            (None, tag) => Remote::with_tag(host, repository, tag.clone().unwrap_or_else(|| "latest".to_owned())),
        };
        let auth = auth(endpoint, credentials)?;
        let (manifest, digest, text, list) =
            client.pull_manifest_and_config_and_list_digest(&image, &auth).await.map_err(remote)?;
        let (id, config) = parse_config(text.as_bytes())?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(Error::Image(format!("{id}: as many layers as diff ids are needed")));
        }
        let mut size_bytes = text.len() as u64;
        let diff_ids = config.rootfs.diff_ids.clone();
        let store = self.clone();
        // waits only for a removal, which is short
        let _importing = blocking(move || Ok(store.importing()?)).await?;
        for (n, layer) in manifest.layers.iter().enumerate() {
            let place = self.layers_directory().join(Self::layer_name(&diff_ids[n]));
            let (store, diff_id, below) = (self.clone(), diff_ids[n].clone(), diff_ids[..n].to_vec());
            size_bytes += if place.exists() {
                blocking(move || store.layer(&diff_id, &below, || Ok(io::empty()))).await?
            } else {
                let stream = client.pull_blob_stream(&image, layer).await.map_err(remote)?.stream;
                let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
                blocking(move || store.layer(&diff_id, &below, || Ok(reader))).await?
            };
        }
        let tags = reference.tag.is_some() && reference.digest.is_none();
        let tags = tags.then(|| reference.to_string()).into_iter().collect();
        // the digest that was asked for names it too, be it the list's or the image's own
        let digests = list.into_iter().chain([digest]).chain(reference.digest.clone());
        let mut digests: Vec<String> = digests.map(|d| format!("{}@{d}", reference.name())).collect();
        digests.dedup();
        let (store, recorded) = (self.clone(), id.clone());
        blocking(move || store.record(&recorded, config, tags, digests, size_bytes)).await?;
        Ok(id)
    }
}

fn config(endpoint: &Endpoint) -> Result<ClientConfig> {
    let mut extra = Vec::new();
    if let Some(path) = &endpoint.tls.ca_file {
        let data = std::fs::read(path).map_err(|e| Error::Image(format!("{}: {e}", path.display())))?;
        extra.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    Ok(ClientConfig {
        protocol: if endpoint.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        accept_invalid_certificates: endpoint.tls.insecure_skip_verify,
        extra_root_certificates: extra,
        connect_timeout: Some(PATIENCE / 2),
        read_timeout: Some(PATIENCE),
        user_agent: concat!("skiff/", env!("CARGO_PKG_VERSION")),
        ..Default::default()
    })
}

/// The pod's credentials before the host's own.
fn auth(endpoint: &Endpoint, credentials: Option<&Credentials>) -> Result<RegistryAuth> {
    use oci_client::secrets::RegistryAuth::{Anonymous, Basic, Bearer};
    if let Some(credentials) = credentials.filter(|c| !c.username.is_empty()) {
        return Ok(Basic(credentials.username.clone(), credentials.password.clone()));
    }
    Ok(match &endpoint.auth {
        Auth { username, password, .. } if !username.is_empty() => Basic(username.clone(), password.clone()),
        Auth { identity_token, .. } if !identity_token.is_empty() => Bearer(identity_token.clone()),
        Auth { auth, .. } if !auth.is_empty() => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok();
            let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            match decoded.as_deref().and_then(|text| text.split_once(':')) {
                Some((username, password)) => Basic(username.to_owned(), password.to_owned()),
                None => return Err(Error::Image(format!("{}: auth is not base64 of user:password", endpoint.host))),
            }
        }
        _ => Anonymous,
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Other(e.to_string()))?
}

fn remote(error: oci_client::errors::OciDistributionError) -> Error {
    Error::Image(error.to_string())
}
