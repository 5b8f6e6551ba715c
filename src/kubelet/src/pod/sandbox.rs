//! A pod's sandbox and its place in the network.

use std::net::IpAddr;

use api::Object;
use api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use runtime::{SandboxConfig, SandboxStatus};

use super::observe::label;
use super::{dns, qos, resources};
use crate::context::Context;
use crate::error::At;
use crate::network::{HostPort, PodKey};
use crate::{Error, Result};

pub(crate) fn key(object: &Object, spec: &PodSpec) -> PodKey {
    let port = |v: Option<i32>| v.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
    let all = super::spec::containers(spec);
    let ports = all.iter().flat_map(|c| c.container.ports.iter().flatten()).filter_map(|p| {
        Some(HostPort {
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            host_ip: p.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified()),
            host_port: port(p.host_port)?,
            container_port: port(Some(p.container_port))?,
        })
    });
    PodKey {
        namespace: object.namespace().into(),
        name: object.name().into(),
        uid: object.uid().into(),
        host_ports: ports.collect(),
    }
}

pub(crate) async fn run(ctx: &Context, object: &Object, pod: &Pod, spec: &PodSpec, attempt: u32) -> Result<()> {
    let (namespace, name, uid) = (object.namespace(), object.name(), object.uid());
    let log_directory = ctx.config.pod_log_dir(namespace, name, uid);
    if !ctx.config.hollow {
        std::fs::create_dir_all(&log_directory).at(&log_directory)?;
    }
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    let mut labels: std::collections::BTreeMap<String, String> = pod.metadata.labels.clone().unwrap_or_default();
    for (k, v) in [(label::POD_NAME, name), (label::POD_NAMESPACE, namespace), (label::POD_UID, uid)] {
        labels.insert(k.into(), v.into());
    }
    let host_network = spec.host_network == Some(true);
    let hostname =
        if host_network { String::new() } else { dns::nodename(spec, name, namespace, &ctx.config.cluster_domain) };
    let config = SandboxConfig {
        namespace: namespace.into(),
        name: name.into(),
        uid: uid.into(),
        attempt,
        hostname,
        host_network,
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_process_namespace: spec.share_process_namespace == Some(true),
        sysctls: sysctls.map(|s| (s.name.replace('/', "."), s.value.clone())).collect(),
        log_directory,
        resources: resources::pod(spec),
        qos: qos::class(spec).to_lowercase(),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
    };
    let id = ctx.runtime.run_sandbox(config).await?;
    let sandbox = ctx.runtime.sandboxes_of(uid).await?.into_iter().find(|s| s.id == id);
    let sandbox = sandbox.ok_or_else(|| Error::config(format!("the new sandbox {id} is not there")))?;
    if let Err(e) = connect(ctx, object, spec, &sandbox).await {
        let _ = ctx.runtime.stop_sandbox(&id).await;
        let _ = ctx.network.teardown(&key(object, spec)).await;
        let _ = ctx.runtime.remove_sandbox(&id).await;
        return Err(e);
    }
    Ok(())
}

/// Gives the sandbox its addresses; nothing to do with host network.
pub(crate) async fn connect(ctx: &Context, object: &Object, spec: &PodSpec, sandbox: &SandboxStatus) -> Result<()> {
    let Some(netns) = sandbox.netns.as_ref().filter(|_| spec.host_network != Some(true)) else { return Ok(()) };
    let ips = ctx.network.setup(&key(object, spec), netns).await?;
    if ips.is_empty() {
        return Err(Error::network("the pod network gave no address"));
    }
    ctx.runtime.set_sandbox_ips(&sandbox.id, ips.iter().map(ToString::to_string).collect()).await?;
    Ok(())
}
