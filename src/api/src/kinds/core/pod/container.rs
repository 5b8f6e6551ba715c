//! `ValidateContainers`, init and ephemeral ones too.

use serde_json::Value;

use super::validation::{check, id};
use super::{claims, env, probe, restart, volumes};
use crate::field::{Error, Path};
use crate::kinds::net::{self, PROTOCOLS};
use crate::kinds::resources;
use crate::kinds::tree::{has, items, number, text};
use crate::names;

/// Containers, init containers and ephemeral ones of a pod's spec.
pub(super) fn validate_all(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let grace = number(spec, "terminationGracePeriodSeconds");
    let mains = path.child("containers");
    if items(spec, "containers").is_empty() {
        errors.push(Error::required(&mains, ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, c) in items(spec, "containers").iter().enumerate() {
        let path = &mains.index(i);
        common(errors, path, c, spec);
        let name = text(c, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        probe::validate_all(errors, path, c, grace);
        restart::validate(errors, path, c);
    }
    host_ports(errors, &mains, items(spec, "containers"));
    let inits = path.child("initContainers");
    for (i, c) in items(spec, "initContainers").iter().enumerate() {
        let path = &inits.index(i);
        common(errors, path, c, spec);
        restart::validate(errors, path, c);
        let name = text(c, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else if !name.is_empty() {
            seen.push(name);
        }
        // they run one by one; upstream's path is that of a list of this one
        host_ports(errors, &inits, std::slice::from_ref(c));
        let sidecar = text(c, "restartPolicy") == "Always";
        if sidecar {
            probe::validate_all(errors, path, c, grace);
            continue;
        }
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|k| has(c, k)) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(key), detail));
        }
        let policies = path.child("resizePolicy");
        for (j, policy) in items(c, "resizePolicy").iter().enumerate() {
            if text(policy, "restartPolicy") == "RestartContainer" {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                let at = policies.index(j);
                errors.push(Error::invalid(&at.child("restartPolicy"), "RestartContainer", detail));
            }
        }
    }
    validate_ephemeral(errors, &path.child("ephemeralContainers"), spec);
}

/// `validateEphemeralContainers`
pub(super) fn validate_ephemeral(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    const NOT_THERE: &str = "cannot be set for an Ephemeral Container";
    let names = |list: &str| items(spec, list).iter().map(|c| text(c, "name")).collect::<Vec<_>>();
    let mut others = names("containers");
    others.extend(names("initContainers"));
    let mut seen = others.clone();
    for (i, c) in items(spec, "ephemeralContainers").iter().enumerate() {
        let path = &path.index(i);
        common(errors, path, c, spec);
        trimmed_image(errors, path, c);
        let name = text(c, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        let target = text(c, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        for key in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            let is_set = match &c[key] {
                Value::Object(o) => key != "resources" || !o.is_empty(),
                Value::Array(all) => !all.is_empty(),
                other => !other.is_null(),
            };
            if is_set {
                errors.push(Error::forbidden(&path.child(key), NOT_THERE));
            }
        }
        let mounts = path.child("volumeMounts");
        for (j, mount) in items(c, "volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"].into_iter().filter(|k| !text(mount, k).is_empty()) {
                errors.push(Error::forbidden(&mounts.index(j).child(key), NOT_THERE));
            }
        }
    }
}

