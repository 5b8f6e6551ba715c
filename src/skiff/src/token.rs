//! `skiff token`: who may join. Upstream's `kubeadm token`, with the server's own secret.

use anyhow::{Context, Result};
use api::{Status, Value};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use pki::{JoinToken, Secret};
use serde_json::json;

use crate::admin::Admin;
use crate::flags::{TokenCommand, TokenFlags};
use crate::paths::Paths;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const ROTATE: &str = "/v1-skiff/token";

pub async fn run(flags: TokenFlags) -> Result<()> {
    let paths = Paths::of(&flags.data.data_dir);
    let Some(command) = flags.command else { return own(&paths) };
    let admin = Admin::open(&paths)?;
    match command {
        TokenCommand::Create { token, ttl, description, groups } => {
            create(&admin, token, ttl, description, &groups).await
        }
        TokenCommand::List => list(&admin).await,
        TokenCommand::Delete { tokens } => delete(&admin, &tokens).await,
        TokenCommand::Rotate { which, secret_file } => {
            let secret = secret_file.as_deref().map(|f| crate::secret::read(None, Some(f))).transpose()?.flatten();
            let body = json!({"for": which.unwrap_or_default(), "secret": secret});
            let answer = admin.call("POST", ROTATE, Some(&body)).await?;
            println!("{}", answer["token"].as_str().unwrap_or_default());
            Ok(())
        }
    }
}

/// With which agents join; from the disk, so that it is told whether the server runs or not.
fn own(paths: &Paths) -> Result<()> {
    let dir = paths.server();
    let token = match pki::files::read(&dir.join(pki::AGENT_TOKEN))? {
        Some(token) => token,
        None => pki::files::read(&dir.join(pki::TOKEN))?
            .with_context(|| format!("{}: no server has run here", dir.display()))?,
    };
    println!("{}", token.trim());
    Ok(())
}

async fn create(
    admin: &Admin,
    given: Option<String>,
    ttl: SignedDuration,
    description: Option<String>,
    groups: &[String],
) -> Result<()> {
    let secret = match given {
        Some(text) => JoinToken::parse(&text)?.secret,
        None => Secret::bootstrap(),
    };
    let Secret::Bootstrap { id, secret: word } = &secret else {
        anyhow::bail!("a bootstrap token has the form abcdef.0123456789abcdef");
    };
    let mut data = json!({
        "token-id": id, "token-secret": word, "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
    });
    if ttl.is_positive() {
        let end = Timestamp::now() + ttl;
        let end = Timestamp::from_second(end.as_second()).unwrap_or(end);
        data["expiration"] = end.to_string().into();
    }
    if let Some(text) = description {
        data["description"] = text.into();
    }
    if !groups.is_empty() {
        data["auth-extra-groups"] = groups.join(",").into();
    }
    let tree = json!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE,
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"}, "stringData": data,
    });
    admin.call("POST", SECRETS, Some(&tree)).await?;
    let ca_hash = pki::ca_hash(&pki::certificate(&admin.authority)?);
    println!("{}", JoinToken { ca_hash, secret });
    Ok(())
}

fn entry(secret: &Value, key: &str) -> String {
    let bytes = secret["data"][key].as_str().and_then(|t| STANDARD.decode(t).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without their secrets: these are told once, to who makes them.
async fn list(admin: &Admin) -> Result<()> {
    let all = admin.call("GET", &format!("{SECRETS}?fieldSelector=type%3D{}", TYPE.replace('/', "%2F")), None).await?;
    let mut rows = vec![["ID".to_owned(), "TTL".into(), "EXPIRES".into(), "GROUPS".into(), "DESCRIPTION".into()]];
    for secret in all["items"].as_array().into_iter().flatten() {
        let expires = entry(secret, "expiration");
        let ttl = match expires.parse::<Timestamp>() {
            Ok(end) => left(end.duration_since(Timestamp::now())),
            Err(_) => "<forever>".into(),
        };
        let expires = if expires.is_empty() { "<never>".into() } else { expires };
        rows.push([
            entry(secret, "token-id"),
            ttl,
            expires,
            entry(secret, "auth-extra-groups"),
            entry(secret, "description"),
        ]);
    }
    let width: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: String = row.iter().zip(&width).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        println!("{}", line.trim_end());
    }
    Ok(())
}

fn left(left: SignedDuration) -> String {
    let seconds = left.as_secs();
    match seconds {
        ..=0 => "<expired>".into(),
        1..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

async fn delete(admin: &Admin, tokens: &[String]) -> Result<()> {
    for token in tokens {
        let id = match JoinToken::parse(token)?.secret {
            Secret::Bootstrap { id, .. } => id,
            // the id alone
            Secret::Password { secret, .. } => secret,
        };
        let path = format!("{SECRETS}/bootstrap-token-{id}");
        admin.call("DELETE", &path, None).await.map_err(|error| match error.downcast::<Status>() {
            Ok(status) if status.is_not_found() => anyhow::anyhow!("there is no token {id:?}"),
            Ok(status) => status.into(),
            Err(error) => error,
        })?;
        println!("{id}");
    }
    Ok(())
}
