//! All of a server's keys, opened at once.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::ServerConfig;

use crate::{Authority, Error, Identity, JoinToken, Profile, files, kubeconfig, server_config, token};

/// Under which names the API server is reached.
#[derive(Debug, Clone)]
pub struct Options {
    pub node_name: String,
    pub node_ips: Vec<IpAddr>,
    /// The `kubernetes` Service's address.
    pub service_ips: Vec<IpAddr>,
    pub cluster_domain: String,
    /// `--tls-san`
    pub extra_hosts: Vec<String>,
    /// `--token`: full or bare; `None` keeps the one on disk, or makes one.
    pub token: Option<String>,
    /// `--agent-token`: with it, `token` is for servers, and agents get this one. Read as `token` is.
    pub agent_token: Option<String>,
}

/// The name on [`Pki::front_proxy`].
pub const FRONT_PROXY: &str = "system:auth-proxy";

pub struct Pki {
    pub server_ca: Authority,
    pub client_ca: Authority,
    /// What the API server shows.
    pub server: Identity,
    /// `system:masters`.
    pub admin: Identity,
    /// Vouches for who may say in a header for whom a request is: this server, to the API servers behind it.
    pub request_header_ca: Authority,
    /// What this server shows them: `system:auth-proxy`.
    pub front_proxy: Identity,
    /// PKCS#8 DER of the ES256 key that signs service-account tokens.
    pub service_account_key: Vec<u8>,
    /// The point of the same, SEC 1, uncompressed.
    pub service_account_public_key: Vec<u8>,
    /// With which servers join, and agents too.
    pub token: JoinToken,
    /// With which agents join; the same where no other was asked for.
    pub agent_token: JoinToken,
}

impl Pki {
    /// Opens `<dir>/tls` and `<dir>/token`, making what is missing and renewing what must be.
    pub fn open(dir: &Path, options: &Options) -> Result<Pki, Error> {
        Pki::open_at(dir, options, Timestamp::now())
    }

    fn open_at(dir: &Path, options: &Options, now: Timestamp) -> Result<Pki, Error> {
        let tls = dir.join("tls");
        files::make_dir(&tls)?;
        let server_ca = Authority::open(&tls, "server-ca", now)?;
        let client_ca = Authority::open(&tls, "client-ca", now)?;
        let serving = Profile::server("kube-apiserver", hosts(options));
        let server = Identity::open(&tls, "server", &server_ca, &serving, now)?;
        let admins = Profile::client("system:admin", &["system:masters"]);
        let admin = Identity::open(&tls, "admin", &client_ca, &admins, now)?;
        let request_header_ca = Authority::open(&tls, "request-header-ca", now)?;
        let proxy = Profile::client(FRONT_PROXY, &[]);
        let front_proxy = Identity::open(&tls, "front-proxy", &request_header_ca, &proxy, now)?;
        let service = service_key(&tls.join("service.key"))?;
        let token = join_token(&dir.join(TOKEN), &server_ca, options.token.as_deref())?;
        let agent_token = agent_token(&dir.join(AGENT_TOKEN), &server_ca, options.agent_token.as_deref(), &token)?;
        Ok(Pki {
            server_ca,
            client_ca,
            server,
            admin,
            request_header_ca,
            front_proxy,
            service_account_public_key: service.public_key_raw().to_vec(),
            service_account_key: service.serialize_der(),
            token,
            agent_token,
        })
    }

    /// For the API server's socket.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        server_config(&self.server, &self.client_ca)
    }
    /// A fresh client certificate, good for a year.
    pub fn issue_client(&self, profile: &Profile) -> Result<Identity, Error> {
        Identity::issue(&self.client_ca, profile, Timestamp::now())
    }
    /// `server_url`: `https://127.0.0.1:6443`.
    pub fn admin_kubeconfig(&self, server_url: &str) -> String {
        kubeconfig(server_url, &self.server_ca, &self.admin)
    }
}

fn hosts(o: &Options) -> Vec<String> {
    let mut hosts: Vec<String> =
        ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .map(String::from)
            .into();
    hosts.push(format!("kubernetes.default.svc.{}", o.cluster_domain));
    hosts.push(o.node_name.clone());
    hosts.extend(o.node_ips.iter().chain(&o.service_ips).map(IpAddr::to_string));
    hosts.extend(o.extra_hosts.iter().cloned());
    hosts
}

fn service_key(path: &Path) -> Result<KeyPair, Error> {
    if let Some(pem) = files::read(path)? {
        return KeyPair::from_pem(&pem).map_err(|e| Error::Damaged { path: path.into(), why: e.to_string() });
    }
    let key = KeyPair::generate()?;
    files::write(path, &key.serialize_pem())?;
    Ok(key)
}

/// The file of the cluster's own secret, under the server's directory.
pub const TOKEN: &str = "token";
/// The file of the agents' secret, where that is another.
pub const AGENT_TOKEN: &str = "agent-token";

