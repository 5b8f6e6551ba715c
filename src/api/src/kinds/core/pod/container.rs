//! `ValidateContainers`, init and ephemeral ones too.

use serde_json::Value;

use super::validation::{check, id};
use super::{env, probe, volumes};
use crate::field::{Error, Path};
use crate::kinds::net::{self, PROTOCOLS};
use crate::kinds::resources;
use crate::kinds::tree::{has, items, number, text};
use crate::names;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Main,
    Init,
    Ephemeral,
}

/// Containers and init containers of a pod's spec.
pub(super) fn validate_all(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let mains = path.child("containers");
    if items(spec, "containers").is_empty() {
        errors.push(Error::required(&mains, ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (list, role) in [("containers", Role::Main), ("initContainers", Role::Init)] {
        let path = path.child(list);
        for (i, c) in items(spec, list).iter().enumerate() {
            let path = &path.index(i);
            validate(errors, path, c, role, spec);
            let name = text(c, "name");
            if !name.is_empty() && seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            seen.push(name);
        }
    }
    host_ports(errors, &mains, spec);
}

/// `validateEphemeralContainers`
pub(super) fn validate_ephemeral(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let names = |list: &str| items(spec, list).iter().map(|c| text(c, "name")).collect::<Vec<_>>();
    let mut seen = names("containers");
    seen.extend(names("initContainers"));
    for (i, c) in items(spec, "ephemeralContainers").iter().enumerate() {
        let path = &path.index(i);
        validate(errors, path, c, Role::Ephemeral, spec);
        let own =
            ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy"];
        for key in own {
            let is_set =
                !items(c, key).is_empty() || c[key].as_object().is_some_and(|o| key != "resources" || !o.is_empty());
            if is_set {
                errors.push(Error::forbidden(&path.child(key), "cannot be set for an Ephemeral Container"));
            }
        }
        let mounts = path.child("volumeMounts");
        for (j, mount) in items(c, "volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"].into_iter().filter(|k| !text(mount, k).is_empty()) {
                let detail = "cannot be set for an Ephemeral Container";
                errors.push(Error::forbidden(&mounts.index(j).child(key), detail));
            }
        }
        let name = text(c, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        let target = text(c, "targetContainerName");
        if !target.is_empty() && !names("containers").contains(&target) && !names("initContainers").contains(&target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
    }
}

fn validate(errors: &mut Vec<Error>, path: &Path, c: &Value, role: Role, spec: &Value) {
    let name = text(c, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        check(errors, &path.child("name"), name, names::dns_label(name, false));
    }
    let image = text(c, "image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    supported(errors, path, c, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
    supported(errors, path, c, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    ports(errors, &path.child("ports"), items(c, "ports"));
    env::validate(errors, path, c);
    mounts(errors, path, c, spec);
    let sidecar = role == Role::Init && text(c, "restartPolicy") == "Always";
    let (restart, at) = (text(c, "restartPolicy"), path.child("restartPolicy"));
    let policies = &["Always", "Never", "OnFailure"];
    if role == Role::Ephemeral && !restart.is_empty() {
        errors.push(Error::forbidden(&at, "may not be set for non-init containers"));
    } else if !restart.is_empty() && !policies.contains(&restart) {
        errors.push(Error::not_supported(&at, restart, policies));
    }
    if role == Role::Init && !sidecar {
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if has(c, key) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(Error::forbidden(&path.child(key), detail));
            }
        }
    } else {
        let grace = number(spec, "terminationGracePeriodSeconds");
        probe::validate_all(errors, path, c, grace);
    }
    resources::validate(errors, &path.child("resources"), &c["resources"], resources::Of::Container);
    resize_policy(errors, &path.child("resizePolicy"), items(c, "resizePolicy"), text(spec, "restartPolicy"));
    security_context(errors, &path.child("securityContext"), &c["securityContext"]);
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
        if restart == "Never" && how == "RestartContainer" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
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
            check(errors, &path.child("name"), name, names::port_name(name));
            if ports[..i].iter().any(|p| text(p, "name") == name) {
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

/// `checkHostPortConflicts`, and that a host's own network takes host ports as they are.
fn host_ports(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let mut taken: Vec<(i64, &str, &str)> = Vec::new();
    for (i, c) in items(spec, "containers").iter().enumerate() {
        let at = path.index(i);
        let at = at.child("ports");
        for (j, port) in items(c, "ports").iter().enumerate() {
            let host_port = number(port, "hostPort");
            if host_port == 0 {
                continue;
            }
            if spec["hostNetwork"] == true && host_port != number(port, "containerPort") {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at.index(j).child("hostPort"), host_port, detail));
            }
            let key = (host_port, text(port, "protocol"), text(port, "hostIP"));
            if taken.contains(&key) {
                let shown = format!("{}/{}/{}", key.1, key.2, key.0);
                errors.push(Error::duplicate(&at.index(j).child("hostPort"), shown));
            }
            taken.push(key);
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
        read_only(errors, &list.child("recursiveReadOnly"), mount);
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
    }
    let list = path.child("volumeDevices");
    for (i, device) in items(c, "volumeDevices").iter().enumerate() {
        let path = &list.index(i);
        if text(device, "name").is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !known(text(device, "name")) {
            errors.push(Error::not_found(&path.child("name"), text(device, "name")));
        }
        let at = text(device, "devicePath");
        if at.is_empty() {
            errors.push(Error::required(&path.child("devicePath"), ""));
        } else {
            if at.split('/').any(|part| part == "..") {
                let detail = "can not contain backsteps ('..')";
                errors.push(Error::invalid(&path.child("devicePath"), at, detail));
            }
        }
        let before = &items(c, "volumeDevices")[..i];
        if before.iter().any(|d| text(d, "name") == text(device, "name")) {
            errors.push(Error::invalid(&path.child("name"), text(device, "name"), "must be unique"));
        }
        if before.iter().any(|d| text(d, "devicePath") == at) {
            errors.push(Error::invalid(&path.child("devicePath"), at, "must be unique"));
        }
        if all.iter().any(|m| text(m, "name") == text(device, "name")) {
            let detail = "must not already exist in volumeMounts";
            errors.push(Error::invalid(&path.child("name"), text(device, "name"), detail));
        }
        if all.iter().any(|m| text(m, "mountPath") == at) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(Error::invalid(&path.child("devicePath"), at, detail));
        }
        let volume = volumes_known.iter().find(|v| text(v, "name") == text(device, "name"));
        if volume.is_some_and(|v| !has(v, "persistentVolumeClaim") && !has(v, "ephemeral")) {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(Error::invalid(&path.child("name"), text(device, "name"), detail));
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

/// `ValidateSecurityContext`
fn security_context(errors: &mut Vec<Error>, path: &Path, context: &Value) {
    for key in ["runAsUser", "runAsGroup"] {
        id(errors, &path.child(key), context, key);
    }
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
    profile(errors, &path.child("seccompProfile"), &context["seccompProfile"], "seccomp");
    profile(errors, &path.child("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
    let mount = text(context, "procMount");
    if !mount.is_empty() && !matches!(mount, "Default" | "Unmasked") {
        errors.push(Error::not_supported(&path.child("procMount"), mount, &["Default", "Unmasked"]));
    }
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
        ("Localhost", true) if file.trim().is_empty() => {
            errors.push(Error::required(&local, &format!("must be set when {what} type is Localhost")));
        }
        ("Localhost", true) if file.trim() != file => {
            errors.push(Error::invalid(&local, file, "must not be padded with whitespace"));
        }
        ("Localhost", true) if file.len() > 4095 => errors.push(Error::too_long(&local, 4095)),
        ("Localhost", true) => {}
        (_, true) => {
            let detail = format!("can only be set when {what} type is Localhost");
            errors.push(Error::invalid(&local, profile["localhostProfile"].clone(), detail));
        }
        _ => {}
    }
}
