//! Images: pull policies, credentials from imagePullSecrets, one pull of an image at a time.

use std::collections::HashMap;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{PodSpec, Secret};
use base64::Engine;
use client::Api;
use parking_lot::Mutex;
use runtime::Credentials;

use crate::Result;
use crate::context::Context;

#[derive(Default)]
pub(crate) struct Puller {
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Puller {
    /// Pulls unless another pod's pull of the same image has just brought it (and `always` is not asked for).
    pub async fn pull(
        &self,
        ctx: &Context,
        spec: &PodSpec,
        namespace: &str,
        image: &str,
        always: bool,
    ) -> Result<String> {
        let lock = self.busy.lock().entry(image.to_owned()).or_default().clone();
        let result = {
            let _one = lock.lock().await;
            match ctx.runtime.image(image).await? {
                Some(found) if !always => Ok(found.id),
                _ => self.fetch(ctx, spec, namespace, image).await,
            }
        };
        let mut busy = self.busy.lock();
        if Arc::strong_count(&lock) <= 2 {
            busy.remove(image);
        }
        result
    }

    async fn fetch(&self, ctx: &Context, spec: &PodSpec, namespace: &str, image: &str) -> Result<String> {
        let registry = registry(image);
        let mut error = None;
        for credentials in credentials(ctx, spec, namespace, &registry).await.into_iter().map(Some).chain([None]) {
            match ctx.runtime.pull_image(image, credentials).await {
                Ok(id) => {
                    ctx.images_changed.notify_one();
                    return Ok(id);
                }
                Err(e) => error = error.or(Some(e)),
            }
        }
        Err(error.unwrap_or_else(|| runtime::Error::Image("the image could not be pulled".into())).into())
    }
}

/// The host of an image's name, `docker.io` where it has none.
fn registry(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.into(),
        _ => "docker.io".into(),
    }
}

async fn credentials(ctx: &Context, spec: &PodSpec, namespace: &str, registry: &str) -> Vec<Credentials> {
    let mut out = Vec::new();
    let secrets = Api::<Secret>::new(ctx.client.clone());
    for name in spec.image_pull_secrets.iter().flatten().map(|r| &r.name) {
        let Ok(object) = secrets.get(namespace, name).await else { continue };
        let Ok(secret) = object.view::<Secret>() else { continue };
        let data = |k: &str| secret.data.as_ref().and_then(|d| d.get(k)).map(|b| b.0.as_slice());
        if let Some(json) = data(".dockerconfigjson") {
            let tree: api::Value = serde_json::from_slice(json).unwrap_or_default();
            out.extend(from_auths(&tree["auths"], registry));
        } else if let Some(json) = data(".dockercfg") {
            out.extend(from_auths(&serde_json::from_slice(json).unwrap_or_default(), registry));
        }
    }
    out
}

fn from_auths(auths: &api::Value, registry: &str) -> Option<Credentials> {
    let bare = |k: &str| {
        let k = k.trim_start_matches("https://").trim_start_matches("http://");
        match k.split('/').next().unwrap_or("") {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
            host => host.to_owned(),
        }
    };
    let entry = auths.as_object()?.iter().find(|(k, _)| bare(k) == registry)?.1;
    let text = |k: &str| entry[k].as_str().unwrap_or_default().to_owned();
    if !text("username").is_empty() {
        return Some(Credentials { username: text("username"), password: text("password") });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")).ok()?;
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Credentials { username: username.into(), password: password.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_are_found_by_registry() {
        for (image, want) in [
            ("nginx", "docker.io"),
            ("a/b:1", "docker.io"),
            ("ghcr.io/a/b", "ghcr.io"),
            ("localhost:5000/x", "localhost:5000"),
        ] {
            assert_eq!(registry(image), want);
        }
        let auths =
            json!({"https://index.docker.io/v1/": {"auth": "YTpi"}, "ghcr.io": {"username": "u", "password": "p"}});
        let of = |r: &str| from_auths(&auths, r).map(|c| (c.username, c.password));
        assert_eq!(of("docker.io"), Some(("a".into(), "b".into())));
        assert_eq!(of("ghcr.io"), Some(("u".into(), "p".into())));
        assert_eq!(of("quay.io"), None);
    }
}
