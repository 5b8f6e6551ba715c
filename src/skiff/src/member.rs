//! A machine's membership in a cluster, as it lies on its disk: with it, a start needs neither token nor server.
//!
//! ```text
//!   <data>/agent/node-password     made once; the name of this node is bound to it
//!               /cluster/node.pem  key and certificate
//!                       /ca.pem    the authority of the servers
//!                       /settings.json
//!                       /servers.json
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pki::{Identity, JoinToken};
use rustls::ClientConfig;
use tunnel::{Error, Joined, Servers, Settings};

use crate::paths::Paths;

const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub struct Member {
    dir: PathBuf,
    pub identity: Identity,
    authority: String,
    pub settings: Settings,
}

pub fn cluster_dir(paths: &Paths) -> PathBuf {
    paths.agent().join("cluster")
}

/// What the node follows, for when no server answers.
pub fn known_dir(paths: &Paths) -> PathBuf {
    paths.agent().join("known")
}

/// The authority of the cluster that this machine belongs to, or belonged to last.
pub fn authority(dir: &Path) -> Result<Option<String>> {
    Ok(pki::files::read(&dir.join("ca.pem"))?)
}

impl Member {
    /// What an earlier join has left, if it is this node's, still good, and of the cluster that `token` is for.
    pub fn load(dir: &Path, node: &str, token: Option<&JoinToken>) -> Result<Option<Member>> {
        let read = |name: &str| pki::files::read(&dir.join(name));
        let (Some(pem), Some(authority), Some(settings)) = (read("node.pem")?, read("ca.pem")?, read("settings.json")?)
        else {
            return Ok(None);
        };
        let identity = Identity { certificate: pem.clone(), key: pem };
        let stale = |why: &str| {
            tracing::info!(why, "joining anew");
            Ok(None)
        };
        if identity.common_name()? != format!("system:node:{node}") {
            return stale("this node had another name");
        }
        if identity.validity()?.1 < Timestamp::now() {
            return stale("the node's certificate has expired");
        }
        if token.is_some_and(|t| !pki::certificate(&authority).is_ok_and(|der| t.trusts(&der))) {
            return stale("the token is for another cluster");
        }
        let settings = serde_json::from_str(&settings).context("settings.json")?;
        Ok(Some(Member { dir: dir.to_owned(), identity, authority, settings }))
    }

    /// Forgets all that was kept of an earlier cluster, where this is another one.
    pub fn forget_others(&self, earlier_authority: Option<&str>, paths: &Paths) {
        if earlier_authority.is_none_or(|earlier| earlier == self.authority) {
            return;
        }
        tracing::warn!("this machine has come to another cluster: what it knew of the earlier one is forgotten");
        for path in [known_dir(paths), paths.agent().join("network")] {
            if let Err(error) = std::fs::remove_dir_all(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "not removed");
            }
        }
    }

    /// Asks the first server that answers, until one does.
    pub async fn join(dir: &Path, node: &str, password: &str, token: &JoinToken, servers: &Servers) -> Result<Member> {
        let mut wait = Duration::from_millis(200);
        let mut told = String::new();
        loop {
            // what is known of servers may be of another cluster
            let candidates = servers.given().map_or_else(|| servers.candidates(), |given| vec![given.to_owned()]);
            for server in candidates {
                match Member::ask(dir, node, password, token, &server).await {
                    Ok((member, joined)) => {
                        servers.advertise(joined.servers);
                        tracing::info!(server, node, "joined");
                        return Ok(member);
                    }
                    Err(error) => match error.downcast_ref::<Error>() {
                        Some(e) if e.is_temporary() => {
                            let text = e.to_string();
                            if told != text {
                                tracing::warn!("{text}; trying on");
                                told = text;
                            }
                        }
                        _ => return Err(error),
                    },
                }
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn ask(dir: &Path, node: &str, password: &str, token: &JoinToken, server: &str) -> Result<(Member, Joined)> {
        let authority = tunnel::fetch_authority(server, token).await?;
        if token.ca_hash.is_empty() {
            let hash = pki::ca_hash(&pki::certificate(&authority)?);
            tracing::warn!(
                "the token names no certificate authority: trusting the one that {server} shows, {hash}; \
                 a token as `skiff token` prints it would have it checked"
            );
        }
        let (identity, joined) = tunnel::join(server, &authority, token, node, password).await?;
        let member = Member { dir: dir.to_owned(), identity, authority, settings: joined.settings.clone() };
        pki::files::make_dir(dir)?;
        member.keep("ca.pem", &member.authority)?;
        member.save_identity()?;
        member.save_settings()?;
        Ok((member, joined))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
    fn keep(&self, name: &str, text: &str) -> Result<()> {
        Ok(pki::files::write(&self.dir.join(name), text)?)
    }
    fn save_identity(&self) -> Result<()> {
        self.keep("node.pem", &format!("{}{}", self.identity.certificate, self.identity.key))
    }
    fn save_settings(&self) -> Result<()> {
        self.keep("settings.json", &serde_json::to_string_pretty(&self.settings).context("settings")?)
    }

    /// Takes a newer certificate.
    pub fn renewed(&mut self, identity: Identity) -> Result<()> {
        self.identity = identity;
        self.save_identity()
    }

    /// What the servers say now counts from the next start on.
    pub fn learn(&mut self, settings: Settings) -> Result<()> {
        if self.settings != settings {
            tracing::info!("the cluster's settings have changed; they count from the next start of this agent");
            self.settings = settings;
            self.save_settings()?;
        }
        Ok(())
    }

    pub fn tls(&self) -> Result<Arc<ClientConfig>> {
        Ok(pki::client_config_pem(&self.authority, Some(&self.identity))?)
    }
}

pub fn jittered(wait: Duration) -> Duration {
    // as random as its hasher: good enough to keep fifty machines apart
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    wait.mul_f64(0.5 + (random % 1000) as f64 / 2000.0)
}

/// This machine's own secret, made at its first start.
pub fn node_password(paths: &Paths) -> Result<String> {
    let path = paths.agent().join("node-password");
    if let Some(kept) = pki::files::read(&path)? {
        let kept = kept.trim();
        if kept.len() < 16 {
            bail!("{}: too short; delete it, and this node, to begin anew", path.display());
        }
        return Ok(kept.to_owned());
    }
    let made = JoinToken::random_secret();
    pki::files::make_dir(&paths.agent())?;
    pki::files::write(&path, &format!("{made}\n"))?;
    Ok(made)
}
