//! The device claims of a pod, and the containers that name them: `validatePodResourceClaims`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, text};
use crate::names;

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let (claims, list) = (items(spec, "resourceClaims"), path.child("resourceClaims"));
    for (i, claim) in claims.iter().enumerate() {
        let path = list.index(i);
        let (name, at) = (text(claim, "name"), path.child("name"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if claims[..i].iter().any(|c| text(c, "name") == name) {
            errors.push(Error::duplicate(&at, name));
        } else {
            errors.extend(names::dns_label(name, false).into_iter().map(|e| Error::invalid(&at, name, e)));
        }
        let keys = ["resourceClaimName", "resourceClaimTemplateName"];
        for key in keys.into_iter().filter(|k| has(claim, k)) {
            let (value, at) = (text(claim, key), path.child(key));
            errors.extend(names::dns_subdomain(value, false).into_iter().map(|e| Error::invalid(&at, value, e)));
        }
        let detail = match keys.into_iter().filter(|k| has(claim, k)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => continue,
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        errors.push(Error::invalid(&path, claim.clone(), detail));
    }
    for containers in ["containers", "initContainers"] {
        let list = path.child(containers);
        for (i, c) in items(spec, containers).iter().enumerate() {
            let path = list.index(i);
            let path = path.child("resources");
            named(errors, &path.child("claims"), items(&c["resources"], "claims"), claims);
        }
    }
}

/// `validateResourceClaimNames`
fn named(errors: &mut Vec<Error>, path: &Path, used: &[Value], claims: &[Value]) {
    for (i, claim) in used.iter().enumerate() {
        let (name, path) = (text(claim, "name"), path.index(i));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if used[..i].contains(claim) {
            errors.push(Error::duplicate(&path, name));
        } else if !claims.iter().any(|c| text(c, "name") == name) {
            let all: Vec<&str> = claims.iter().map(|c| text(c, "name")).collect();
            let known = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
            let mut error = Error::not_found(&path, name);
            error.message += &format!(": must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(error);
        }
    }
}
