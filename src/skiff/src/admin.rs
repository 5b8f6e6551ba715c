//! The server that runs on this machine, spoken to as its administrator: what the short commands need.

use anyhow::{Context, Result, bail};
use api::{Status, Value};
use tunnel::Caller;

use crate::paths::Paths;

/// Beside the keys: where the running server listens.
const ADDRESS: &str = "api-address";

/// The server leaves word where it is.
pub fn publish(paths: &Paths, address: &str) -> Result<()> {
    Ok(pki::files::write(&paths.server().join(ADDRESS), &format!("{address}\n"))?)
}

pub struct Admin {
    caller: Caller,
    /// PEM of the servers' authority.
    pub authority: String,
}

impl Admin {
    pub fn open(paths: &Paths) -> Result<Admin> {
        let dir = paths.server();
        let read = |name: &str| -> Result<String> {
            pki::files::read(&dir.join(name))?.with_context(|| format!("{}: no server has run here", dir.display()))
        };
        let identity = pki::Identity { certificate: read("tls/admin.crt")?, key: read("tls/admin.key")? };
        let authority = read("tls/server-ca.crt")?;
        let tls = pki::client_config_pem(&authority, Some(&identity))?;
        Ok(Admin { caller: Caller::new(read(ADDRESS)?.trim(), &tls), authority })
    }

    /// The answer's JSON, or the server's words about why not.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.caller.request(method, path, content_type, body).await?;
        let value: Value = serde_json::from_slice(&answer.body).context("the server's answer")?;
        if !answer.status.is_success() {
            let status = Status::from_value(&value);
            if status.message.is_empty() {
                bail!("the server answered {}", answer.status);
            }
            return Err(status.into());
        }
        Ok(value)
    }
}