/// `validateContainerOnlyForPod`
pub(super) fn trimmed_image(errors: &mut Vec<Error>, path: &Path, c: &Value) {
    let image = text(c, "image");
    if image.trim() != image {
        errors.push(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
}

/// `validateContainerCommon`
fn common(errors: &mut Vec<Error>, path: &Path, c: &Value, spec: &Value) {
    let name = text(c, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        check(errors, &path.child("name"), name, names::dns_label(name, false));
    }
    if text(c, "image").is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    supported(errors, path, c, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
    ports(errors, &path.child("ports"), items(c, "ports"));
    env::validate(errors, path, c);
    mounts(errors, path, c, spec);
    supported(errors, path, c, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    let resources = path.child("resources");
    resources::validate(errors, &resources, &c["resources"], resources::Of::Container);
    claims::named(errors, &resources.child("claims"), items(&c["resources"], "claims"), items(spec, "resourceClaims"));
    resize_policy(errors, &path.child("resizePolicy"), items(c, "resizePolicy"), text(spec, "restartPolicy"));
    let own_users = spec["hostUsers"] == false;
    security_context(errors, &path.child("securityContext"), &c["securityContext"], own_users);
}

/// `validateResizePolicy`; its paths are the list's, as upstream's.
fn resize_policy(errors: &mut Vec<Error>, path: &Path, policies: &[Value], restart: &str) {
    for (i, policy) in policies.iter().enumerate() {
        let (resource, how) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        let resources = &["cpu", "memory"];
        if policies[..i].iter().any(|p| text(p, "resourceName") == resource) {
            errors.push(Error::duplicate(&path.index(i), resource));
        }
        if resource.is_empty() {
            errors.push(Error::required(path, ""));
        } else if !resources.contains(&resource) {
            errors.push(Error::not_supported(path, resource, resources));
        }
        let ways = &["NotRequired", "RestartContainer"];
        if how.is_empty() {
            errors.push(Error::required(path, ""));
        } else if !ways.contains(&how) {
            errors.push(Error::not_supported(path, how, ways));
        }
        if restart == "Never" && how != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, how, detail));
        }
    }
}

/// A field that must be one of few values.
fn supported(errors: &mut Vec<Error>, path: &Path, c: &Value, key: &str, values: &[&str]) {
    let value = text(c, key);
    if value.is_empty() {
        errors.push(Error::required(&path.child(key), ""));
    } else if !values.contains(&value) {
        errors.push(Error::not_supported(&path.child(key), value, values));
    }
}

fn ports(errors: &mut Vec<Error>, path: &Path, ports: &[Value]) {
    for (i, port) in ports.iter().enumerate() {
        let path = &path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            let good = wrong.is_empty();
            check(errors, &path.child("name"), name, wrong);
            if good && ports[..i].iter().any(|p| text(p, "name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        match number(port, "containerPort") {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            n => net::port_number(errors, &path.child("containerPort"), n),
        }
        match number(port, "hostPort") {
            0 => {}
            n => net::port_number(errors, &path.child("hostPort"), n),
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.push(Error::required(&path.child("protocol"), ""));
        } else if !PROTOCOLS.contains(&protocol) {
            errors.push(Error::not_supported(&path.child("protocol"), protocol, PROTOCOLS));
        }
    }
}

/// `checkHostPortConflicts`
fn host_ports(errors: &mut Vec<Error>, path: &Path, containers: &[Value]) {
    let mut taken: Vec<(i64, &str, &str)> = Vec::new();
    for (i, c) in containers.iter().enumerate() {
        let at = path.index(i);
        let at = at.child("ports");
        for (j, port) in items(c, "ports").iter().enumerate() {
            let key = (number(port, "hostPort"), text(port, "protocol"), text(port, "hostIP"));
            if key.0 != 0 && taken.contains(&key) {
                let shown = format!("{}/{}/{}", key.1, key.2, key.0);
                errors.push(Error::duplicate(&at.index(j).child("hostPort"), shown));
            }
            taken.push(key);
        }
    }
}

/// `validatePodHostNetworkDeps`: the host's own network takes ports as they are.
pub(super) fn host_network_ports(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let list = path.child("containers");
    for (i, c) in items(spec, "containers").iter().enumerate().filter(|_| spec["hostNetwork"] == true) {
        let at = list.index(i);
        let at = at.child("ports");
        for (j, port) in items(c, "ports").iter().enumerate() {
            let host_port = number(port, "hostPort");
            if host_port != 0 && host_port != number(port, "containerPort") {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at.index(j).child("hostPort"), host_port, detail));
            }
        }
    }
}

