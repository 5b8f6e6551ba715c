//! The flags of what guards the API: upstream's kube-apiserver flags under their own names, and k3s's `--secrets-encryption`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use apiserver::audit::{self, Audit, Rotation};
use apiserver::authn::oidc::{self, Oidc};
use apiserver::authn::outside::{Outside, Webhook};
use apiserver::encryption::Keyring;
use apiserver::fairness::Fairness;
use apiserver::outbound::Outbound;
use apiserver::profile::CpuProfiler;
use clap::{ArgAction, Args};
use jiff::SignedDuration;
use store::Store;
use tokio_util::sync::CancellationToken;

#[derive(Args, Clone)]
pub struct GuardFlags {
    /// Encrypt secrets on disk; see `skiff secrets-encrypt`
    #[arg(long, env = "SKIFF_SECRETS_ENCRYPTION")]
    pub secrets_encryption: bool,
    /// Requests without credentials are those of system:anonymous
    #[arg(long, env = "SKIFF_ANONYMOUS_AUTH", num_args = 0..=1, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set)]
    pub anonymous_auth: bool,
    /// CPU and memory profiles at /debug/pprof
    #[arg(long, env = "SKIFF_PROFILING", num_args = 0..=1, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set)]
    pub profiling: bool,
    /// Priorities and queues for requests
    #[arg(long, env = "SKIFF_ENABLE_PRIORITY_AND_FAIRNESS", num_args = 0..=1, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// What is audited: a Policy of audit.k8s.io/v1
    #[arg(long, env = "SKIFF_AUDIT_POLICY_FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where audit events are written, a line of JSON each; - is the standard output
    #[arg(long, env = "SKIFF_AUDIT_LOG_PATH")]
    pub audit_log_path: Option<PathBuf>,
    /// Days that old audit logs are kept; 0: for ever
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXAGE", default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Old audit logs that are kept; 0: all
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXBACKUP", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Megabytes at which the audit log is rotated
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXSIZE", default_value_t = 100)]
    pub audit_log_maxsize: u64,
    /// A kubeconfig file of the webhook that audit events are sent to
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_CONFIG_FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// A kubeconfig file of the webhook that reviews tokens
    #[arg(long, env = "SKIFF_AUTHENTICATION_TOKEN_WEBHOOK_CONFIG_FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// How long its answers are remembered
    #[arg(long, env = "SKIFF_AUTHENTICATION_TOKEN_WEBHOOK_CACHE_TTL", default_value = "2m")]
    pub authentication_token_webhook_cache_ttl: SignedDuration,
    /// The OpenID Connect provider whose tokens are good; https only
    #[arg(long, env = "SKIFF_OIDC_ISSUER_URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The client that its tokens must be for
    #[arg(long, env = "SKIFF_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// The claim that is the user's name
    #[arg(long, env = "SKIFF_OIDC_USERNAME_CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// What is put before it; - for nothing [default: the issuer and #, but for emails]
    #[arg(long, env = "SKIFF_OIDC_USERNAME_PREFIX", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// The claim that holds the user's groups
    #[arg(long, env = "SKIFF_OIDC_GROUPS_CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What is put before each
    #[arg(long, env = "SKIFF_OIDC_GROUPS_PREFIX", default_value = "")]
    pub oidc_groups_prefix: String,
    /// Claims that a token must have: key=value
    #[arg(long, env = "SKIFF_OIDC_REQUIRED_CLAIM", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// How tokens may be signed
    #[arg(long, env = "SKIFF_OIDC_SIGNING_ALGS", value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// Who vouches for the provider [default: whom this machine trusts]
    #[arg(long, env = "SKIFF_OIDC_CA_FILE")]
    pub oidc_ca_file: Option<PathBuf>,
}

fn told<T>(result: Result<T, String>) -> Result<T> {
    result.map_err(|e| anyhow!(e))
}

impl GuardFlags {
    /// The keys of secrets, from the server's directory.
    pub fn keys(&self, server: &Path) -> Result<Arc<Keyring>> {
        told(Keyring::open_or_off(server, self.secrets_encryption))
    }

    /// Must be called within a runtime.
    pub fn options(&self, store: &Arc<Store>, stop: &CancellationToken) -> Result<apiserver::Options> {
        let audit = Audit::open(&audit::Options {
            policy_file: self.audit_policy_file.clone(),
            log_path: self.audit_log_path.clone(),
            rotation: Rotation {
                max_size: self.audit_log_maxsize,
                max_age: self.audit_log_maxage,
                max_backups: self.audit_log_maxbackup,
            },
            webhook_config_file: self.audit_webhook_config_file.clone(),
        });
        let fairness = self.enable_priority_and_fairness.then(|| {
            let fairness = Arc::new(Fairness::new());
            fairness.follow(store, stop);
            fairness
        });
        let profiling = self.profiling.then(|| Box::new(crate::profiler::Helper) as Box<dyn CpuProfiler>);
        Ok(apiserver::Options { audit: told(audit)?, fairness, anonymous: self.anonymous_auth, profiling })
    }

    /// Who else knows tokens.
    pub fn outside(&self) -> Result<Outside> {
        let mut outside = Outside::default();
        if let Some(issuer) = &self.oidc_issuer_url {
            let claim = |c: &String| match c.split_once('=') {
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                None => bail!("--oidc-required-claim {c}: expected key=value"),
            };
            outside.oidc = Some(told(Oidc::new(oidc::Options {
                issuer_url: issuer.clone(),
                client_id: self.oidc_client_id.clone().unwrap_or_default(),
                username_claim: self.oidc_username_claim.clone(),
                username_prefix: self.oidc_username_prefix.clone(),
                groups_claim: self.oidc_groups_claim.clone(),
                groups_prefix: self.oidc_groups_prefix.clone(),
                required_claims: self.oidc_required_claim.iter().map(claim).collect::<Result<_>>()?,
                signing_algs: self.oidc_signing_algs.clone(),
                ca_file: self.oidc_ca_file.clone(),
            }))?);
        }
        if let Some(path) = &self.authentication_token_webhook_config_file {
            let ttl = self.authentication_token_webhook_cache_ttl.unsigned_abs();
            outside.webhook = Some(Webhook::new(told(Outbound::from_kubeconfig(path))?, ttl));
        }
        Ok(outside)
    }
}
