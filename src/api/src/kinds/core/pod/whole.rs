//! What holds among a pod's fields: the host's namespaces, the operating system, gates, names, overhead.

use serde_json::Value;

use super::{claims, container};
use crate::field::{Error, Path};
use crate::kinds::resources;
use crate::kinds::tree::{entries, flag, has, items, some, text};
use crate::names;
use crate::quantity::Quantity;

/// `validateHostUsers`: a pod in a user namespace of its own shares none of the host's.
pub(super) fn host_users(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec["hostUsers"] != false {
        return;
    }
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, key) {
            errors.push(Error::forbidden(&path.child(shown), DETAIL));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let all = path.child(list);
        for (i, _) in items(spec, list).iter().enumerate().filter(|(_, c)| !items(c, "volumeDevices").is_empty()) {
            errors.push(Error::forbidden(&all.index(i).child("volumeDevices"), DETAIL));
        }
    }
}

/// `validatePodHostName`
pub(super) fn host_name(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let Some(name) = some(spec, "hostnameOverride").and_then(Value::as_str) else { return };
    let at = path.child("hostnameOverride");
    if flag(spec, "setHostnameAsFQDN") {
        errors.push(Error::forbidden(&at, "may not be specified when setHostnameAsFQDN is true"));
    }
    if flag(spec, "hostNetwork") {
        errors.push(Error::forbidden(&at, "may not be specified when hostNetwork is true"));
    }
    if name.len() > 64 {
        errors.push(Error::too_long(&at, 64));
    }
    errors.extend(names::dns_subdomain(name, false).into_iter().map(|e| Error::invalid(&at, name, e)));
}

/// `validateOverhead`
pub(super) fn overhead(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let overhead = path.child("overhead");
    for (name, amount) in entries(spec, "overhead") {
        if !Quantity::from_tree(amount).is_ok_and(|q| q.sign() >= 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&overhead.key(name), amount.clone(), detail));
        }
    }
}

/// `validateFileKeyRefVolumes`: variables are read from files of empty directories.
pub(super) fn files_of_env(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let all = path.child(list);
        for (i, c) in items(spec, list).iter().enumerate() {
            let at = all.index(i);
            let at = at.child("env");
            for (j, env) in items(c, "env").iter().enumerate() {
                let Some(key) = some(&env["valueFrom"], "fileKeyRef") else { continue };
                let (name, at) = (text(key, "volumeName"), at.index(j));
                let (from, volume) =
                    (at.child("valueFrom"), items(spec, "volumes").iter().find(|v| text(v, "name") == name));
                let file = from.child("fileKeyRef");
                let at = file.child("volumeName");
                match volume {
                    None => errors.push(Error::not_found(&at, name)),
                    Some(v) if !has(v, "emptyDir") => {
                        errors.push(Error::invalid(&at, name, "referenced volume must be of type emptyDir"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// `validateLinux` and `validateWindows`
pub(super) fn os(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let containers = |errors: &mut Vec<Error>, keys: &[&str], detail: &str| {
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let all = path.child(list);
            for (i, c) in items(spec, list).iter().enumerate() {
                let at = all.index(i);
                let at = at.child("securityContext");
                for key in keys.iter().filter(|k| has(&c["securityContext"], k)) {
                    errors.push(Error::forbidden(&at.child(key), detail));
                }
            }
        }
    };
    let context = path.child("securityContext");
    match text(&spec["os"], "name") {
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            if has(&spec["securityContext"], "windowsOptions") {
                errors.push(Error::forbidden(&context.child("windowsOptions"), detail));
            }
            containers(errors, &["windowsOptions"], detail);
        }
        "windows" => {
            let detail = "cannot be set for a windows pod";
            for key in [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ] {
                if has(&spec["securityContext"], key) {
                    errors.push(Error::forbidden(&context.child(key), detail));
                }
            }
            for key in ["hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"] {
                if flag(spec, key) || key == "hostUsers" && has(spec, key) {
                    errors.push(Error::forbidden(&path.child(key), detail));
                }
            }
            let keys = [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ];
            containers(errors, &keys, detail);
        }
        _ => {}
    }
}

/// `validatePodMetadataAndSpec`: what holds for pods, and not for templates.
pub(super) fn validate_of_pod(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if text(spec, "serviceAccountName").is_empty() {
        let list = path.child("volumes");
        for (i, volume) in items(spec, "volumes").iter().enumerate() {
            let at = list.index(i);
            let at = at.child("projected");
            let sources = at.child("sources");
            for (j, source) in items(&volume["projected"], "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.push(Error::forbidden(&sources.index(j).child("serviceAccountToken"), detail));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let all = path.child(list);
        for (i, c) in items(spec, list).iter().enumerate() {
            container::trimmed_image(errors, &all.index(i), c);
        }
    }
}

/// `validatePodResources`: what the containers ask for together fits into what the pod asks for.
pub(super) fn pod_resources(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let Some(own) = some(spec, "resources") else { return };
    let path = &path.child("resources");
    if text(&spec["os"], "name") == "windows" {
        return errors.push(Error::forbidden(path, "may not be set for a windows pod"));
    }
    if has(own, "claims") {
        errors.push(Error::forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level"));
    }
    resources::validate(errors, path, own, resources::Of::Pod);
    claims::named(errors, &path.child("claims"), items(own, "claims"), items(spec, "resourceClaims"));
    let requests = path.child("requests");
    for (name, sum) in super::qos::of_containers(spec, "requests") {
        let Some(own) = some(&spec["resources"]["requests"], name) else { continue };
        let amount = Quantity::from_tree(own).unwrap_or_default();
        if sum > amount {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(Error::invalid(&requests.key(name), amount.to_string(), detail));
        }
    }
    let limits = path.child("limits");
    for (name, sum) in
        super::qos::of_containers(spec, "limits").into_iter().filter(|(n, _)| n.starts_with("hugepages-"))
    {
        let Some(own) = some(&spec["resources"]["limits"], name) else { continue };
        let amount = Quantity::from_tree(own).unwrap_or_default();
        if sum > amount {
            let detail = format!("must be greater than or equal to aggregate container limits of {sum}");
            errors.push(Error::invalid(&limits.key(name), amount.to_string(), detail));
        }
    }
    let containers = path.child("containers");
    for (i, c) in items(spec, "containers").iter().enumerate() {
        for (name, limit) in entries(&c["resources"], "limits") {
            let of = |v: &Value| Quantity::from_tree(v).ok();
            if let (Some(limit), Some(whole)) = (of(limit), some(&own["limits"], name).and_then(of))
                && limit > whole
            {
                let at = containers.index(i);
                let detail = format!("must be less than or equal to pod limits of {whole}");
                errors.push(Error::invalid(&at.key(name).child("limits"), limit.to_string(), detail));
            }
        }
    }
}

/// `ValidatePodCreate`: what holds for a new pod only.
pub(super) fn validate_new(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if !items(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(spec, "nodeName").is_empty() && !items(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), detail));
    }
}
