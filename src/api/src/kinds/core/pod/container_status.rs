//! What a pod's status says of its containers: their users, and the health of the devices that they have.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{entries, has, items, number, some, text};

/// `ResourceHealthMessageMaxLength`
const LONGEST_MESSAGE: usize = 1024;

const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, status: &Value, spec: &Value) {
    for (list, _) in LISTS {
        let path = path.child(list);
        for (i, c) in items(status, list).iter().enumerate().filter(|(_, c)| has(&c["user"], "linux")) {
            let at = path.index(i);
            let at = at.child("user");
            user(errors, &at.child("linux"), &c["user"]["linux"], text(&spec["os"], "name"));
        }
    }
    for (list, containers) in LISTS {
        let path = path.child(list);
        for (i, c) in items(status, list).iter().enumerate() {
            let at = path.index(i);
            let (all, at) = (items(c, "allocatedResourcesStatus"), at.child("allocatedResourcesStatus"));
            if containers == "ephemeralContainers" {
                if !all.is_empty() {
                    errors.push(Error::forbidden(&at, "must not be specified in container status"));
                }
                continue;
            }
            let container = items(spec, containers).iter().find(|o| o["name"] == c["name"]);
            for (j, resource) in all.iter().enumerate() {
                allocated(errors, &at.index(j), resource, container);
            }
        }
    }
}

/// `validateContainerStatusUsers`
fn user(errors: &mut Vec<Error>, path: &Path, user: &Value, os: &str) {
    if os == "windows" {
        return errors.push(Error::forbidden(path, "cannot be set for a windows pod"));
    }
    let mut id = |path: &Path, n: i64| {
        if !(0..=i64::from(i32::MAX)).contains(&n) {
            errors.push(Error::invalid(path, n, "must be between 0 and 2147483647, inclusive"));
        }
    };
    for key in ["uid", "gid"] {
        id(&path.child(key), number(user, key));
    }
    let groups = path.child("supplementalGroups");
    for (i, n) in items(user, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        id(&groups.index(i), n);
    }
}

/// `validateContainerStatusAllocatedResourcesStatus`
fn allocated(errors: &mut Vec<Error>, path: &Path, of: &Value, container: Option<&Value>) {
    let name = text(of, "name");
    if let Some(container) = container {
        let claim = |c: &Value| match (text(c, "name"), text(c, "request")) {
            (claim, "") => format!("claim:{claim}"),
            (claim, request) => format!("claim:{claim}/{request}"),
        };
        let (found, detail) = if name.starts_with("claim:") {
            let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
            (items(&container["resources"], "claims").iter().any(|c| claim(c) == name), detail)
        } else {
            let detail = "must match one of the container's resource requests";
            (entries(&container["resources"], "requests").any(|(r, _)| r == name), detail)
        };
        if !found {
            errors.push(Error::invalid(&path.child("name"), name, detail));
        }
    }
    let (all, list) = (items(of, "resources"), path.child("resources"));
    for (i, resource) in all.iter().enumerate() {
        let (at, health) = (list.index(i), text(resource, "health"));
        if !matches!(health, "Healthy" | "Unhealthy" | "Unknown") {
            let known = &["Healthy", "Unhealthy", "Unknown"];
            errors.push(Error::not_supported(&at.child("health"), health, known));
        }
        if let Some(message) = some(resource, "message").and_then(Value::as_str) {
            let at = at.child("message");
            if message.is_empty() {
                errors.push(Error::required(&at, "must be non-empty if specified"));
            } else if message.len() > LONGEST_MESSAGE {
                errors.push(Error::too_long(&at, LONGEST_MESSAGE));
            }
        }
        if all[..i].iter().any(|r| r["resourceID"] == resource["resourceID"]) {
            errors.push(Error::duplicate(&at.child("resourceID"), text(resource, "resourceID")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_and_devices_are_checked() {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"x.io/gpu": "1"}, "claims": [{"name": "a", "request": "r"}]}}]});
        for (status, want) in [
            (
                json!({"user": {"linux": {"uid": 1, "gid": 2}}, "allocatedResourcesStatus": [
                {"name": "x.io/gpu", "resources": [{"resourceID": "a", "health": "Healthy"}]}, {"name": "claim:a/r"}]}),
                "",
            ),
            (
                json!({"user": {"linux": {"uid": -1, "supplementalGroups": [-2]}}}),
                "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive; \
                 status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
            ),
            (
                json!({"allocatedResourcesStatus": [{"name": "y.io/z", "resources": [
                    {"resourceID": "a", "health": "Fine"}, {"resourceID": "a", "health": "Unknown", "message": ""}]}]}),
                "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"y.io/z\": must match one of the container's resource requests; \
                 status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Fine\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"; \
                 status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].message: Required value: must be non-empty if specified; \
                 status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"a\"",
            ),
        ] {
            let mut status = status;
            status["name"] = json!("c");
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("status"), &json!({"containerStatuses": [status]}), &spec);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
    }
}
