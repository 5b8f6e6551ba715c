//! `create token`: a service account's, by TokenRequest.

use http::Method;
use serde_json::json;

use crate::cli::Output;
use crate::error::{Error, Result};
use crate::objects::{duration, text};
use crate::print::Printer;
use crate::session::{JSON, Session};

#[derive(clap::Args)]
pub struct Token {
    /// The service account
    name: String,
    /// For whom the token is
    #[arg(long)]
    audience: Vec<String>,
    /// How long it is valid
    #[arg(long)]
    duration: Option<String>,
    /// Bind it to an object: Pod, Secret, Node
    #[arg(long)]
    bound_object_kind: Option<String>,
    #[arg(long)]
    bound_object_name: Option<String>,
    #[arg(long)]
    bound_object_uid: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Token {
    pub async fn run(self, s: &Session) -> Result<()> {
        let mut request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"creationTimestamp": null}, "spec": {"audiences": null}, "status": {"token": "", "expirationTimestamp": null}});
        if !self.audience.is_empty() {
            request["spec"]["audiences"] = json!(self.audience);
        }
        if let Some(text) = &self.duration {
            let length =
                duration(text)?.ok_or_else(|| Error::other("--duration must be greater than or equal to 0"))?;
            request["spec"]["expirationSeconds"] = length.as_secs().into();
        }
        if let (Some(kind), Some(name)) = (&self.bound_object_kind, &self.bound_object_name) {
            request["spec"]["boundObjectRef"] = json!({"apiVersion": "v1", "kind": kind, "name": name});
            if let Some(uid) = &self.bound_object_uid {
                request["spec"]["boundObjectRef"]["uid"] = uid.as_str().into();
            }
        }
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", s.namespace, self.name);
        let failed = |e: Error| match e {
            Error::Status(status) => Error::other(format!("failed to create token: {}", status.message)),
            e => e,
        };
        let answer = s.send(Method::POST, &path, JSON, Some(&request)).await.map_err(failed)?;
        match Printer::parse(self.output.output.as_deref(), false)? {
            Some(mut printer) => print!("{}", printer.print(&answer)?),
            None => println!("{}", text(&answer, "/status/token")),
        }
        Ok(())
    }
}
