//! What the runtime is told of one container. Upstream's `generateContainerConfig` and `makeMounts`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use runtime::{ContainerConfig, Image, Mount};

use super::observe::label;
use super::spec::grace_seconds;
use super::{dns, env, expand, resources, security};
use crate::Result;
use crate::context::Context;
use crate::error::At;
use crate::objects::InNamespace;
use crate::volume::Volumes;

pub(crate) struct Inputs<'a> {
    pub ctx: &'a Context,
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub container: &'a Container,
    pub attempt: u32,
    pub image: &'a Image,
    pub ips: &'a [String],
    pub volumes: &'a Volumes,
    /// The id of an ephemeral container's target.
    pub target: Option<String>,
}

/// Errors are `CreateContainerConfigError`s.
pub(crate) fn config(i: &Inputs<'_>) -> Result<ContainerConfig> {
    let c = i.container;
    if i.ctx.config.hollow {
        let annotations = [(label::IMAGE.into(), c.image.clone().unwrap_or_default())].into();
        let image = i.image.id.clone();
        return Ok(ContainerConfig {
            name: c.name.clone(),
            attempt: i.attempt,
            image,
            annotations,
            ..ContainerConfig::default()
        });
    }
    let meta = &i.pod.metadata;
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&meta.namespace), text(&meta.name), text(&meta.uid));
    let dir = i.ctx.config.pod_dir(&uid);
    let lookup = InNamespace { objects: &i.ctx.objects, namespace: &namespace };
    let services = env::services(&i.ctx.services.list(None), &namespace, i.spec.enable_service_links.unwrap_or(true));
    let facts = i.ctx.fields(i.ips);
    let vars = env::variables(i.pod, i.spec, c, &facts, &lookup, &services)?;
    let value = |n: &str| vars.iter().find(|(k, _)| k == n).map(|(_, v)| v.as_str());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|t| expand::expand(t, value)).collect()
    };
    let (command, args) = (expanded(&c.command), expanded(&c.args));
    let mut security = security::effective(i.pod, i.spec, c, i.image, &i.ctx.config.root_dir.join("seccomp"))?;
    security.target_container = i.target.clone();
    let mut mounts = i.volumes.mounts(c, &vars)?;
    let mut annotations = BTreeMap::new();
    let mut add = |at: &str, from: PathBuf, read_only: bool| {
        if !mounts.iter().any(|m| m.container_path == Path::new(at)) {
            mounts.push(Mount { host_path: from, container_path: at.into(), read_only, propagation: "None".into() });
        }
    };
    let read_only = security.read_only_root;
    add("/etc/hosts", dir.join("etc-hosts"), read_only);
    add("/etc/resolv.conf", dir.join("resolv.conf"), read_only);
    if i.spec.host_network != Some(true) {
        add("/etc/hostname", dir.join("hostname"), read_only);
    }
    if let Some(path) = c.termination_message_path.as_deref().filter(|p| !p.is_empty()) {
        let file = dir.join("containers").join(&c.name).join(i.attempt.to_string());
        write_file(&file, "", 0o666)?;
        add(path, file.clone(), false);
        annotations.insert(label::MESSAGE_PATH.into(), file.to_string_lossy().into_owned());
    }
    if let Some(policy) = &c.termination_message_policy {
        annotations.insert(label::MESSAGE_POLICY.into(), policy.clone());
    }
    annotations.insert(label::IMAGE.into(), text(&c.image));
    annotations.insert(label::GRACE.into(), grace_seconds(i.spec).to_string());
    let labels = [
        (label::POD_NAME, name.as_str()),
        (label::POD_NAMESPACE, &namespace),
        (label::POD_UID, &uid),
        (label::CONTAINER, &c.name),
    ];
    Ok(ContainerConfig {
        name: c.name.clone(),
        attempt: i.attempt,
        image: i.image.id.clone(),
        command,
        args,
        working_dir: text(&c.working_dir),
        env: vars,
        mounts,
        devices: Vec::new(),
        stdin: c.stdin.unwrap_or(false),
        stdin_once: c.stdin_once.unwrap_or(false),
        tty: c.tty.unwrap_or(false),
        resources: resources::container(i.spec, c, i.ctx.machine.memory_bytes),
        security,
        labels: labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        annotations,
    })
}

/// The files that all containers of the pod share: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`.
pub(crate) fn shared_files(ctx: &Context, pod: &Pod, spec: &PodSpec, ips: &[String]) -> Result<()> {
    if ctx.config.hollow {
        return Ok(());
    }
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
    let dir = ctx.config.pod_dir(&text(&pod.metadata.uid));
    let domain = &ctx.config.cluster_domain;
    let (host, sub) = dns::hostname(spec, &name, &namespace, domain);
    let host_file = (spec.host_network == Some(true)).then(|| fs::read_to_string("/etc/hosts").unwrap_or_default());
    write_file(&dir.join("etc-hosts"), &dns::hosts(spec, ips, &host, &sub, host_file.as_deref()), 0o644)?;
    let resolver = dns::resolver(spec, &namespace, &ctx.config.cluster_dns, domain, &ctx.resolver);
    write_file(&dir.join("resolv.conf"), &resolver.render(), 0o644)?;
    write_file(&dir.join("hostname"), &format!("{}\n", dns::nodename(spec, &name, &namespace, domain)), 0o644)
}

/// In place, since it may be bound into running containers; not at all if it is so already.
fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    if !text.is_empty() && fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at(parent)?;
    }
    fs::write(path, text).at(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at(path)
}
