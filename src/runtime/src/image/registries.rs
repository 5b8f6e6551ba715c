//! `/etc/skiff/registries.yaml`, in k3s's format: mirrors with endpoints and rewrites, credentials and TLS by host.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, Settings>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Mirror {
    endpoint: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Settings {
    auth: Auth,
    tls: Tls,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Auth {
    pub username: String,
    pub password: String,
    /// base64 of `username:password`
    pub auth: String,
    pub identity_token: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub insecure_skip_verify: bool,
}

/// One place to try.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `host[:port]`
    pub host: String,
    pub plain_http: bool,
    pub auth: Auth,
    pub tls: Tls,
}

impl Registries {
    /// A file that is not there means none are configured.
    pub fn load(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_yaml::from_str(&text)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Where to look for images of `registry`: its mirrors in order, then itself.
    pub fn endpoints(&self, registry: &str) -> Vec<Endpoint> {
        let mirror = self.mirrors.get(registry).or_else(|| self.mirrors.get("*"));
        let mut endpoints: Vec<Endpoint> =
            mirror.iter().flat_map(|m| &m.endpoint).map(|url| self.endpoint(url)).collect();
        let own = self.endpoint(if registry == "docker.io" { "registry-1.docker.io" } else { registry });
        if !endpoints.iter().any(|e| e.host == own.host) {
            endpoints.push(own);
        }
        endpoints
    }

    fn endpoint(&self, url: &str) -> Endpoint {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.split('/').next().unwrap_or(rest).to_owned();
        let settings = self.configs.get(&host).or_else(|| self.configs.get(url));
        let settings = settings.cloned().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).trim_matches(['[', ']']).to_owned();
        let local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let plain_http = scheme == "http" || (scheme.is_empty() && local);
        Endpoint { host, plain_http, auth: settings.auth, tls: settings.tls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k3s_format() {
        let yaml = "
mirrors:
  docker.io:
    endpoint:
      - \"https://mirror.example.com:5000/v2\"
      - http://127.0.0.1:5001
configs:
  mirror.example.com:5000:
    auth: {username: u, password: p}
    tls: {ca_file: /etc/ca.pem, insecure_skip_verify: true}
";
        let registries: Registries = serde_yaml::from_str(yaml).unwrap();
        let endpoints = registries.endpoints("docker.io");
        let hosts: Vec<_> = endpoints.iter().map(|e| (e.host.as_str(), e.plain_http)).collect();
        assert_eq!(
            hosts,
            [("mirror.example.com:5000", false), ("127.0.0.1:5001", true), ("registry-1.docker.io", false)]
        );
        assert_eq!(endpoints[0].auth.username, "u");
        assert!(endpoints[0].tls.insecure_skip_verify);
        for (registry, http) in
            [("localhost:5000", true), ("[::1]:5000", true), ("quay.io", false), ("10.0.0.1", false)]
        {
            assert_eq!(Registries::default().endpoints(registry)[0].plain_http, http, "{registry}");
        }
    }
}
