//! Claims: the persistent volume behind a PersistentVolumeClaim, where it is a path of this node (hostPath, local).

use std::path::PathBuf;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use client::{Api, Client};

use super::hostpath;
use crate::{Error, Result};

pub(crate) struct Claimed {
    pub path: PathBuf,
    pub read_only: bool,
}

pub(crate) async fn resolve(client: &Arc<dyn Client>, pod: &Pod, v: &Volume) -> Result<Claimed> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let (name, read_only) = match &v.persistent_volume_claim {
        Some(c) => (c.claim_name.clone(), c.read_only == Some(true)),
        // a generic ephemeral volume has a claim of its own
        None => (format!("{}-{}", pod.metadata.name.as_deref().unwrap_or(""), v.name), false),
    };
    let claim = Api::<PersistentVolumeClaim>::new(client.clone()).get(namespace, &name).await?;
    let claim = claim.view::<PersistentVolumeClaim>()?;
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|n| !n.is_empty() && bound);
    let volume = volume.ok_or_else(|| Error::config(format!("persistentvolumeclaim {name:?} is not bound")))?;
    let volume = Api::<PersistentVolume>::new(client.clone()).get("", &volume).await?;
    let volume = volume.view::<PersistentVolume>()?;
    let spec = volume.spec.as_ref().ok_or_else(|| Error::config("the persistent volume has no spec"))?;
    let claimed = spec.claim_ref.as_ref().and_then(|r| r.uid.as_ref());
    if claimed.is_some() && claimed != claim.metadata.uid.as_ref() {
        return Err(Error::config(format!("the persistent volume is bound to another claim than {name:?}")));
    }
    let path = if let Some(h) = &spec.host_path {
        hostpath::prepare(&h.path, h.type_.as_deref().unwrap_or(""))?;
        &h.path
    } else if let Some(l) = &spec.local {
        if !std::path::Path::new(&l.path).exists() {
            return Err(Error::config(format!("path {:?} does not exist", l.path)));
        }
        &l.path
    } else {
        return Err(Error::config("only hostPath and local persistent volumes are supported"));
    };
    Ok(Claimed { path: path.into(), read_only })
}
