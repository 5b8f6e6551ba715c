//! What goes into configMap, secret, downwardAPI and projected volumes: pure, but for the tokens handed in.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, ProjectedVolumeSource, Secret, Volume,
};

use super::atomic::{File, Payload};
use crate::pod::env::Lookup;
use crate::pod::fields;
use crate::{Error, Result};

pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub facts: &'a fields::Facts,
    pub lookup: &'a dyn Lookup,
    /// Service account tokens of this volume, by path.
    pub tokens: &'a BTreeMap<String, String>,
}

const DEFAULT_MODE: i32 = 0o644;

/// `None`: not a volume of this sort.
pub(crate) fn of(v: &Volume, i: &Inputs<'_>) -> Result<Option<Payload>> {
    let mut out = Payload::new();
    if let Some(c) = &v.config_map {
        let mode = c.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(&c.name, c.items.as_deref(), c.optional == Some(true), mode, i, &mut out)?;
    } else if let Some(s) = &v.secret {
        let mode = s.default_mode.unwrap_or(DEFAULT_MODE);
        let name = s.secret_name.as_deref().unwrap_or("");
        secret(name, s.items.as_deref(), s.optional == Some(true), mode, i, &mut out)?;
    } else if let Some(d) = &v.downward_api {
        downward(d.items.as_deref().unwrap_or_default(), d.default_mode.unwrap_or(DEFAULT_MODE), i, &mut out)?;
    } else if let Some(p) = &v.projected {
        projected(p, i, &mut out)?;
    } else {
        return Ok(None);
    }
    if i.spec.security_context.as_ref().is_some_and(|s| s.fs_group.is_some()) {
        // the group may read what the owner may
        for f in out.values_mut() {
            f.mode |= 0o440;
        }
    }
    Ok(Some(out))
}

fn projected(p: &ProjectedVolumeSource, i: &Inputs<'_>, out: &mut Payload) -> Result<()> {
    let mode = p.default_mode.unwrap_or(DEFAULT_MODE);
    for s in p.sources.iter().flatten() {
        if let Some(c) = &s.config_map {
            config_map(&c.name, c.items.as_deref(), c.optional == Some(true), mode, i, out)?;
        }
        if let Some(c) = &s.secret {
            secret(&c.name, c.items.as_deref(), c.optional == Some(true), mode, i, out)?;
        }
        if let Some(d) = &s.downward_api {
            downward(d.items.as_deref().unwrap_or_default(), mode, i, out)?;
        }
        if let Some(t) = &s.service_account_token {
            let token = i.tokens.get(&t.path).ok_or_else(|| Error::config("the token is not there yet"))?;
            let (mode, uid) = token_owner(i.spec, mode);
            out.insert(t.path.clone(), File { data: token.clone().into_bytes(), mode, uid });
        }
        if s.cluster_trust_bundle.is_some() || s.pod_certificate.is_some() {
            return Err(Error::config("this kind of projection is not supported"));
        }
    }
    Ok(())
}

/// Upstream: 0600 and the user's own where all containers run as one user, or under an fsGroup.
fn token_owner(spec: &PodSpec, mode: i32) -> (u32, Option<u32>) {
    let pods = spec.security_context.as_ref();
    if pods.is_some_and(|s| s.fs_group.is_some()) {
        return (0o600, None);
    }
    let of = |c: &api::k8s_openapi::api::core::v1::Container| {
        c.security_context.as_ref().and_then(|s| s.run_as_user).or(pods.and_then(|s| s.run_as_user))
    };
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(of);
    let first = users.next().flatten();
    match first.and_then(|u| u32::try_from(u).ok()) {
        Some(uid) if users.all(|u| u == first) => (0o600, Some(uid)),
        _ => (mode as u32, None),
    }
}

fn put(out: &mut Payload, path: &str, data: Vec<u8>, mode: i32) {
    out.insert(path.to_owned(), File { data, mode: mode as u32 & 0o777, uid: None });
}

/// Fills in the chosen keys, or all. `kind` and `name` are for the error.
fn select(
    data: BTreeMap<&str, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
    what: &str,
    out: &mut Payload,
) -> Result<()> {
    match items.filter(|i| !i.is_empty()) {
        None => data.into_iter().for_each(|(k, v)| put(out, k, v, mode)),
        Some(items) => {
            for item in items {
                match data.get(item.key.as_str()) {
                    Some(v) => put(out, &item.path, v.clone(), item.mode.unwrap_or(mode)),
                    None if optional => {}
                    None => return Err(Error::config(format!("references non-existent {what} key: {}", item.key))),
                }
            }
        }
    }
    Ok(())
}

fn config_map(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
    i: &Inputs<'_>,
    out: &mut Payload,
) -> Result<()> {
    let Some(object) = i.lookup.config_map(name) else {
        return if optional { Ok(()) } else { Err(Error::config(format!("configmap {name:?} not found"))) };
    };
    let map = object.view::<ConfigMap>()?;
    let text = map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.clone()));
    select(text.chain(binary).collect(), items, optional, mode, "config", out)
}

fn secret(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
    i: &Inputs<'_>,
    out: &mut Payload,
) -> Result<()> {
    let Some(object) = i.lookup.secret(name) else {
        return if optional { Ok(()) } else { Err(Error::config(format!("secret {name:?} not found"))) };
    };
    let data = object.view::<Secret>()?.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.clone())).collect();
    select(data, items, optional, mode, "secret", out)
}

fn downward(items: &[DownwardAPIVolumeFile], mode: i32, i: &Inputs<'_>, out: &mut Payload) -> Result<()> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(f), _) => fields::field(i.pod, i.facts, &f.field_path)?,
            (None, Some(r)) => fields::resource(i.spec, i.facts, "", r)?,
            (None, None) => continue,
        };
        put(out, &item.path, text.into_bytes(), item.mode.unwrap_or(mode));
    }
    Ok(())
}
