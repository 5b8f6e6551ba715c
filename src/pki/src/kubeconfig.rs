//! The text of a kubeconfig.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Authority, Identity};

/// A kubeconfig with one cluster, user and context, all named `default`, everything embedded.
pub fn kubeconfig(server_url: &str, server_ca: &Authority, client: &Identity) -> String {
    let [ca, cert, key] = [server_ca.pem(), &client.certificate, &client.key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    certificate-authority-data: {ca}
    server: {server_url}
users:
- name: default
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
preferences: {{}}
"
    )
}
