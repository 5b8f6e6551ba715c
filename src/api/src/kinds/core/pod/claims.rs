//! The device claims of a pod, and the containers that name them: `validatePodResourceClaims`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, text};
use crate::names;

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, spec: &Value, of_mirror: bool) {
    let (claims, list) = (items(spec, "resourceClaims"), path.child("resourceClaims"));
    for (i, claim) in claims.iter().enumerate() {
        if of_mirror {
            errors.push(Error::forbidden(&Path::root(""), "static pods do not support resource claims"));
            continue;
        }
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
        let detail = match keys.into_iter().filter(|k| has(claim, k)).count() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        errors.extend(detail.map(|detail| Error::invalid(&path, claim.clone(), detail)));
        for key in keys.into_iter().filter(|k| has(claim, k)) {
            let (value, at) = (text(claim, key), path.child(key));
            errors.extend(names::dns_subdomain(value, false).into_iter().map(|e| Error::invalid(&at, value, e)));
        }
    }
}

/// `validateResourceClaimNames`: a claim is named whole, or by some of its requests.
pub(super) fn named(errors: &mut Vec<Error>, path: &Path, used: &[Value], claims: &[Value]) {
    let mut seen: Vec<String> = Vec::new();
    for (i, claim) in used.iter().enumerate() {
        let (name, request, path) = (text(claim, "name"), text(claim, "request"), path.index(i));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        if seen.iter().any(|s| s == name) {
            errors.push(Error::duplicate(&path, name));
        } else {
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                let at = path.child("request");
                errors.extend(names::dns_label(request, false).into_iter().map(|e| Error::invalid(&at, request, e)));
            }
            let part_of = |s: &String| s.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
            if seen.contains(&key) || request.is_empty() && seen.iter().any(part_of) {
                errors.push(Error::duplicate(&path, key.clone()));
            }
            seen.push(key);
        }
        if !claims.iter().any(|c| text(c, "name") == name) {
            let mut all: Vec<&str> = claims.iter().map(|c| text(c, "name")).filter(|n| !n.is_empty()).collect();
            all.sort_unstable();
            all.dedup();
            let known = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
            let mut error = Error::not_found(&path, name);
            error.message += &format!(": must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(error);
        }
    }
}