/// `ValidateVolumeMounts` and `ValidateVolumeDevices`
fn mounts(errors: &mut Vec<Error>, path: &Path, c: &Value, spec: &Value) {
    let volumes_known = items(spec, "volumes");
    let known = |name: &str| volumes_known.iter().any(|v| text(v, "name") == name);
    let list = path.child("volumeMounts");
    let all = items(c, "volumeMounts");
    for (i, mount) in all.iter().enumerate() {
        let path = &list.index(i);
        let (name, at) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !known(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        if at.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if all[..i].iter().any(|m| text(m, "mountPath") == at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        let devices = items(c, "volumeDevices");
        if devices.iter().any(|d| text(d, "name") == name) {
            errors.push(Error::invalid(&path.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| text(d, "devicePath") == at) {
            errors.push(Error::invalid(
                &path.child("mountPath"),
                at,
                "must not already exist as a path in volumeDevices",
            ));
        }
        let (sub, expr) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub.is_empty() {
            volumes::local_descending(errors, &list.child("subPath"), sub);
        }
        if !expr.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&path.child("subPathExpr"), expr, detail));
            }
            volumes::local_descending(errors, &list.child("subPathExpr"), expr);
        }
        let propagation = text(mount, "mountPropagation");
        let values = &["Bidirectional", "HostToContainer", "None"];
        if !propagation.is_empty() && !values.contains(&propagation) {
            errors.push(Error::not_supported(&list.child("mountPropagation"), propagation, values));
        }
        if propagation == "Bidirectional" && c["securityContext"]["privileged"] != true {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&list.child("mountPropagation"), detail));
        }
        read_only(errors, &list.child("recursiveReadOnly"), mount);
    }
    let list = path.child("volumeDevices");
    for (i, device) in items(c, "volumeDevices").iter().enumerate() {
        let path = &list.index(i);
        let before = &items(c, "volumeDevices")[..i];
        let (name, at_name) = (text(device, "name"), path.child("name"));
        let (to, at) = (text(device, "devicePath"), path.child("devicePath"));
        let volume = volumes_known.iter().find(|v| text(v, "name") == name);
        if name.is_empty() {
            errors.push(Error::required(&at_name, ""));
        } else if before.iter().any(|d| text(d, "name") == name) {
            errors.push(Error::invalid(&at_name, name, "must be unique"));
        }
        match volume {
            None => errors.push(Error::not_found(&at_name, name)),
            Some(v) if !has(v, "persistentVolumeClaim") && !has(v, "ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&at_name, name, detail));
            }
            Some(_) => {}
        }
        if to.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        if before.iter().any(|d| text(d, "devicePath") == to) {
            errors.push(Error::invalid(&at, to, "must be unique"));
        }
        if to.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&at, to, "can not contain backsteps ('..')"));
        }
        if all.iter().any(|m| text(m, "name") == name) {
            errors.push(Error::invalid(&at_name, name, "must not already exist in volumeMounts"));
        }
        if all.iter().any(|m| text(m, "mountPath") == to) {
            errors.push(Error::invalid(&at, to, "must not already exist as a path in volumeMounts"));
        }
    }
}

/// `validateMountRecursiveReadOnly`
fn read_only(errors: &mut Vec<Error>, path: &Path, mount: &Value) {
    let mode = text(mount, "recursiveReadOnly");
    match mode {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if mount["readOnly"] != true {
                let detail = format!("may only be specified when readOnly is true (RecursiveReadOnly mode: {mode})");
                errors.push(Error::forbidden(path, &detail));
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, detail));
            }
        }
        other => {
            errors.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
}

/// `ValidateSecurityContext`; `own_users`: of a pod with a user namespace of its own.
fn security_context(errors: &mut Vec<Error>, path: &Path, context: &Value, own_users: bool) {
    for key in ["runAsUser", "runAsGroup"] {
        id(errors, &path.child(key), context, key);
    }
    let (mount, at) = (text(context, "procMount"), path.child("procMount"));
    if !mount.is_empty() && !matches!(mount, "Default" | "Unmasked") {
        errors.push(Error::not_supported(&at, mount, &["Default", "Unmasked"]));
    }
    if mount == "Unmasked" && !own_users {
        errors.push(Error::invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`"));
    }
    profile(errors, &path.child("seccompProfile"), &context["seccompProfile"], "seccomp");
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
        if items(&context["capabilities"], "add").iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
    }
    profile(errors, &path.child("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
}

/// `validateSeccompProfileField`, and `ValidateAppArmorProfileField`; `what`: `seccomp` or `AppArmor`.
pub(super) fn profile(errors: &mut Vec<Error>, path: &Path, profile: &Value, what: &str) {
    if profile.is_null() {
        return;
    }
    let (kind, local) = (text(profile, "type"), path.child("localhostProfile"));
    let kinds = &["Localhost", "RuntimeDefault", "Unconfined"];
    if kind.is_empty() {
        let field = if what == "seccomp" { "seccompProfile" } else { "appArmorProfile" };
        errors.push(Error::required(&path.child("type"), &format!("type is required when {field} is set")));
    } else if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, kinds));
    }
    let file = text(profile, "localhostProfile");
    match (kind, has(profile, "localhostProfile")) {
        ("Localhost", false) => {
            errors.push(Error::required(&local, &format!("must be set when {what} type is Localhost")));
        }
        ("Localhost", true) if what == "seccomp" => volumes::local_descending(errors, &local, file),
        ("Localhost", true) => {
            if file.trim() != file {
                errors.push(Error::invalid(&local, file, "must not be padded with whitespace"));
            } else if file.is_empty() {
                errors.push(Error::required(&local, &format!("must be set when {what} type is Localhost")));
            }
            if file.len() > 4095 {
                errors.push(Error::too_long(&local, 4095));
            }
        }
        (_, true) if what == "seccomp" => {
            errors.push(Error::invalid(&local, profile.clone(), "can only be set when seccomp type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", true) => {
            errors.push(Error::invalid(&local, file, "can only be set when AppArmor type is Localhost"));
        }
        _ => {}
    }
}
