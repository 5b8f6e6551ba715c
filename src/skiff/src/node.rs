//! This machine as a node, from the flags that servers and agents share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use api::k8s_openapi::api::core::v1::Taint;
use tunnel::Settings;

use crate::flags::NodeFlags;
use crate::kubelet_args::KubeletArgs;
use crate::paths::Paths;

pub struct Node {
    pub name: String,
    pub ips: Vec<IpAddr>,
    ips_given: bool,
    pub external_ips: Vec<IpAddr>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    pub interface: Option<String>,
    provider_id: Option<String>,
    kubelet_args: KubeletArgs,
}

impl Node {
    pub fn from(flags: &NodeFlags, paths: &Paths) -> Result<Node> {
        let mut name = match &flags.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname().context("host name")?.to_string_lossy().to_lowercase(),
        };
        if flags.with_node_id {
            name = format!("{name}-{}", node_id(paths)?);
        }
        let wrong = api::names::dns_subdomain(&name, false);
        if let [first, ..] = wrong.as_slice() {
            bail!("--node-name: {name:?} cannot name a node: {first}");
        }
        let ips = match (&*flags.node_ip, &flags.network_interface) {
            ([], Some(interface)) => crate::node_ip::of(interface)
                .with_context(|| format!("--network-interface: {interface} has no address"))?,
            ([], None) => vec![crate::node_ip::detect()],
            (given, _) => given.to_vec(),
        };
        let mut labels = BTreeMap::from([("node.kubernetes.io/instance-type".to_owned(), "skiff".to_owned())]);
        for label in &flags.node_label {
            let (key, value) =
                label.split_once('=').with_context(|| format!("--node-label: {label:?} is not key=value"))?;
            labels.insert(key.into(), value.into());
        }
        Ok(Node {
            name,
            ips,
            ips_given: !flags.node_ip.is_empty(),
            external_ips: flags.node_external_ip.clone(),
            labels,
            taints: flags.node_taint.iter().map(|t| taint(t)).collect::<Result<_>>()?,
            interface: flags.network_interface.clone(),
            provider_id: flags.provider_id.clone(),
            kubelet_args: KubeletArgs::parse(&flags.kubelet_arg)?,
        })
    }

    /// As a server's node is labelled.
    pub fn with_role(mut self, role: &str) -> Node {
        self.labels.insert(format!("node-role.kubernetes.io/{role}"), "true".into());
        self
    }

    pub fn kubelet(&self, paths: &Paths, cluster: &Settings) -> kubelet::Config {
        let ips = match self.ips_given {
            true => self.ips.clone(),
            false => crate::node_ip::complete(&self.ips, &cluster.cluster_cidrs),
        };
        let external = self.kubelet_args.external_cloud_provider || cluster.external_cloud_provider;
        let list = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        let mut annotations = BTreeMap::new();
        if external {
            // what skiff's own provider tells the others
            annotations.insert("alpha.kubernetes.io/provided-node-ip".to_owned(), list(&ips));
            annotations.insert("skiff.sh/internal-ip".into(), list(&ips));
            annotations.insert("skiff.sh/external-ip".into(), list(&self.external_ips));
            annotations.insert("skiff.sh/hostname".into(), self.name.clone());
        }
        let mut config = kubelet::Config {
            node_name: self.name.clone(),
            node_ips: ips,
            external_ips: self.external_ips.clone(),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
            root_dir: paths.agent(),
            log_dir: paths.agent().join("logs"),
            cluster_dns: vec![cluster.cluster_dns],
            cluster_domain: cluster.cluster_domain.clone(),
            kubelet_version: apiserver::GIT_VERSION.to_owned(),
            provider_id: self.provider_id.clone(),
            external_cloud_provider: external,
            annotations,
            ..kubelet::Config::default()
        };
        self.kubelet_args.apply(&mut config);
        config
    }
}

/// `--with-node-id`: eight digits that this data directory keeps.
fn node_id(paths: &Paths) -> Result<String> {
    let path = paths.agent().join("node-id");
    if let Some(id) = pki::files::read(&path)? {
        return Ok(id.trim().to_owned());
    }
    let id: String = pki::JoinToken::random_secret().bytes().take(4).map(|b| format!("{b:02x}")).collect();
    pki::files::make_dir(&paths.agent())?;
    pki::files::write(&path, &format!("{id}\n"))?;
    Ok(id)
}

/// `key=value:Effect` or `key:Effect`
fn taint(text: &str) -> Result<Taint> {
    let wrong = || format!("--node-taint: {text:?} is not key=value:Effect");
    let (key, effect) = text.rsplit_once(':').with_context(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        bail!("{}", wrong());
    }
    let (key, value) = match key.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (key, None),
    };
    Ok(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}