fn own_secret(text: &str) -> Result<String, Error> {
    let token = JoinToken::parse(text)?;
    let secret = token.own_secret().ok_or(Error::Token("a bootstrap token cannot be the cluster's own secret"))?;
    Ok(secret.to_owned())
}

fn join_token(path: &Path, ca: &Authority, asked: Option<&str>) -> Result<JoinToken, Error> {
    let kept = files::read(path)?.as_deref().and_then(|t| JoinToken::parse(t).ok());
    let secret = match (asked, kept.as_ref().and_then(JoinToken::own_secret)) {
        (Some(text), _) => own_secret(text)?,
        (None, Some(kept)) => kept.to_owned(),
        (None, None) => JoinToken::random_secret(),
    };
    let token = JoinToken::password(ca, token::SERVER, &secret);
    if kept.as_ref() != Some(&token) {
        files::write(path, &format!("{token}\n"))?;
    }
    Ok(token)
}

/// A secret that was once set stays until another is given.
fn agent_token(path: &Path, ca: &Authority, asked: Option<&str>, own: &JoinToken) -> Result<JoinToken, Error> {
    let kept = files::read(path)?.as_deref().and_then(|t| JoinToken::parse(t).ok());
    let Some(text) = asked else { return Ok(kept.unwrap_or_else(|| own.clone())) };
    let token = JoinToken::password(ca, token::NODE, &own_secret(text)?);
    if kept.as_ref() != Some(&token) {
        files::write(path, &format!("{token}\n"))?;
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn options() -> Options {
        Options {
            node_name: "n1".into(),
            node_ips: vec![[192, 168, 1, 7].into()],
            service_ips: vec![[10, 43, 0, 1].into()],
            cluster_domain: "cluster.local".into(),
            extra_hosts: vec!["skiff.example.com".into()],
            token: None,
            agent_token: None,
        }
    }

    #[test]
    fn a_second_start_finds_the_same_keys_and_all_are_secret() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &options()).unwrap();
        let again = Pki::open(dir.path(), &options()).unwrap();
        assert_eq!(first.server.certificate, again.server.certificate);
        assert_eq!(first.admin.certificate, again.admin.certificate);
        assert_eq!(first.service_account_key, again.service_account_key);
        assert_eq!(first.token, again.token);
        for entry in fs::read_dir(dir.path().join("tls")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        let given = Pki::open(dir.path(), &Options { token: Some("hunter2".into()), ..options() }).unwrap();
        assert_eq!(given.token.own_secret(), Some("hunter2"));
        assert_eq!(given.agent_token, given.token);
        let two = Options { agent_token: Some("other".into()), ..options() };
        let two = Pki::open(dir.path(), &two).unwrap();
        assert_eq!((two.token.own_secret(), two.agent_token.own_secret()), (Some("hunter2"), Some("other")));
        assert!(given.token.trusts(first.server_ca.der()));
    }

    #[test]
    fn a_lost_key_is_an_error_not_a_new_cluster() {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path(), &options()).unwrap();
        fs::remove_file(dir.path().join("tls/server-ca.key")).unwrap();
        let e = Pki::open(dir.path(), &options()).err().expect("refused").to_string();
        assert!(e.contains("server-ca.key") && e.contains("is missing"), "{e}");
    }

    #[test]
    fn a_client_with_a_certificate_and_one_without_shake_hands() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &options()).unwrap();
        let stranger = Authority::generate("client-ca", Timestamp::now()).unwrap();
        let impostor = Identity::issue(&stranger, &Profile::node("n1"), Timestamp::now()).unwrap();
        for (identity, certificates) in [(Some(&pki.admin), Some(1)), (None, Some(0)), (Some(&impostor), None)] {
            let client = crate::client_config(&pki.server_ca, identity).unwrap();
            for host in ["localhost", "10.43.0.1", "kubernetes.default.svc.cluster.local", "skiff.example.com"] {
                let seen = handshake(client.clone(), pki.server_config().unwrap(), host);
                assert_eq!(seen.ok(), certificates, "{host}");
            }
        }
    }

    /// The number of certificates that the server saw.
    fn handshake(
        client: Arc<rustls::ClientConfig>,
        server: Arc<ServerConfig>,
        host: &str,
    ) -> Result<usize, rustls::Error> {
        let mut c = rustls::ClientConnection::new(client, host.to_owned().try_into().unwrap())?;
        let mut s = rustls::ServerConnection::new(server)?;
        while c.is_handshaking() || s.is_handshaking() {
            let mut wire = Vec::new();
            c.write_tls(&mut wire).unwrap();
            s.read_tls(&mut wire.as_slice()).unwrap();
            s.process_new_packets()?;
            let mut wire = Vec::new();
            s.write_tls(&mut wire).unwrap();
            c.read_tls(&mut wire.as_slice()).unwrap();
            c.process_new_packets()?;
        }
        Ok(s.peer_certificates().map_or(0, <[_]>::len))
    }
}
