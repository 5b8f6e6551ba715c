//! Another secret for the cluster: `skiff token rotate`.

use api::{Status, Value};
use pki::{AGENT_TOKEN, JoinToken, NODE, SERVER, TOKEN};
use serde::Deserialize;
use serde_json::json;

use super::Agents;
use crate::authn::OwnSecrets;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rotate {
    /// Which of the two; absent: the agents' where they have one, else the one for all.
    #[serde(rename = "for")]
    which: String,
    /// Absent: a random one.
    secret: Option<String>,
}

impl Agents {
    /// Writes the new secret, then takes it; machines that have joined need none, and notice nothing.
    pub(super) fn rotate(&self, body: &[u8]) -> Result<Value, Status> {
        let asked: Rotate = if body.is_empty() {
            Rotate::default()
        } else {
            serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?
        };
        let secret = asked.secret.filter(|s| !s.is_empty()).unwrap_or_else(JoinToken::random_secret);
        if secret.len() < 16 || secret.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Status::bad_request("a secret has at least 16 characters and no blanks"));
        }
        let apart = self.server_dir.join(AGENT_TOKEN);
        let for_agents = match asked.which.as_str() {
            "" => apart.exists(),
            "agent" => true,
            "server" => false,
            other => return Err(Status::bad_request(format!("{other:?}: expected \"agent\" or \"server\""))),
        };
        let write = |name: &str, token: &JoinToken| {
            pki::files::write(&self.server_dir.join(name), &format!("{token}\n")).map_err(Status::internal)
        };
        let read = |name: &str| {
            let text = pki::files::read(&self.server_dir.join(name)).map_err(Status::internal)?;
            text.map(|t| JoinToken::parse(&t).map_err(Status::internal)).transpose()
        };
        let user = if for_agents { NODE } else { SERVER };
        let token = JoinToken::password(&self.pki.server_ca, user, &secret);
        write(if for_agents { AGENT_TOKEN } else { TOKEN }, &token)?;
        let server = read(TOKEN)?.unwrap_or_else(|| token.clone());
        let agent = read(AGENT_TOKEN)?.unwrap_or_else(|| server.clone());
        self.bootstrap.replace(OwnSecrets { server, agent });
        tracing::info!(r#for = if for_agents { "agents" } else { "servers" }, "the join token was rotated");
        Ok(json!({"token": token.to_string()}))
    }
}
