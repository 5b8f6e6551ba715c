//! A pod's volumes: made before its containers, kept up to date, taken down after them.
//!
//! ```text
//!   <root>/pods/<uid>/volumes/kubernetes.io~<kind>/<name>     what containers mount
//!   <root>/pods/<uid>/memory                                  one tmpfs: secrets and tokens never reach the disk
//!   <root>/pods/<uid>/volume-subpaths/<volume>/<container>/<n>
//! ```

pub(crate) mod atomic;
mod claim;
mod hostpath;
mod mount;
pub(crate) mod payload;
mod subpath;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use client::Client;
use tokio::time::Instant;

pub use mount::{Kernel, Mounter};

use crate::error::At;
use crate::pod::env::Lookup;
use crate::pod::expand::expand;
use crate::pod::fields;
use crate::quantity::value;
use crate::{Error, Result};

/// What a volume's files were made from, to see cheaply whether they must be made anew.
#[derive(Debug, Clone, PartialEq, Default)]
struct Source {
    objects: BTreeMap<crate::objects::What, u64>,
    /// Labels and annotations, where the downward API may show them.
    metadata: Option<[Option<BTreeMap<String, String>>; 2]>,
    tokens: BTreeMap<String, String>,
    ips: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Mounted {
    path: PathBuf,
    read_only: bool,
    source: Option<Source>,
    /// A subPath may be made in it.
    writable: bool,
}

pub(crate) struct Volumes {
    /// `<root>/pods/<uid>`
    dir: PathBuf,
    mounter: Arc<dyn Mounter>,
    mounted: BTreeMap<String, Mounted>,
    tokens: token::Tokens,
    memory: bool,
}

/// What volumes are made from.
pub(crate) struct Inputs<'a> {
    pub client: &'a Arc<dyn Client>,
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub facts: &'a fields::Facts,
    pub lookup: &'a (dyn Lookup + Sync),
    pub revisions: &'a BTreeMap<crate::objects::What, u64>,
}

impl Volumes {
    pub fn new(dir: PathBuf, mounter: Arc<dyn Mounter>) -> Volumes {
        Volumes { dir, mounter, mounted: BTreeMap::new(), tokens: token::Tokens::default(), memory: false }
    }

    /// Makes what is missing and renews what has changed. Errors name the first volume that cannot be had.
    pub async fn sync(&mut self, i: &Inputs<'_>) -> Result<()> {
        for v in i.spec.volumes.iter().flatten() {
            if let Err(e) = self.one(v, i).await {
                let text = format!("MountVolume.SetUp failed for volume {:?} : {e}", v.name);
                return Err(Error::Config(text));
            }
        }
        Ok(())
    }

    /// When a token must be renewed.
    pub fn due(&self) -> Option<Instant> {
        self.tokens.due()
    }

