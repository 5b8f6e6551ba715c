//! The set of servers, as the agent knows it: from its flags at first, then from the cluster, kept across restarts.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::{Error, http};

const FILE: &str = "servers.json";

/// Where servers are reached. All addresses are `host:port`.
pub struct Servers {
    file: PathBuf,
    /// By which this agent joined: a way in when no other is.
    given: Option<String>,
    advertised: watch::Sender<Vec<String>>,
    /// The one that answered last.
    good: watch::Sender<Option<String>>,
}

impl Servers {
    /// Reads `<dir>/servers.json`. `given` is the `--server` flag's URL.
    pub fn open(dir: &Path, given: Option<&str>) -> Result<Servers, Error> {
        let given = given.map(http::address).transpose()?;
        let file = dir.join(FILE);
        let text = std::fs::read(&file).unwrap_or_default();
        let kept: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Servers { file, given, advertised: watch::channel(kept).0, good: watch::channel(None).0 })
    }

    /// What the cluster says of itself. An empty set is no news: a server that says so is one.
    pub fn advertise(&self, servers: Vec<String>) {
        if servers.is_empty() || *self.advertised.borrow() == servers {
            return;
        }
        tracing::info!(?servers, "the cluster's servers");
        let written = serde_json::to_string(&servers).map_err(std::io::Error::other);
        let file = self.file.to_owned();
        if let Err(error) = written.and_then(|t| pki::files::write(&file, &t).map_err(std::io::Error::other)) {
            tracing::warn!(%error, "the set of servers is not kept");
        }
        self.advertised.send_replace(servers);
    }

    /// Each is to have a tunnel. Before the cluster has said: the one that was given.
    pub fn each(&self) -> Vec<String> {
        let advertised = self.advertised.borrow().clone();
        if advertised.is_empty() { self.given.iter().cloned().collect() } else { advertised }
    }
    pub fn changes(&self) -> watch::Receiver<Vec<String>> {
        self.advertised.subscribe()
    }
    /// Beside the advertised: for an agent that reaches its server by another address than the cluster's.
    pub fn given(&self) -> Option<&str> {
        self.given.as_deref()
    }

    /// Whether `server` is one still.
    pub fn has(&self, server: &str) -> bool {
        self.given.as_deref() == Some(server) || self.advertised.borrow().iter().any(|s| s == server)
    }

    /// In the order in which to try them.
    pub fn candidates(&self) -> Vec<String> {
        let mut all: Vec<String> = self.good.borrow().iter().filter(|s| self.has(s)).cloned().collect();
        for server in self.given.iter().chain(&*self.advertised.borrow()) {
            if !all.contains(server) {
                all.push(server.clone());
            }
        }
        all
    }
    pub fn answered(&self, server: &str) {
        self.good.send_if_modified(|good| {
            let is_new = good.as_deref() != Some(server);
            *good = Some(server.to_owned());
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_outlives_the_process_and_the_flag_is_a_way_in() {
        let dir = tempfile::tempdir().unwrap();
        let servers = Servers::open(dir.path(), Some("https://nat.example.com")).unwrap();
        assert_eq!(servers.each(), ["nat.example.com:6443"]);
        servers.advertise(vec!["10.0.0.1:6443".into(), "10.0.0.2:6443".into()]);
        servers.advertise(vec![]);
        servers.answered("10.0.0.2:6443");
        assert_eq!(servers.candidates(), ["10.0.0.2:6443", "nat.example.com:6443", "10.0.0.1:6443"]);
        let later = Servers::open(dir.path(), None).unwrap();
        assert_eq!(later.each(), ["10.0.0.1:6443", "10.0.0.2:6443"]);
        assert_eq!(later.candidates(), later.each());
        assert!(Servers::open(dir.path(), Some("http://x")).is_err());
    }
}
