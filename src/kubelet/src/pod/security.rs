//! The effective security context of a container. Upstream's `securitycontext.DetermineEffectiveSecurityContext` and
//! `verifyRunAsNonRoot`.

use std::path::Path;

use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use runtime::{Image, Security};

use super::spec::format_pod;
use crate::{Error, Result};

/// Errors with the text of `CreateContainerConfigError`. `profiles` holds `Localhost` seccomp profiles.
pub(crate) fn effective(pod: &Pod, spec: &PodSpec, c: &Container, image: &Image, profiles: &Path) -> Result<Security> {
    let own = c.security_context.clone().unwrap_or_default();
    let pods = spec.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(pods.run_as_user);
    let non_root = own.run_as_non_root.or(pods.run_as_non_root).unwrap_or(false);
    if non_root {
        verify_non_root(pod, c, run_as_user, image)?;
    }
    let mut supplemental_groups = pods.supplemental_groups.unwrap_or_default();
    supplemental_groups.extend(pods.fs_group);
    let capabilities = own.capabilities.unwrap_or_default();
    let bare = |list: Option<Vec<String>>| -> Vec<String> {
        list.unwrap_or_default().into_iter().map(|c| c.strip_prefix("CAP_").map(Into::into).unwrap_or(c)).collect()
    };
    let privileged = own.privileged.unwrap_or(false);
    let seccomp = match own.seccomp_profile.or(pods.seccomp_profile) {
        Some(p) if p.type_ == "Localhost" => {
            profiles.join(p.localhost_profile.unwrap_or_default()).to_string_lossy().into_owned()
        }
        Some(p) => p.type_,
        None => String::new(),
    };
    Ok(Security {
        privileged,
        run_as_user,
        run_as_group: own.run_as_group.or(pods.run_as_group),
        supplemental_groups,
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        add_capabilities: bare(capabilities.add),
        drop_capabilities: bare(capabilities.drop),
        seccomp: if privileged { "Unconfined".into() } else { seccomp },
        proc_mount: own.proc_mount.unwrap_or_else(|| "Default".into()),
        target_container: None,
    })
}

fn verify_non_root(pod: &Pod, c: &Container, run_as_user: Option<i64>, image: &Image) -> Result<()> {
    let place = format!("(pod: {:?}, container: {})", format_pod(pod), c.name);
    if let Some(uid) = run_as_user {
        return match uid {
            0 => Err(Error::config(format!("container's runAsUser breaks non-root policy {place}"))),
            _ => Ok(()),
        };
    }
    let user = image.user.split(':').next().unwrap_or("");
    match user.parse::<u64>() {
        Ok(0) => Err(Error::config(format!("container has runAsNonRoot and image will run as root {place}"))),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => {
            Err(Error::config(format!("container has runAsNonRoot and image will run as root {place}")))
        }
        Err(_) => Err(Error::config(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {place}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use serde_json::json;

    #[test]
    fn non_root_is_verified_in_upstreams_words() {
        for (context, user, want) in [
            (json!({"runAsUser": 0}), "", Some("container's runAsUser breaks non-root policy")),
            (json!({"runAsUser": 1000}), "", None),
            (json!({}), "0", Some("image will run as root")),
            (json!({}), "", Some("image will run as root")),
            (json!({}), "1001:1001", None),
            (json!({}), "redis", Some("image has non-numeric user (redis), cannot verify user is non-root")),
        ] {
            let pod = Pod::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "securityContext": context}]}}))
            .unwrap();
            let spec = pod.spec.clone().unwrap();
            let image = Image { id: String::new(), tags: vec![], digests: vec![], size_bytes: 0, user: user.into() };
            let got = effective(&pod, &spec, &spec.containers[0], &image, Path::new("/x"));
            match want {
                None => assert!(got.is_ok(), "{user}"),
                Some(text) => {
                    let e = got.unwrap_err().to_string();
                    assert!(e.contains(text) && e.ends_with("(pod: \"p_n(u)\", container: c)"), "{e}");
                }
            }
        }
    }
}
