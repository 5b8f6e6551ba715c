//! Namespaces, service accounts, config maps and secrets.

use std::collections::BTreeMap;
use std::path::Path;

use api::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::{How, metadata, pairs};
use crate::error::{Error, Result};

#[derive(clap::Args)]
pub struct Named {
    pub name: String,
    #[command(flatten)]
    pub how: How,
}

impl Named {
    pub fn namespace(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(&self.name), "spec": {}, "status": {}})
    }
    pub fn service_account(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(&self.name)})
    }
}

/// Where data comes from.
#[derive(clap::Args)]
pub struct Sources {
    /// key=value
    #[arg(long)]
    from_literal: Vec<String>,
    /// [key=]file or folder
    #[arg(long)]
    from_file: Vec<String>,
    /// A file of key=value lines
    #[arg(long)]
    from_env_file: Vec<String>,
}

impl Sources {
    fn read(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let others = !self.from_file.is_empty() || !self.from_literal.is_empty();
        if others && !self.from_env_file.is_empty() {
            return Err(Error::other("from-env-file cannot be combined with from-file or from-literal"));
        }
        let mut data = BTreeMap::new();
        let mut put = |key: String, value: Vec<u8>| match data.insert(key.clone(), value) {
            Some(_) => {
                Err(Error::other(format!("cannot add key {key:?}, another key by that name already exists in Data")))
            }
            None => Ok(()),
        };
        for source in &self.from_file {
            let (key, path) = source.split_once('=').map_or((None, source.as_str()), |(k, p)| (Some(k), p));
            let failed = |e: std::io::Error| Error::other(format!("error reading {path}: {e}"));
            if Path::new(path).is_dir() {
                if key.is_some() {
                    return Err(Error::other("cannot give a key name for a directory path"));
                }
                let mut files: Vec<_> = std::fs::read_dir(path)
                    .map_err(failed)?
                    .filter_map(std::result::Result::ok)
                    .map(|e| e.path())
                    .collect();
                files.sort();
                for file in files.iter().filter(|f| f.is_file()) {
                    put(file_name(file), std::fs::read(file).map_err(failed)?)?;
                }
            } else {
                let key = key.map_or_else(|| file_name(Path::new(path)), str::to_owned);
                put(key, std::fs::read(path).map_err(failed)?)?;
            }
        }
        for (key, value) in pairs(&self.from_literal, "literal source")? {
            put(key, value.into_bytes())?;
        }
        for path in &self.from_env_file {
            let text = std::fs::read_to_string(path).map_err(|e| Error::other(format!("error reading {path}: {e}")))?;
            for line in text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
                match line.split_once('=') {
                    Some((key, value)) => put(key.trim_end().to_owned(), value.as_bytes().to_vec())?,
                    // as the shell has it
                    None => put(line.to_owned(), std::env::var(line).unwrap_or_default().into_bytes())?,
                }
            }
        }
        Ok(data)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

#[derive(clap::Args)]
pub struct ConfigMap {
    name: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    pub how: How,
}

impl ConfigMap {
    pub fn object(&self) -> Result<Value> {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(&self.name)});
        for (key, value) in self.sources.read()? {
            match String::from_utf8(value) {
                Ok(text) => object["data"][key] = text.into(),
                Err(e) => object["binaryData"][key] = BASE64.encode(e.into_bytes()).into(),
            }
        }
        Ok(object)
    }
}

#[derive(clap::Args)]
pub struct Secret {
    #[command(subcommand)]
    kind: SecretKind,
}

#[derive(clap::Subcommand)]
enum SecretKind {
    /// From files or literals
    Generic {
        name: String,
        #[command(flatten)]
        sources: Sources,
        /// The secret's type
        #[arg(long = "type")]
        kind: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// A certificate and its key
    Tls {
        name: String,
        /// The certificate's file
        #[arg(long)]
        cert: String,
        /// The key's file
        #[arg(long)]
        key: String,
        #[command(flatten)]
        how: How,
    },
    /// Credentials of an image registry
    DockerRegistry {
        name: String,
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        #[arg(long)]
        docker_username: String,
        #[arg(long)]
        docker_password: String,
        #[arg(long)]
        docker_email: Option<String>,
        #[command(flatten)]
        how: How,
    },
}

impl Secret {
    pub fn object(self) -> Result<(Value, How)> {
        let (name, kind, data, how) = match self.kind {
            SecretKind::Generic { name, sources, kind, how } => (name, kind, sources.read()?, how),
            SecretKind::Tls { name, cert, key, how } => {
                let read = |p: &str| {
                    std::fs::read(p).map_err(|e| Error::other(format!("failed to load key pair: open {p}: {e}")))
                };
                let data = [("tls.crt".to_owned(), read(&cert)?), ("tls.key".to_owned(), read(&key)?)];
                (name, Some("kubernetes.io/tls".into()), data.into(), how)
            }
            SecretKind::DockerRegistry { name, docker_server, docker_username, docker_password, docker_email, how } => {
                let auth = BASE64.encode(format!("{docker_username}:{docker_password}"));
                // in the order of Go's struct
                let email = docker_email.map_or(String::new(), |e| format!(r#""email":{},"#, json!(e)));
                let config = format!(
                    r#"{{"auths":{{{}:{{"username":{},"password":{},{email}"auth":{}}}}}}}"#,
                    json!(docker_server),
                    json!(docker_username),
                    json!(docker_password),
                    json!(auth)
                );
                let data = [(".dockerconfigjson".to_owned(), config.into_bytes())];
                (name, Some("kubernetes.io/dockerconfigjson".into()), data.into(), how)
            }
        };
        let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name)});
        if let Some(kind) = kind {
            object["type"] = kind.into();
        }
        for (key, value) in data {
            object["data"][key] = BASE64.encode(value).into();
        }
        Ok((object, how))
    }
}
