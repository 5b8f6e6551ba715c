//! `skiff secrets-encrypt`: whether and with which keys secrets are encrypted on disk. k3s's command of that name.

use anyhow::Result;
use apiserver::encryption::PATH;
use clap::Subcommand;
use serde_json::json;

use crate::admin::Admin;
use crate::flags::DataDir;
use crate::paths::Paths;

#[derive(Subcommand)]
pub enum EncryptCommand {
    /// Tell whether secrets are encrypted, and with which keys
    Status(DataDir),
    /// Encrypt secrets from now on, and those that are there
    Enable(DataDir),
    /// Write secrets as they are from now on, and those that are there
    Disable(DataDir),
    /// Make a new key, encrypt all secrets with it, and forget the old ones
    RotateKeys(DataDir),
    /// Write all secrets anew that are not as they should be
    Reencrypt(DataDir),
}

pub async fn run(command: EncryptCommand) -> Result<()> {
    use EncryptCommand::{Disable, Enable, Reencrypt, RotateKeys, Status};
    let (data, action) = match &command {
        Status(data) => (data, None),
        Enable(data) => (data, Some("enable")),
        Disable(data) => (data, Some("disable")),
        RotateKeys(data) => (data, Some("rotate-keys")),
        Reencrypt(data) => (data, Some("reencrypt")),
    };
    let admin = Admin::open(&Paths::of(&data.data_dir))?;
    let answer = match action {
        None => admin.call("GET", PATH, None).await?,
        Some(action) => admin.call("POST", PATH, Some(&json!({"action": action}))).await?,
    };
    let state = if answer["enabled"] == true { "Enabled" } else { "Disabled" };
    println!("Encryption Status: {state}");
    for (i, key) in answer["keys"].as_array().into_iter().flatten().enumerate() {
        let mark = if i == 0 && answer["enabled"] == true { "*" } else { " " };
        println!(" {mark} AES-GCM  {}", key.as_str().unwrap_or_default());
    }
    if action.is_some() {
        println!("Secrets written anew: {}", answer["rewritten"]);
    }
    Ok(())
}