    async fn one(&mut self, v: &Volume, i: &Inputs<'_>) -> Result<()> {
        let group = i.spec.security_context.as_ref().and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok());
        if v.config_map.is_some() || v.secret.is_some() || v.downward_api.is_some() || v.projected.is_some() {
            return self.files(v, i, group).await;
        }
        if self.mounted.contains_key(&v.name) {
            return Ok(());
        }
        let mut read_only = false;
        let path = if let Some(h) = &v.host_path {
            hostpath::prepare(&h.path, h.type_.as_deref().unwrap_or(""))?;
            PathBuf::from(&h.path)
        } else if let Some(e) = &v.empty_dir {
            let path = self.place("empty-dir", &v.name);
            let fresh = !path.exists();
            fs::create_dir_all(&path).at(&path)?;
            if e.medium.as_deref() == Some("Memory") && !self.mounter.below(&self.dir)?.contains(&path) {
                let size = e.size_limit.as_ref().and_then(value).filter(|b| *b > 0).unwrap_or(0);
                self.mounter.tmpfs(&path, size as u64)?;
            }
            if fresh {
                atomic::own(&path, None, group)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(open_mode(group))).at(&path)?;
            }
            path
        } else if v.persistent_volume_claim.is_some() || v.ephemeral.is_some() {
            let found = claim::resolve(i.client, i.pod, v).await?;
            read_only = found.read_only;
            if let (Some(group), false) = (group, found.read_only) {
                give_to_group(&found.path, group)?;
            }
            found.path
        } else {
            return Err(Error::config("this kind of volume is not supported"));
        };
        self.mounted.insert(v.name.clone(), Mounted { path, read_only, source: None, writable: !read_only });
        Ok(())
    }

    async fn files(&mut self, v: &Volume, i: &Inputs<'_>, group: Option<u32>) -> Result<()> {
        let mut tokens = BTreeMap::new();
        for s in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(t) = &s.service_account_token {
                tokens.insert(t.path.clone(), self.tokens.get(i.client, i.pod, t).await?);
            }
        }
        let m = &i.pod.metadata;
        let source = Source {
            objects: mentioned(v).iter().filter_map(|w| Some((w.clone(), *i.revisions.get(w)?))).collect(),
            metadata: has_downward(v).then(|| [m.labels.clone(), m.annotations.clone()]),
            ips: if has_downward(v) { i.facts.pod_ips.clone() } else { Vec::new() },
            tokens,
        };
        if self.mounted.get(&v.name).is_some_and(|old| old.source.as_ref() == Some(&source)) {
            return Ok(());
        }
        let inputs =
            payload::Inputs { pod: i.pod, spec: i.spec, facts: i.facts, lookup: i.lookup, tokens: &source.tokens };
        let payload = match payload::of(v, &inputs) {
            Ok(p) => p.unwrap_or_default(),
            // an object that is gone, or half of it, leaves a running pod's files as they are
            Err(_) if self.mounted.contains_key(&v.name) => return Ok(()),
            Err(e) => return Err(e),
        };
        let secret = v.secret.is_some() || v.projected.is_some();
        let path = if secret && self.in_memory() {
            self.dir.join("memory").join(&v.name)
        } else {
            let kind = if v.config_map.is_some() {
                "configmap"
            } else if v.downward_api.is_some() {
                "downward-api"
            } else if v.secret.is_some() {
                "secret"
            } else {
                "projected"
            };
            self.place(kind, &v.name)
        };
        fs::create_dir_all(&path).at(&path)?;
        atomic::own(&path, None, group)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(open_mode(group))).at(&path)?;
        atomic::write(&path, &payload, group)?;
        let mounted = Mounted { path, read_only: true, source: Some(source), writable: false };
        self.mounted.insert(v.name.clone(), mounted);
        Ok(())
    }

    /// Whether the pod's tmpfs is there; where it may not be mounted, files go to the disk.
    fn in_memory(&mut self) -> bool {
        if self.memory {
            return true;
        }
        let at = self.dir.join("memory");
        let mounted = || -> Result<bool> {
            fs::create_dir_all(&at).at(&at)?;
            if !self.mounter.below(&self.dir)?.contains(&at) {
                self.mounter.tmpfs(&at, 0)?;
            }
            Ok(true)
        };
        self.memory = mounted().unwrap_or_else(|error| {
            tracing::warn!(%error, "no tmpfs: secrets of this pod are kept on the disk");
            false
        });
        self.memory
    }

    fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.dir.join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
    }

    /// The mounts of one container. `env` expands subPathExpr.
    pub fn mounts(&self, c: &Container, env: &[(String, String)]) -> Result<Vec<runtime::Mount>> {
        let mut out = Vec::new();
        for (n, m) in c.volume_mounts.iter().flatten().enumerate() {
            let failed = |why: &str| {
                Error::Config(format!(
                    "failed to prepare subPath for volumeMount {:?} of container {:?}{why}",
                    m.name, c.name
                ))
            };
            let Some(v) = self.mounted.get(&m.name) else {
                return Err(Error::config(format!(
                    "cannot find volume {:?} to mount into container {:?}",
                    m.name, c.name
                )));
            };
            let sub = match m.sub_path_expr.as_deref().filter(|s| !s.is_empty()) {
                Some(expr) => {
                    let all = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
                    let text = expand(expr, all);
                    if text.contains("$(") {
                        return Err(Error::config(format!("missing value for {expr:?}")));
                    }
                    text
                }
                None => m.sub_path.clone().unwrap_or_default(),
            };
            let host_path = if sub.is_empty() {
                v.path.clone()
            } else {
                if Path::new(&sub).is_absolute() {
                    return Err(Error::config(format!("error SubPath `{sub}` must not be an absolute path")));
                }
                let target = self.dir.join("volume-subpaths").join(&m.name).join(&c.name).join(n.to_string());
                subpath::prepare(&*self.mounter, &v.path, &sub, &target, v.writable)
                    .map_err(|e| failed(&format!(": {e}")))?;
                target
            };
            out.push(runtime::Mount {
                host_path,
                container_path: absolute(&m.mount_path),
                read_only: v.read_only || m.read_only == Some(true),
                propagation: m.mount_propagation.clone().unwrap_or_else(|| "None".into()),
            });
        }
        Ok(out)
    }

    pub fn is_mounted(&self, spec: &PodSpec) -> bool {
        spec.volumes.iter().flatten().all(|v| self.mounted.contains_key(&v.name))
    }

    /// Unmounts everything and removes the pod's directory.
    pub fn teardown(&mut self) -> Result<()> {
        self.mounted.clear();
        self.memory = false;
        remove_pod_dir(&*self.mounter, &self.dir)
    }
}

/// Nothing is removed while something is still mounted below.
pub(crate) fn remove_pod_dir(mounter: &dyn Mounter, dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for at in mounter.below(dir)? {
        mounter.unmount(&at)?;
    }
    if let Some(left) = mounter.below(dir)?.first() {
        return Err(Error::config(format!("{} is still mounted", left.display())));
    }
    fs::remove_dir_all(dir).at(dir)
}

/// Of a volume's directory: everyone's, and its group's for what is made in it.
fn open_mode(group: Option<u32>) -> u32 {
    if group.is_some() { 0o2777 } else { 0o777 }
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn give_to_group(path: &Path, group: u32) -> Result<()> {
    let meta = fs::symlink_metadata(path).at(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    atomic::own(path, None, Some(group))?;
    let more = if meta.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(meta.permissions().mode() & 0o7777 | more)).at(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).at(path)?.flatten() {
            give_to_group(&entry.path(), group)?;
        }
    }
    Ok(())
}

fn mentioned(v: &Volume) -> BTreeSet<crate::objects::What> {
    let spec = PodSpec { volumes: Some(vec![v.clone()]), ..PodSpec::default() };
    crate::objects::used(&spec)
}

fn has_downward(v: &Volume) -> bool {
    v.downward_api.is_some()
        || v.projected.iter().flat_map(|p| p.sources.iter().flatten()).any(|s| s.downward_api.is_some())
}
