//! The cluster's keys: authorities, certificates, the service-account signing key, the join token, kubeconfigs.
//!
//! ```text
//!   <dir>/tls/server-ca.{crt,key}   signs what servers show         ──► every client trusts it (kubeconfig, kube-root-ca.crt)
//!            /client-ca.{crt,key}   signs what clients show         ──► the API server trusts it (CN: user, O: groups)
//!            /server.{crt,key}      the API server's own, by server-ca
//!            /admin.{crt,key}       system:masters, by client-ca
//!            /request-header-ca.{crt,key}   signs who may speak for users ──► aggregated API servers trust it
//!            /front-proxy.{crt,key} system:auth-proxy, by request-header-ca: what they are shown
//!            /service.key           signs service-account tokens (ES256)
//!        /token                     K10<sha256 of server-ca's DER>::server:<secret>
//!        /agent-token               with --agent-token: K10<…>::node:<secret>
//! ```
//!
//! All keys are ECDSA P-256 in files of mode 0600. [`Pki::open`] makes what is missing and renews a certificate that has less
//! than 90 days to live, names other hosts than asked, or comes from another authority. Authorities are never renewed here.

mod authority;
mod error;
pub mod files;
mod identity;
mod kubeconfig;
mod pki;
mod request;
mod tls;
mod token;
mod trust_all;

pub use authority::Authority;
pub use error::Error;
pub use identity::{Identity, Profile};
pub use kubeconfig::kubeconfig;
pub use pki::{AGENT_TOKEN, FRONT_PROXY, Options, Pki, TOKEN};
pub use request::{BACKDATE, SigningRequest, requested};
pub use tls::{certificate, client_config, client_config_pem, server_config};
pub use token::{JoinToken, NODE, SERVER, Secret, ca_hash, same_secret};
pub use trust_all::{client_config_trusting_all, trust_all};
